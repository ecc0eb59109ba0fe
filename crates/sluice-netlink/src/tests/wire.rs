//! Our messages against nft's: after either, the kernel holds the same bytes.

use std::collections::BTreeSet;
use std::ffi::c_int;

use nftnl::nftnl_sys::libc;
use sluice_nft::{Field, Ip, Operand, Set, SetFlags, SetType, SlotExpr, Table};

use super::shapes::rendered;
use super::{commit, in_namespace, nft, nft_prints, open, steps};
use crate::attr::{Attribute, Write};
use crate::message;
use crate::socket::Socket;
use crate::target::Target;
use crate::uapi;

/// Handles number objects as they come, and tell nothing.
const CHAIN_HANDLE: u16 = 2;
const RULE_HANDLES: [u16; 2] = [3, 6];
const SET_HANDLE: u16 = 16;

#[test]
fn kernel_after_our_commit_holds_what_it_holds_after_nft() {
    in_namespace(|| assert_same_bytes(&rendered()));
}

#[test]
fn sets_of_every_type_are_declared_as_by_nft() {
    in_namespace(|| {
        let mut table = Table::default();
        let fields = [
            Field::Saddr(Ip::V4),
            Field::Saddr(Ip::V6),
            Field::Daddr(Ip::V4),
            Field::Daddr(Ip::V6),
            Field::Sport,
            Field::Dport,
            Field::L4proto,
            Field::Nfproto,
            Field::Iifname,
            Field::Oifname,
            Field::FibDaddrType,
            Field::FibSaddrType,
            Field::CtState,
            Field::CtStatus,
            Field::CtOriginalDaddr(Ip::V4),
            Field::CtOriginalDaddr(Ip::V6),
        ];
        let address = [Operand::Field(Field::Saddr(Ip::V4))];
        let picks = [SlotExpr::Inc { modulus: 7, offset: 3 }, SlotExpr::Random { modulus: 9, offset: 0 }];
        let parts = fields.map(Operand::Field).into_iter().chain(picks.map(Operand::Slot));
        for (n, part) in parts.enumerate() {
            let beside = vec![part.clone(), Operand::Field(Field::L4proto)];
            let data = SetType::Map(vec![part.clone()]);
            table.sets.insert(format!("ranges{n}").into(), Set::interval([&beside[..], &address].concat()));
            table.sets.insert(
                format!("learned{n}").into(),
                Set::dynamic(beside.clone(), 99, (n > 0).then_some(n as u32)),
            );
            table.sets.insert(format!("alone{n}").into(), Set::plain(vec![part.clone()]));
            table.sets.insert(format!("verdicts{n}").into(), Set::verdicts(vec![part]));
            table.sets.insert(format!("beside{n}").into(), Set { data, ..Set::plain(beside) });
        }
        assert_same_bytes(&table);
        assert_eq!(super::table(&mut open()), table);
    });
}

fn assert_same_bytes(table: &Table) {
    commit(&mut open(), &steps(table));
    let ours = everything(table);
    nft_prints(&["flush", "ruleset"]);
    nft(&table.to_string());
    let theirs = everything(table);
    assert!(!ours.is_empty());
    let hex = |bytes: Option<&Vec<u8>>| bytes.map(|bytes| format!("{:02x?}", bytes));
    let (ours_only, theirs_only) = (ours.difference(&theirs).next(), theirs.difference(&ours).next());
    assert_eq!(hex(ours_only), hex(theirs_only), "first that only we, that only nft made");
}

/// Attributes of all objects in the kernel, without handles; elements one by one, since they come in
/// any order.
fn everything(table: &Table) -> BTreeSet<Vec<u8>> {
    let mut socket = Socket::open().expect("a socket");
    let mut objects = BTreeSet::new();
    let question = |kind| {
        let mut question = message::start(kind, libc::NLM_F_DUMP);
        question.put_text(1, Target::SLUICE.name);
        question
    };
    let kinds: [(_, &[u16]); 3] = [
        (libc::NFT_MSG_GETCHAIN, &[CHAIN_HANDLE]),
        (libc::NFT_MSG_GETRULE, &RULE_HANDLES),
        (libc::NFT_MSG_GETSET, &[SET_HANDLE]),
    ];
    for (kind, without) in kinds {
        let asked = socket.ask(question(kind), |answer| objects.extend([stripped(answer, without)]));
        asked.expect("an answer");
    }
    // nft 1.0.6 reverses the byte order of a protocol in an interval set.
    let ranges = table.sets.iter().filter(|(_, set)| set.flags == SetFlags::Interval);
    for name in ranges.map(|(name, _)| [name.as_str().as_bytes(), &[0]].concat()) {
        let is_lookup = |object: &Vec<u8>| object.windows(6).any(|bytes| bytes == b"lookup");
        objects.retain(|object| !is_lookup(object) || !object.windows(name.len()).any(|bytes| bytes == name));
    }
    for set in table.sets.keys() {
        let mut question = question(libc::NFT_MSG_GETSETELEM);
        question.put_text(uapi::element::SET, set.as_str());
        let asked = socket.ask(question, |answer| {
            let elements = message::attributes(answer).nested(uapi::element::ELEMENTS);
            let named = |element: Attribute<'_>| [set.as_str().as_bytes(), element.value].concat();
            objects.extend(elements.expect("a list").map(named));
        });
        asked.expect("an answer");
    }
    objects
}

fn stripped(answer: &[u8], without: &[u16]) -> Vec<u8> {
    let mut kept = Vec::new();
    let kind: c_int = message::kind(answer);
    kept.extend_from_slice(&kind.to_ne_bytes());
    for attribute in message::attributes(answer).filter(|attribute| !without.contains(&attribute.kind)) {
        kept.put(attribute.kind, attribute.value);
    }
    kept
}
