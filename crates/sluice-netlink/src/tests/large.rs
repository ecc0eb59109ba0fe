//! The largest batches, and batches with a limited send buffer.

use std::net::Ipv4Addr;
use std::process::Command;

use nix::sys::socket::{setsockopt, sockopt};
use sluice_nft::{
    Chain, ChainName, Data, Dataplane, Element, Field, Ip, Key, Octets, Operand, Rule, Set, SlotExpr,
    Statement, Table,
};

use super::{commit, in_namespace, open, steps, table};

const SERVICES: u32 = 20_000;
const BACKENDS: u32 = 4;

/// Set where the test below runs itself in a user namespace.
const INSIDE: &str = "SLUICE_TEST_INSIDE_USER_NAMESPACE";

/// Services of one pick chain.
pub(super) fn large() -> Table {
    let listener = [Field::Daddr(Ip::V4), Field::L4proto, Field::Dport].map(Operand::Field);
    let pick = Operand::Slot(SlotExpr::Random { modulus: BACKENDS, offset: 0 });
    let slot = [listener.as_slice(), &[pick]].concat();
    let backend = [Field::Daddr(Ip::V4), Field::Dport].map(Operand::Field).to_vec();
    let chain = ChainName::from("random4-4");
    let mut services = Set::verdicts(listener.to_vec());
    let mut slots = Set::counted_map(slot.clone(), backend);
    let element = |data| Element { data };
    for n in 0..SERVICES {
        let key = Key::EMPTY.address(Ipv4Addr::from(0x0b00_0000 + n).into()).protocol(6).port(80);
        services.elements.insert(key, element(Data::Goto(chain.clone())));
        for b in 0..BACKENDS {
            let address = Ipv4Addr::from(0x0a00_0000 + n * BACKENDS + b);
            let data = Octets::EMPTY.address(address.into()).port(8080);
            slots.elements.insert(key.slot(b), element(Data::Value(data)));
        }
    }
    let dnat = Statement::Dnat { ip: Ip::V4, key: slot, map: "random4-4".into(), port: true };
    let rule = Rule(vec![Statement::is(Field::Nfproto, &[2]), dnat]);
    Table {
        sets: [("services4".into(), services), ("random4-4".into(), slots)].into(),
        chains: [(chain, Chain { base: None, rules: vec![rule] })].into(),
        ..Table::default()
    }
}

#[test]
fn commit_of_many_services_is_few_messages() {
    in_namespace(|| {
        let mut netlink = open();
        commit(&mut netlink, &steps(&large()));
        assert!(netlink.messages_sent() < 200, "{}", netlink.messages_sent());
        assert_eq!(table(&mut netlink), large());
    });
}

#[test]
fn commit_larger_than_its_limit_is_sent_in_parts() {
    in_namespace(|| {
        let mut netlink = open();
        netlink.limit = 1 << 17;
        commit(&mut netlink, &steps(&large()));
        assert_eq!(table(&mut netlink), large());
    });
}

#[test]
fn commit_larger_than_the_socket_takes_is_sent_in_parts() {
    in_namespace(|| {
        let mut netlink = open();
        let limit = netlink.limit;
        setsockopt(&netlink.writer.fd(), sockopt::SndBuf, &(1 << 16)).expect("smaller is allowed");
        commit(&mut netlink, &steps(&large()));
        assert!(netlink.limit < limit);
        assert_eq!(table(&mut netlink), large());
    });
}

#[test]
fn commit_refused_in_a_later_part_names_the_step() {
    in_namespace(|| {
        let mut netlink = open();
        netlink.limit = 1 << 17;
        let mut steps = steps(&large());
        let last = steps.last().expect("steps").clone();
        steps.push(last);
        let error = netlink.commit(&steps, None).expect_err("elements are there already");
        assert_eq!(
            error.operation,
            "add element inet sluice services4 { 11.0.0.0 . tcp . 80 : goto random4-4 }"
        );
    });
}

#[test]
fn commit_in_a_user_namespace_is_sent_in_parts() {
    if std::env::var_os(INSIDE).is_some() {
        return in_namespace(|| {
            let mut netlink = open();
            assert!(netlink.limit < 1 << 24, "net.core.wmem_max limits the batch: {}", netlink.limit);
            commit(&mut netlink, &steps(&large()));
            assert_eq!(table(&mut netlink), large());
        });
    }
    let this = std::env::current_exe().expect("the path of this program");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net"])
        .arg(this)
        .args(["--exact", "tests::large::commit_in_a_user_namespace_is_sent_in_parts"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{complaints}");
}
