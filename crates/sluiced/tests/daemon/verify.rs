//! After a commit the daemon verifies the table.

use sluice_core::model::Transition;
use sluice_core::render::render;
use sluice_nft::Table;
use sluice_nft::fake::FakeKernel;
use sluiced::reconcile::{Outcome, Reconciler, Trigger};

use crate::host::Host;
use crate::{WEB, WEB3};

/// Takes the way to all exact listeners away.
fn lose_listeners(table: &mut Table) {
    table.sets.get_mut(&"services4".into()).unwrap().elements.clear();
}

#[tokio::test(start_paused = true)]
async fn difference_that_survives_every_repair_is_told_as_nft_text() {
    let host = Host::new(&format!("{WEB}\nrefresh: 0"));
    host.run(async |daemon| {
        daemon.status().await;
        host.spoil(Some(lose_listeners));
        let reply = daemon.reload_with(&WEB3.replace("203.0.113.10", "203.0.113.11")).await;
        assert!(!reply.ok);
        assert_eq!(reply.problems[0], "verify: table inet sluice is not what was committed: 1 difference");
        let missing = [
            "+ add element inet sluice services4  # not in the kernel",
            "+     203.0.113.11 . tcp . 80 : goto pick/web/tcp/203.0.113.11/80",
        ];
        assert_eq!(reply.problems[1..], missing);
        let table = daemon.status().await.table;
        assert!(!table.synced);
        assert_eq!(table.error.as_ref(), reply.problems.first());
        assert_eq!(table.differences, missing);

        host.spoil(None);
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        let table = daemon.status().await.table;
        assert!(table.synced && table.differences.is_empty(), "{table:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn difference_after_the_first_commit_is_repaired_without_a_word() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        host.spoil(Some(lose_listeners));
        let moved = WEB.replace("203.0.113.10", "203.0.113.11");
        let reload = daemon.reload_with(&moved);
        let mend = async {
            let commits = host.commits();
            while host.commits() < commits + 2 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            host.spoil(None);
        };
        let (reply, ()) = tokio::join!(reload, mend);
        assert!(reply.ok, "{reply:?}");
        let kernel = host.kernel();
        assert_eq!(kernel.table().unwrap().sets[&"services4".into()].elements.len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn refresh_compares_what_is_kept_in_memory_with_a_new_rendering() {
    let directory = tempfile::tempdir().expect("make a directory");
    let load = |yaml: &str| {
        let file = directory.path().join("sluice.yaml");
        std::fs::write(&file, yaml).expect("write the configuration");
        sluice_config::load(&file).unwrap_or_else(|problems| panic!("{problems:?}")).config.services
    };
    let one = load("services: {web: {listen: 203.0.113.10:80, backends: [10.0.2.11:80]}}");
    let two = load("services: {web: {listen: 203.0.113.10:80, backends: [10.0.2.11:80, 10.0.2.12:80]}}");
    let mut reconciler = Reconciler::new(FakeKernel::default());
    reconciler.round(Trigger::Start, &Transition::none(&one)).await.expect("the start");
    // As if a partial plan had forgotten the second backend: the services are committed, their elements are not.
    let outcome = reconciler.round(Trigger::Operator, &Transition::none(&two)).await.expect("no change");
    assert_eq!(outcome, Outcome::Unchanged);
    let outcome = reconciler.round(Trigger::Refresh, &Transition::none(&two)).await.expect("a refresh");
    assert!(matches!(outcome, Outcome::Changed { .. }), "{outcome:?}");
    let table = reconciler.dataplane().table().cloned();
    assert_eq!(table.as_ref(), Some(&render(&two, table.as_ref()).table));
}
