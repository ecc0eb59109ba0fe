//! Detection of changes of our table by other programs.

use sluice_nft::{Dataplane, Step, generation_after};

use super::{commit, elsewhere, in_namespace, nft, open, read};
use crate::{Netlink, TableOwnership};

fn unchanged(netlink: &mut Netlink, since: u32) -> Option<u32> {
    netlink.unchanged_since(since).unwrap_or_else(|error| panic!("{error}: {}", error.errno))
}

fn chain(name: &str) -> Step {
    Step::AddChain(name.into(), None)
}

#[test]
fn commits_elsewhere_are_no_change_and_those_to_our_table_are() {
    in_namespace(|| {
        let mut netlink = open();
        commit(&mut netlink, &[Step::AddTable]);
        let first = read(&mut netlink).generation;
        assert_eq!(unchanged(&mut netlink, first), Some(first));
        assert_eq!(unchanged(&mut netlink, first.wrapping_sub(1)), None, "not heard of");

        commit(&mut elsewhere(), &[Step::AddTable]);
        nft("add table ip sluice\nadd chain ip sluice c");
        commit(&mut netlink, &[chain("ours")]);
        let second = read(&mut netlink).generation;
        assert_eq!(second, first + 3);
        assert_eq!(unchanged(&mut netlink, first), Some(second));

        commit(&mut open(), &[chain("theirs")]);
        commit(&mut elsewhere(), &[chain("c")]);
        assert_eq!(unchanged(&mut netlink, first), None);
        assert_eq!(unchanged(&mut netlink, second), None);
        let third = generation_after(second);
        assert_eq!(unchanged(&mut netlink, third), Some(generation_after(third)));
    });
}

#[test]
fn more_commits_than_there_is_room_for_are_a_change_once() {
    in_namespace(|| {
        let mut netlink = open();
        netlink.watch.listener.socket.make_room(1).expect("less is allowed");
        commit(&mut netlink, &[Step::AddTable]);
        let first = read(&mut netlink).generation;
        assert_eq!(unchanged(&mut netlink, first), Some(first));
        let mut other = elsewhere();
        commit(&mut other, &[Step::AddTable]);
        for n in 0..100 {
            commit(&mut other, &[chain(&format!("c{n}"))]);
        }
        assert_eq!(unchanged(&mut netlink, first), None);
        let now = read(&mut netlink).generation;
        commit(&mut other, &[chain("last")]);
        assert_eq!(unchanged(&mut netlink, now), Some(generation_after(now)));
    });
}

#[test]
fn table_of_our_own_is_unchanged_whatever_others_commit() {
    in_namespace(|| {
        let mut netlink = Netlink::open_to(TableOwnership::Owner).expect("nf_tables answers");
        let before = read(&mut netlink).generation;
        assert_eq!(unchanged(&mut netlink, before), Some(before), "it listens, for there is no table");
        commit(&mut netlink, &[Step::AddTable]);
        let first = read(&mut netlink).generation;
        assert_eq!(unchanged(&mut netlink, first), Some(first));
        netlink.watch.listener.socket.make_room(1).expect("less is allowed");
        let mut other = elsewhere();
        commit(&mut other, &[Step::AddTable]);
        for n in 0..100 {
            commit(&mut other, &[chain(&format!("c{n}"))]);
        }
        let now = read(&mut netlink).generation;
        assert_eq!(unchanged(&mut netlink, first), Some(now), "nothing is listened to");
        assert_eq!(unchanged(&mut netlink, generation_after(now)), None, "it has not been yet");
    });
}
