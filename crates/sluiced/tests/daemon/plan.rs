//! The plan of a reload, with the current states of backends.

use std::fs;
use std::pin::pin;
use std::sync::mpsc::channel;

use sluice_api::{
    Admin, Client, ClientError, FileText, IncludeTexts, OverrideChange, OverrideRequest, PlanRequest,
};
use sluice_nft::{Errno, Step};
use sluiced::request::Request;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::host::Host;
use crate::{WEB, WEB3};

fn file(text: &str) -> PlanRequest {
    PlanRequest { file: FileText { path: "new.yaml".into(), text: text.into() }, includes: vec![] }
}

/// Added, changed and removed.
async fn plan(client: &Client, request: Option<&PlanRequest>) -> [usize; 3] {
    let report = client.plan(request).await.unwrap();
    assert_eq!(report.batches.is_empty(), report.text == "nothing to do\n", "{}", report.text);
    [report.added, report.changed, report.removed]
}

#[tokio::test]
async fn plan_for_an_unchanged_file_is_empty_whatever_operators_have_set() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let client = Client::new(host.socket());
        assert_eq!(plan(&client, None).await, [0, 0, 0]);
        for change in [
            OverrideChange::Admin(Admin::Drain),
            OverrideChange::Admin(Admin::Enabled),
            OverrideChange::Weight(Some(7)),
        ] {
            let backend = "10.0.2.11:8080".into();
            let request = OverrideRequest { service: "web".into(), backend, change, reason: None };
            client.set_override(&request).await.unwrap();
            assert_eq!(plan(&client, None).await, [0, 0, 0], "{change:?}");
            assert_eq!(plan(&client, Some(&file(WEB))).await, [0, 0, 0], "{change:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn plan_for_another_file_is_what_its_reload_does_and_changes_nothing() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let client = Client::new(host.socket());
        let backend = "10.0.2.11:8080".into();
        let change = OverrideChange::Admin(Admin::Drain);
        client
            .set_override(&OverrideRequest { service: "web".into(), backend, change, reason: None })
            .await
            .unwrap();
        let (commits, before) = (host.commits(), daemon.status().await);
        let down = format!("{}, health: {{tcp: {{}}, initial: down}}}}}}", WEB.strip_suffix("}}").unwrap());
        let down = down.replace("'10.0.2.12:8080'", "'10.0.2.13:8080'");
        for text in [WEB3, &down, "services: {}", WEB] {
            host.configure(text);
            let report = client.plan(None).await.unwrap();
            assert_eq!(client.plan(Some(&file(text))).await.unwrap(), report);
            assert_eq!(host.commits(), commits, "{text}");
            let is_empty = report.text.contains("goto no-backend");
            assert_eq!(
                is_empty,
                text == down,
                "one is drained, the other waits for a probe: {}",
                report.text
            );
        }
        assert_eq!(daemon.status().await.reload, before.reload);
        let report = client.plan(Some(&file(WEB3))).await.unwrap();
        daemon.reload_with(WEB3).await;
        let done: Vec<String> =
            host.kernel().commits()[commits..].iter().flatten().map(Step::to_string).collect();
        let planned: Vec<String> =
            report.batches.into_iter().flat_map(|it| it.steps).map(|it| it.step).collect();
        assert_eq!(planned, done);
        assert_eq!(plan(&client, None).await, [0, 0, 0]);
    })
    .await;
}

#[tokio::test]
async fn plan_shows_what_others_did_to_the_table() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        host.kernel().edit(|table| *table = None);
        let [added, changed, removed] = plan(&Client::new(host.socket()), None).await;
        assert!(added > 10 && (changed, removed) == (0, 0));
        assert!(host.kernel().table().is_none());
    })
    .await;
}

#[tokio::test]
async fn plan_of_a_file_that_takes_long_to_read_keeps_nobody_else_waiting() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let comments = "# It takes a while to read all this, and to find nothing.\n".repeat(200_000);
        host.configure(&(comments + WEB));
        let client = Client::new(host.socket());
        let mut planned = pin!(client.plan(None));
        let mut seen = 0;
        let report = loop {
            tokio::select! {
                biased;
                report = &mut planned => break report.unwrap(),
                _ = daemon.status() => seen += 1,
            }
        };
        assert_eq!(report.text, "nothing to do\n");
        // A few before the request was read, and many while the file was.
        assert!(seen > 20, "{seen}");
    })
    .await;
}

#[test]
fn plan_is_computed_beside_the_reconcile_task() {
    let host = Host::new(WEB);
    // All blocking work waits for the thread that the test holds.
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(host.run(async |daemon| {
        daemon.answers().await;
        host.configure(WEB3);
        let loaded = Box::new(sluice_config::load(&host.path("sluice.yaml")).unwrap());
        let (release, released) = channel::<()>();
        let holds = spawn_blocking(move || released.recv());
        let (sender, mut report) = oneshot::channel();
        daemon.requests.send(Request::Plan(loaded, sender)).await.unwrap();
        daemon.answers().await;
        assert!(report.try_recv().is_err(), "the reconcile task made the plan");
        drop(release);
        assert!(holds.await.unwrap().is_err());
        assert!(report.await.unwrap().unwrap().added > 0);
    }));
}

#[tokio::test]
async fn plan_that_cannot_be_made_says_why() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let client = Client::new(host.socket());
        let refused = async |request: Option<PlanRequest>| match client.plan(request.as_ref()).await {
            Err(ClientError::Refused(reply)) => reply,
            other => panic!("{other:?}"),
        };
        let reply = refused(Some(file("services: 7"))).await;
        assert_eq!(
            reply.error,
            "new.yaml:1:11: error: invalid value `7` (write a mapping of services by name)"
        );
        assert!(reply.hint.contains("sluice check"), "{reply:?}");
        let include = "include: [a.yaml]";
        assert!(refused(Some(file(include))).await.error.contains("missing files for pattern `a.yaml`"));
        let sent = FileText { path: "a.yaml".into(), text: WEB.into() };
        let includes = vec![IncludeTexts { pattern: "a.yaml".into(), files: vec![sent] }];
        assert_eq!(plan(&client, Some(&PlanRequest { includes, ..file(include) })).await, [0, 0, 0]);
        fs::remove_file(host.path("sluice.yaml")).unwrap();
        assert!(refused(None).await.error.contains("cannot read the file"));
        host.configure(WEB);
        host.kernel().edit(|table| *table = None);
        host.kernel().fail_reads(2, Errno(12));
        assert!(refused(None).await.error.starts_with("plan: read: "));
    })
    .await;
}
