//! Events about commits of other programs.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sluice_nft::Step;

use super::{commit, in_namespace, nft, open, read};
use crate::{Change, Event, Monitor};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The events of a monitor, for tests with a deadline.
pub(super) fn told(mut monitor: Monitor) -> mpsc::Receiver<Event> {
    let (sender, events) = mpsc::channel();
    thread::spawn(move || while sender.send(monitor.wait().expect("events come")).is_ok() {});
    events
}

#[test]
fn changes_of_our_table_by_others_are_told_with_process_and_generation() {
    in_namespace(|| {
        let mut netlink = open();
        let monitor = Monitor::open(netlink.port()).expect("it opens");
        let events = told(monitor);
        let next = || events.recv_timeout(PATIENCE).expect("an event");

        commit(&mut netlink, &[Step::AddTable, Step::AddChain("c".into(), None)]);
        nft("add table inet other\nadd table ip sluice\nadd chain ip sluice c");
        nft("add chain inet sluice d");
        let generation = read(&mut netlink).generation;
        let Event::Changed(Change { generation: told, pid, process }) = next() else { panic!("none lost") };
        assert_eq!(
            (told, process.as_str()),
            (generation, "nft"),
            "what we and others did elsewhere is not told"
        );
        assert_ne!(pid, 0);

        commit(&mut netlink, &[Step::DeleteTable, Step::AddTable]);
        nft("flush ruleset");
        let generation = read(&mut netlink).generation;
        let Event::Changed(change) = next() else { panic!("none lost") };
        assert_eq!(change.generation, generation);
        assert!(events.try_recv().is_err());
    });
}

#[test]
fn commits_of_our_own_are_not_kept_waiting_however_large() {
    in_namespace(|| {
        let mut netlink = open();
        let mut monitor = Monitor::open(netlink.port()).expect("it opens");
        // Far more events than the receive buffer can hold, if they were sent.
        for _ in 0..4 {
            commit(&mut netlink, &super::steps(&super::large::large()));
            commit(&mut netlink, &[Step::DeleteTable]);
        }
        nft("add table inet sluice");
        assert!(matches!(monitor.wait().expect("an event"), Event::Changed(_)));
    });
}
