//! Results and numbers of messages of commits.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;

use nftnl::nftnl_sys::libc;
use sluice_nft::{
    Base, CommitError, Counter, Data, Dataplane, Errno, Field, Ip, Key, Octets, Operand, Rule, Set, SetRef,
    SlotExpr, Statement, Step,
};

use super::{commit, in_namespace, nft_prints, open, read};
use crate::Netlink;

pub(super) fn slots() -> SetRef {
    let key = vec![Operand::Slot(SlotExpr::Inc { modulus: 65_536, offset: 0 })];
    let data = [Field::Daddr(Ip::V4), Field::Dport].map(Operand::Field).to_vec();
    SetRef { name: "slots".into(), declaration: Arc::new(Set::counted_map(key, data)) }
}

/// Leads to port 9000 of 127.0.0.`host`.
pub(super) fn slot(slot: u32, host: u8) -> (Key, Data) {
    let data = Octets::EMPTY.address([127, 0, 0, host].into()).port(9000);
    (Key::EMPTY.slot(slot), Data::Value(data))
}

fn with_slots(netlink: &mut Netlink, elements: Vec<(Key, Data)>) {
    let of = slots();
    let declare = Step::AddSet(of.name.clone(), (*of.declaration).clone());
    commit(netlink, &[Step::AddTable, declare, Step::AddElements(of, elements)]);
}

/// A kernel that leads each local datagram to one of two slots in turn.
pub(super) fn balancing(elements: Vec<(Key, Data)>) -> Netlink {
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip runs");
    assert!(status.success());
    let mut netlink = open();
    with_slots(&mut netlink, elements);
    let pick = Operand::Slot(SlotExpr::Inc { modulus: 2, offset: 0 });
    let dnat = Statement::Dnat { ip: Ip::V4, key: vec![pick], map: slots().name, port: true };
    let rule = Rule(vec![Statement::is(Field::L4proto, &[17]), dnat]);
    let chain = Step::AddChain("output".into(), Some(Base::OUTPUT));
    commit(&mut netlink, &[chain, Step::AddRule("output".into(), rule)]);
    netlink
}

fn refused(netlink: &mut Netlink, steps: &[Step]) -> (String, Errno) {
    let before = read(netlink);
    let CommitError { operation, errno } = netlink.commit(steps, None).expect_err("the commit is refused");
    assert_eq!(read(netlink), before, "nothing remains of a refused commit");
    (operation, errno)
}

#[test]
fn commit_of_many_elements_with_a_duplicate_names_it() {
    in_namespace(|| {
        let mut netlink = open();
        with_slots(&mut netlink, vec![slot(4000, 1)]);
        let many = (0..5000).map(|n| slot(n, 2)).collect();
        let answer = refused(&mut netlink, &[Step::AddElements(slots(), many)]);
        assert_eq!(
            answer,
            ("add element inet sluice slots { 4000 : 127.0.0.2 . 9000 }".into(), Errno::EEXIST)
        );
    });
}

#[test]
fn commit_of_a_deletion_of_what_is_not_there_names_it() {
    in_namespace(|| {
        let mut netlink = open();
        with_slots(&mut netlink, (0..10).map(|n| slot(n, 1)).collect());
        let more = (0..11).map(|n| slot(n, 1)).collect();
        let answer = refused(&mut netlink, &[Step::DeleteElements(slots(), more)]);
        assert_eq!(
            answer,
            ("delete element inet sluice slots { 10 : 127.0.0.1 . 9000 }".into(), Errno::ENOENT)
        );
    });
}

#[test]
fn commit_of_steps_that_share_a_message_names_the_refused_one() {
    in_namespace(|| {
        let mut netlink = open();
        with_slots(&mut netlink, vec![slot(7, 1)]);
        let steps: Vec<_> = (0..10).map(|n| Step::AddElements(slots(), vec![slot(n, 1)])).collect();
        let answer = refused(&mut netlink, &steps);
        assert_eq!(answer, (steps[7].to_string(), Errno::EEXIST));
        let sent = netlink.messages_sent();
        commit(&mut netlink, &steps[..7]);
        assert_eq!(netlink.messages_sent() - sent, 3, "begin, elements, end");
    });
}

#[test]
fn commit_with_several_refusals_names_the_first() {
    in_namespace(|| {
        let mut netlink = open();
        let delete = |name: &str| Step::DeleteSet(name.into());
        let answer = refused(&mut netlink, &[Step::AddTable, delete("a"), delete("b")]);
        assert_eq!(answer, ("delete set inet sluice a".into(), Errno::ENOENT));
    });
}

#[test]
fn commit_of_something_foreign_is_refused_before_anything_is_sent() {
    in_namespace(|| {
        let mut netlink = open();
        let rule = Rule(vec![Statement::Foreign("[ log ]".into())]);
        let steps = [Step::AddTable, Step::AddRule("c".into(), rule)];
        let answer = refused(&mut netlink, &steps);
        assert_eq!(answer, (steps[1].to_string(), Errno::EINVAL));
        assert_eq!(netlink.messages_sent(), 0);
    });
}

#[test]
fn commit_of_no_steps_sends_nothing() {
    in_namespace(|| {
        let mut netlink = open();
        let before = read(&mut netlink).generation;
        commit(&mut netlink, &[]);
        commit(&mut netlink, &[Step::AddElements(slots(), vec![])]);
        assert_eq!(netlink.messages_sent(), 0);
        assert_eq!(read(&mut netlink).generation, before);
    });
}

#[test]
fn read_counts_what_hit_the_elements() {
    in_namespace(|| {
        let mut netlink = balancing(vec![slot(0, 1), slot(1, 2)]);
        for _ in 0..3 {
            let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            client.send_to(b"hello", "127.0.0.3:53").expect("sent");
        }
        let counters = &read(&mut netlink).counters[&slots().name];
        let packet = |packets| Counter { packets, bytes: packets * (20 + 8 + 5) };
        let counted: Vec<_> = counters.values().copied().collect();
        assert_eq!(counted, [packet(2), packet(1)]);
        assert!(nft_prints(&["list", "ruleset"]).contains("0 counter packets 2 bytes 66 : 127.0.0.1 . 9000"));
    });
}

#[test]
fn open_without_the_capability_is_a_matter_of_permission() {
    in_namespace(|| {
        const NOBODY: libc::uid_t = 65_534;
        // SAFETY: a system call on numbers; unlike libc's function it changes this thread only.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
        assert_eq!(result, 0);
        let error = Netlink::open().err().expect("an error");
        assert!(error.is_permission(), "{error:?}");
        assert_eq!(error.to_string(), "ask for the generation of nf_tables (needs CAP_NET_ADMIN)");
    });
}
