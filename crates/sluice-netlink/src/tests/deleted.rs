//! Commits return the counters of deleted elements.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sluice_nft::{Counters, Dataplane, Receipt, Step};

use super::commit::{balancing, slot, slots};
use super::{commit, in_namespace, nft, read, table};
use crate::Netlink;
use crate::deleted::ECHO;

const FLOWS: u32 = 20_000;

/// The kernel loses a packet that is interrupted between lookup and count; on a busy machine, some in ten
/// thousand. Reading the counters before each commit would lose more.
const ONE_IN: u64 = 100;

/// Sends the first datagrams of these flows.
fn send(flows: std::ops::Range<u32>) {
    for n in flows {
        let client = UdpSocket::bind((Ipv4Addr::from(0x7f01_0000 + n), 20_000)).expect("a socket");
        client.send_to(b"hello", "127.0.0.3:53").expect("sent");
    }
}

fn packets(counters: &Counters) -> u64 {
    counters.values().flat_map(|set| set.values()).map(|counter| counter.packets).sum()
}

fn deleted(netlink: &mut Netlink, steps: &[Step]) -> Counters {
    let Receipt { generation, deleted } =
        netlink.commit(steps, None).unwrap_or_else(|error| panic!("{error}: {}", error.errno));
    assert_eq!(generation, None);
    deleted
}

/// Deletes both slots and adds them again, in one batch.
fn replace() -> [Step; 2] {
    let both = vec![slot(0, 1), slot(1, 2)];
    [Step::DeleteElements(slots(), both.clone()), Step::AddElements(slots(), both)]
}

#[test]
fn counts_of_elements_replaced_under_traffic_are_told() {
    in_namespace(|| {
        let mut netlink = balancing(vec![slot(0, 1), slot(1, 2)]);
        let done = AtomicBool::new(false);
        let (mut told, mut replaced) = (0, 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                send(0..FLOWS);
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                told += packets(&deleted(&mut netlink, &replace()));
                replaced += 1;
            }
        });
        let rest = packets(&read(&mut netlink).counters);
        let lost = u64::from(FLOWS).checked_sub(told + rest).expect("none is counted twice");
        assert!(lost * ONE_IN <= u64::from(FLOWS), "{lost} lost in {replaced} commits");
        assert!(replaced > 10 && told > 0, "{replaced} commits, {told} flows");
    });
}

#[test]
fn counts_of_deleted_elements_are_told_by_set_and_key() {
    in_namespace(|| {
        let mut netlink = balancing(vec![slot(0, 1), slot(1, 2), slot(2, 3)]);
        send(0..5);
        let before = read(&mut netlink).counters;
        assert_eq!(packets(&before), 5);
        let declaration = (*slots().declaration).clone();
        let read: Vec<_> = netlink.counters(&slots().name, &declaration).expect("it is there");
        assert!(read.into_iter().eq(before[&slots().name].clone()));

        let gone = Step::DeleteElements(slots(), vec![slot(0, 1), slot(2, 3)]);
        let told = deleted(&mut netlink, &[gone]);
        let (key, _) = slot(0, 1);
        assert_eq!(told, [(slots().name, [(key, before[&slots().name][&key])].into())].into());
    });
}

#[test]
fn counts_of_what_is_deleted_whole_are_told_once() {
    in_namespace(|| {
        let mut netlink = balancing(vec![slot(0, 1), slot(1, 2)]);
        send(0..5);
        let elements = Step::DeleteElements(slots(), vec![slot(0, 1)]);
        let flush = Step::FlushChain("output".into());
        assert_eq!(packets(&deleted(&mut netlink, &[flush, elements, Step::DeleteSet(slots().name)])), 5);

        commit(&mut netlink, &[Step::DeleteTable]);
        let mut netlink = balancing(vec![slot(0, 1), slot(1, 2)]);
        send(5..9);
        assert_eq!(packets(&deleted(&mut netlink, &[Step::DeleteTable])), 4);
        assert_eq!(read(&mut netlink).table, None);
    });
}

#[test]
fn counts_of_as_many_elements_as_there_is_room_for_are_all_told() {
    in_namespace(|| {
        let mut netlink = balancing(vec![]);
        let many = (netlink.room / ECHO) as u32;
        let elements = (0..many).map(|n| format!("{n} counter packets 1 bytes 33 : 127.0.0.1 . 9000"));
        let elements = elements.collect::<Vec<_>>().join(", ");
        nft(&format!("add element inet sluice slots {{ {elements} }}"));
        let asked = netlink.requests_sent();
        let gone = (0..many).map(|n| slot(n, 1)).collect();
        let told = deleted(&mut netlink, &[Step::DeleteElements(slots(), gone)]);
        assert_eq!(packets(&told), u64::from(many));
        assert_eq!(netlink.requests_sent(), asked, "the kernel told of them unasked");
    });
}

#[test]
fn counts_of_more_elements_than_there_is_room_for_are_told_as_well() {
    in_namespace(|| {
        let mut netlink = balancing(vec![slot(0, 1), slot(1, 2)]);
        send(0..5);
        netlink.room = 600;
        assert_eq!(packets(&deleted(&mut netlink, &replace())), 5);
        send(5..9);
        let one = Step::DeleteElements(slots(), vec![slot(0, 1)]);
        assert_eq!(packets(&deleted(&mut netlink, &[one])), 2);
        assert_eq!(packets(&read(&mut netlink).counters), 2);
    });
}

#[test]
fn commit_that_has_more_to_tell_than_the_socket_holds_succeeds() {
    in_namespace(|| {
        let many: Vec<_> = (0..5000).map(|n| slot(n, 1)).collect();
        let mut netlink = balancing(many.clone());
        netlink.writer.make_room(1).expect("less is allowed");
        commit(&mut netlink, &[Step::DeleteElements(slots(), many.clone())]);
        assert!(table(&mut netlink).sets[&slots().name].elements.is_empty());
        commit(&mut netlink, &[Step::AddElements(slots(), many)]);
    });
}
