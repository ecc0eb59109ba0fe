//! What a change costs is in proportion to the change, on the real kernel. Needs root; `make test` runs it.

#![forbid(unsafe_code)]

use std::fmt::Write;
use std::sync::Arc;

use sluice_core::model::Services;
use sluice_core::model::Transition;
use sluice_netlink::{Netlink, TableOwnership};
use sluice_testkit::Namespace;
use sluiced::reconcile::{Outcome, Reconciler, Trigger};

/// Messages that commits sent, and questions asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Traffic {
    sent: u64,
    asked: u64,
}

#[tokio::test(start_paused = true)]
async fn change_of_one_service_takes_as_many_messages_among_ten_as_among_ten_thousand() {
    for hold in [TableOwnership::Owner, TableOwnership::None] {
        let (few, many) = (story(10, hold).await, story(10_000, hold).await);
        assert_eq!(few, many, "{hold:?}");
        assert_eq!(few[0], Traffic { sent: 0, asked: 0 }, "a reload without a change, {hold:?}");
        assert!(few[1..].iter().all(|traffic| (1..100).contains(&traffic.sent)), "{few:?}");
    }
}

/// What each of some reloads takes among so many services.
async fn story(count: u32, hold: TableOwnership) -> Vec<Traffic> {
    let namespace = Namespace::new();
    let netlink = namespace.run(|| Netlink::open_to(hold)).expect("open nf_tables");
    let mut reconciler = Reconciler::new(netlink);
    let mut held = services(count, "");
    let outcome = reconciler
        .round(Trigger::Start, &Transition::between(&Services::new(), &held))
        .await
        .expect("the start");
    assert!(matches!(outcome, Outcome::Changed { .. }));

    let changed = [
        "",
        // As many slots, one of which leads elsewhere.
        "r5: { scheduler: random, listen: 100.64.0.6:80, backends: [10.0.0.1:80, 10.0.0.9:80] }",
        // Fewer slots, in a chain that others use; more; by turns.
        "r5: { scheduler: random, listen: 100.64.0.6:80, backends: [10.0.0.1:80] }",
        "r5: { scheduler: random, listen: 100.64.0.6:80, backends: [10.0.0.1:80, 10.0.0.2:80, {address: 10.0.0.3:80, weight: 3}] }",
        "r5: { listen: 100.64.0.6:80, backends: [10.0.0.1:80, 10.0.0.2:80] }",
        // Nobody serves.
        "r5: { listen: 100.64.0.6:80, backends: [] }",
        // A service more.
        "z: { listen: 100.127.0.1:80, backends: [10.0.0.1:80, 10.0.0.2:80] }",
    ];
    let mut traffic = Vec::new();
    for change in changed {
        let desired = services(count, change);
        let before = taken(reconciler.dataplane());
        reconciler
            .round(Trigger::Reload, &Transition::between(&held, &desired))
            .await
            .unwrap_or_else(|error| panic!("{change}: {error:?}"));
        let after = taken(reconciler.dataplane());
        traffic.push(Traffic { sent: after.sent - before.sent, asked: after.asked - before.asked });
        held = desired;
    }
    traffic
}

fn taken(netlink: &Netlink) -> Traffic {
    Traffic { sent: netlink.messages_sent(), asked: netlink.requests_sent() }
}

/// So many services of two backends each, in turn round-robin and random, and one as written.
fn services(count: u32, change: &str) -> Services {
    let mut text = "services:\n".to_owned();
    for n in 0..count {
        let (name, scheduler) = if n.is_multiple_of(2) { ("s", "round-robin") } else { ("r", "random") };
        if !change.starts_with(&format!("{name}{n}:")) {
            let listen = format!("100.64.{}.{}:80", n / 250, n % 250 + 1);
            let backends = "[10.0.0.1:80, 10.0.0.2:80]";
            writeln!(
                text,
                "  {name}{n}: {{ scheduler: {scheduler}, listen: '{listen}', backends: {backends} }}"
            )
            .expect("a string takes all");
        }
    }
    writeln!(text, "  {change}").expect("a string takes all");
    let directory = tempfile::tempdir().expect("make a directory");
    let file = directory.path().join("sluice.yaml");
    std::fs::write(&file, text).expect("write the configuration");
    let loaded = sluice_config::load(&file).unwrap_or_else(|problems| panic!("{problems:?}"));
    Arc::unwrap_or_clone(loaded.config.services)
}
