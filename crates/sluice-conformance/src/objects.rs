//! Steps in few words.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sluice_nft::{
    Base, ChainName, Data, Field, Ip, Key, Octets, Operand, Rate, Rule, Set, SetRef, SetUpdate, SlotExpr,
    Statement, Step,
};

pub(super) const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));

/// Names of the two maps.
pub(super) const SERVICES: &str = "services";
pub(super) const SLOTS: &str = "slots";

/// Name of a set that rules fill, and of one of ranges.
pub(super) const SEEN: &str = "seen";
pub(super) const DENY: &str = "deny";

pub(super) fn chain(name: &str) -> Step {
    Step::AddChain(name.into(), None)
}

pub(super) fn base(name: &str, base: Base) -> Step {
    Step::AddChain(name.into(), Some(base))
}

pub(super) fn flush(name: &str) -> Step {
    Step::FlushChain(name.into())
}

pub(super) fn rule(chain: &str, statements: impl Into<Vec<Statement>>) -> Step {
    Step::AddRule(chain.into(), Rule(statements.into()))
}

/// A map from address, protocol and port to a chain.
pub(super) fn services() -> Set {
    let key = [Field::Daddr(Ip::V4), Field::L4proto, Field::Dport];
    Set::verdicts(key.map(Operand::Field).to_vec())
}

/// A map from slot to backend.
pub(super) fn slots() -> Set {
    let key = Operand::Slot(SlotExpr::Inc { modulus: 65_536, offset: 0 });
    Set::counted_map(vec![key], [Field::Daddr(Ip::V4), Field::Dport].map(Operand::Field).to_vec())
}

pub(super) fn add_services() -> Step {
    Step::AddSet(SERVICES.into(), services())
}

pub(super) fn add_slots() -> Step {
    Step::AddSet(SLOTS.into(), slots())
}

/// A set of clients that rules fill.
pub(super) fn seen() -> Set {
    Set::dynamic(vec![Operand::Field(Field::Saddr(Ip::V4))], 16, Some(60))
}

pub(super) fn add_seen() -> Step {
    Step::AddSet(SEEN.into(), seen())
}

/// Puts the client into it.
pub(super) fn see() -> Statement {
    learn(seen().key, SEEN)
}

pub(super) fn learn(key: Vec<Operand>, set: &str) -> Statement {
    let update = SetUpdate::LimitOver(Rate { packets: 20, unit: 1, burst: 40 });
    Statement::Update { key, set: set.into(), update }
}

/// A set of ranges of clients, for each protocol.
pub(super) fn deny() -> Set {
    let key = [Field::L4proto, Field::Saddr(Ip::V4)].map(Operand::Field).to_vec();
    Set { counter: true, ..Set::interval(key) }
}

pub(super) fn add_deny() -> Step {
    Step::AddSet(DENY.into(), deny())
}

/// TCP clients 10.0.0.`first` to `last`.
pub(super) fn range(first: u8, last: u8) -> (Key, Data) {
    let last = Data::KeyEnd(Octets::EMPTY.with(&[10, 0, 0, last]));
    (Key::EMPTY.protocol(6).with(&[10, 0, 0, first]), last)
}

pub(super) fn add_ranges<const N: usize>(ranges: [(u8, u8); N]) -> Step {
    let ranges = ranges.into_iter().map(|(first, last)| range(first, last));
    Step::AddElements(of_deny(), ranges.collect())
}

pub(super) fn delete_range(first: u8, last: u8) -> Step {
    Step::DeleteElements(of_deny(), vec![range(first, last)])
}

pub(super) fn of_deny() -> SetRef {
    SetRef { name: DENY.into(), declaration: Arc::new(deny()) }
}

/// Adds an element that leads port `port` to a chain.
pub(super) fn goto(port: u16, chain: &str) -> Step {
    Step::AddElements(of_services(), vec![service(port, chain)])
}

pub(super) fn service(port: u16, chain: &str) -> (Key, Data) {
    (service_key(port), Data::Goto(ChainName::from(chain)))
}

pub(super) fn service_key(port: u16) -> Key {
    Key::EMPTY.address(VIP).protocol(6).port(port)
}

pub(super) fn slot(number: u32) -> Step {
    Step::AddElements(of_slots(), vec![(slot_key(number), backend(number as u8))])
}

pub(super) fn unslot(number: u32) -> Step {
    Step::DeleteElements(of_slots(), vec![(slot_key(number), backend(number as u8))])
}

pub(super) fn slot_key(number: u32) -> Key {
    Key::EMPTY.slot(number)
}

pub(super) fn backend(number: u8) -> Data {
    Data::Value(Octets::EMPTY.with(&[10, 0, 2, number]).with(&8080_u16.to_be_bytes()))
}

pub(super) fn of_services() -> SetRef {
    SetRef { name: SERVICES.into(), declaration: Arc::new(services()) }
}

pub(super) fn of_slots() -> SetRef {
    SetRef { name: SLOTS.into(), declaration: Arc::new(slots()) }
}

pub(super) fn tcp() -> Statement {
    Statement::is(Field::L4proto, &[6])
}

pub(super) fn look_up_service() -> Statement {
    Statement::VerdictMap(services().key, SERVICES.into())
}

pub(super) fn dnat(pick: SlotExpr) -> Statement {
    Statement::Dnat { ip: Ip::V4, key: vec![Operand::Slot(pick)], map: SLOTS.into(), port: true }
}

/// Table, map, base chain and pick chain of one service at port 1.
pub(super) fn program() -> Vec<Step> {
    vec![
        Step::AddTable,
        add_services(),
        add_slots(),
        base("prerouting", Base::PREROUTING),
        chain("pick"),
        rule("prerouting", [Statement::is(Field::Nfproto, &[Ip::V4.nfproto()]), look_up_service()]),
        rule("pick", [tcp(), dnat(SlotExpr::Inc { modulus: 2, offset: 0 })]),
        rule("pick", [Statement::Counter, Statement::Drop]),
        slot(0),
        slot(1),
        goto(1, "pick"),
    ]
}
