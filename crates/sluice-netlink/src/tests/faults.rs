//! Injected errors of system calls.

use nix::errno::Errno;
use sluice_nft::{Dataplane, Step};

use super::large::large;
use super::monitor::{PATIENCE, told};
use super::{commit, elsewhere, in_namespace, nft, open, read, steps, table};
use crate::socket::{Call, Fault};
use crate::{Change, Event, Monitor};

const INTERRUPTIONS: [Errno; 3] = [Errno::EINTR, Errno::EBUSY, Errno::ENOBUFS];

#[test]
fn read_that_fails_says_why_and_the_next_one_does_not() {
    in_namespace(|| {
        let mut netlink = open();
        let mut held = large();
        for set in held.sets.values_mut() {
            set.elements = std::mem::take(&mut set.elements).into_iter().take(2000).collect();
        }
        commit(&mut netlink, &steps(&held));
        for errno in INTERRUPTIONS {
            // The second datagram of the dump fails, so the dump must have more than one.
            for (call, after) in [(Call::Send, 3), (Call::Receive, 12)] {
                netlink.reader.faults.push_back(Fault { call, after, errno });
                let error = netlink.read().expect_err("it is told to fail");
                assert_eq!(error.errno.0, errno as i32, "{error}");
                assert!(netlink.reader.faults.is_empty());
                assert!(table(&mut netlink) == held, "after {error}");
            }
        }
    });
}

#[test]
fn commit_that_can_not_be_sent_changes_nothing_and_says_so() {
    in_namespace(|| {
        let mut netlink = open();
        for errno in [Errno::EINTR, Errno::EBUSY, Errno::ENOMEM] {
            netlink.writer.faults.push_back(Fault { call: Call::Send, after: 0, errno });
            let error = netlink.commit(&[Step::AddTable], None).expect_err("it is told to fail");
            assert_eq!((error.operation.as_str(), error.errno.0), ("send a batch", errno as i32));
            assert_eq!(read(&mut netlink).table, None);
        }
        commit(&mut netlink, &[Step::AddTable]);
    });
}

#[test]
fn commit_without_memory_for_it_all_is_sent_in_parts() {
    in_namespace(|| {
        let mut netlink = open();
        netlink.writer.faults.push_back(Fault { call: Call::Send, after: 0, errno: Errno::ENOBUFS });
        let limit = netlink.limit;
        commit(&mut netlink, &steps(&large()));
        assert!(netlink.limit < limit);
        assert_eq!(table(&mut netlink), large());
    });
}

#[test]
fn commit_whose_answer_is_not_to_be_had_is_not_sent_again() {
    in_namespace(|| {
        let mut netlink = open();
        netlink.writer.faults.push_back(Fault { call: Call::Receive, after: 0, errno: Errno::EINTR });
        let error = netlink.commit(&[Step::AddTable], None).expect_err("it is told to fail");
        assert_eq!(error.errno.0, Errno::EIO as i32, "what became of it is not known");
        assert!(read(&mut netlink).table.is_some());
    });
}

#[test]
fn monitor_that_is_overrun_says_so_and_hears_what_comes_then() {
    in_namespace(|| {
        let netlink = open();
        let monitor = Monitor::open(netlink.port()).expect("it opens");
        monitor.listener.socket.make_room(1).expect("less is allowed");
        let mut other = open();
        for _ in 0..4 {
            commit(&mut other, &steps(&large()));
            commit(&mut other, &[Step::DeleteTable]);
        }
        commit(&mut elsewhere(), &[Step::AddTable]);
        let events = told(monitor);
        let next = || events.recv_timeout(PATIENCE).expect("an event");
        let lost = |event: &Event| *event == Event::Lost;
        assert!((0..8).any(|_| lost(&next())), "more is told than there was");
        nft("add table inet sluice");
        let changed = |event| matches!(event, Event::Changed(Change { process, .. }) if process == "nft");
        assert!(changed(next()), "it hears of the next change");
    });
}
