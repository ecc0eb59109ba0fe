//! Pick chains: choose the backend of a new flow.

use sluice_nft::{
    ChainName, Comparison, Data, Field, Ip, Key, Octets, Operand, Rule, Set, SlotExpr, Statement,
};

use super::fragment::Draft;
use super::frontend::Frontend;
use super::layout::{MapShape, Stripe};
use super::names::{ChainId, PickBy, SetId};
use crate::model::{Backend, BackendPort, OnEmpty, Protocol};
use crate::render::bounds::elements_per_slot;
use crate::render::slots::MAX_SLOTS;

/// Renders the pick chain of `frontend` and returns it. `place` allocates a stripe for a number of slots and
/// elements.
pub(super) fn render(
    draft: &mut Draft<'_, '_>,
    frontend: &Frontend<'_>,
    place: impl FnOnce(MapShape, u32, u32) -> Stripe,
) -> ChainName {
    let slots = frontend.service.scheduler.slots(frontend);
    if slots.is_empty() {
        let nobody = no_backend(draft, frontend.service.on_empty);
        // Rules of base chains lead to the pick chains of all other listeners. Such a chain remains, so that
        // these rules do not change.
        return match frontend.exact() {
            Some(_) => nobody,
            None => draft.own(ChainId::Pick(frontend.id()), vec![Rule(vec![Statement::Goto(nobody)])]),
        };
    }
    // A numgen counter belongs to its rule. Services that alternate on a shared counter could each always get
    // the same backend, so round robin has a rule per listener.
    match (frontend.service.scheduler.shared(), frontend.exact_key()) {
        (Some(by), Some(listener)) => shared(draft, frontend, by, listener, &slots),
        _ => own(draft, frontend, &slots, place),
    }
}

/// All packets here are new. The match on `ct state` makes the kernel enable conntrack, without which it
/// skips nat hooks.
fn no_backend(draft: &mut Draft<'_, '_>, on_empty: OnEmpty) -> ChainName {
    let new = || Statement::Match(Field::CtState, Comparison::AnyBit(Field::NEW));
    let (id, rules) = match on_empty {
        OnEmpty::Reject | OnEmpty::UseAll => {
            let reset =
                vec![new(), Statement::is(Field::L4proto, &[Protocol::Tcp.number()]), Statement::RejectReset];
            (ChainId::NoBackend(false), vec![Rule(reset), Rule(vec![new(), Statement::RejectPort])])
        }
        OnEmpty::Drop => (ChainId::NoBackend(true), vec![Rule(vec![new(), Statement::Drop])]),
    };
    draft.shared(id, || rules)
}

/// One rule for all listeners with the same scheduler and slot count: the key of the map contains the
/// listener.
fn shared(
    draft: &mut Draft<'_, '_>,
    frontend: &Frontend<'_>,
    by: PickBy,
    listener: Key,
    slots: &[usize],
) -> ChainName {
    let (ip, count) = (frontend.ip, slots.len() as u32);
    let key = |pick| {
        let fields = [Field::Daddr(ip), Field::L4proto, Field::Dport];
        fields.map(Operand::Field).into_iter().chain([Operand::Slot(pick)]).collect::<Vec<_>>()
    };
    let declare =
        || Set::counted_map(key(SlotExpr::Random { modulus: count, offset: 0 }), address_and_port(ip));
    let elements = (0..).zip(slots).map(|(slot, backend)| {
        let backend = frontend.backends[*backend];
        let to = frontend.backend_ports(backend).first;
        let data = Data::Value(Octets::EMPTY.address(backend.address).port(to));
        (listener.slot(slot), data, counted(frontend, backend))
    });
    let map = draft.count(SetId::Slots(by, ip, count), declare, elements);
    let miss = draft.miss();
    draft.shared(ChainId::SharedPick(by, ip, count), || {
        let version = Statement::is(Field::Nfproto, &[ip.nfproto()]);
        let key = key(frontend.service.scheduler.pick(ip, count, 0));
        vec![Rule(vec![version, Statement::Dnat { ip, key, map, port: true }]), miss]
    })
}

/// A rule of the listener's own, with slots in a stripe of a map that up to 128 listeners share.
fn own(
    draft: &mut Draft<'_, '_>,
    frontend: &Frontend<'_>,
    slots: &[usize],
    place: impl FnOnce(MapShape, u32, u32) -> Stripe,
) -> ChainName {
    let Frontend { ip, service, listener, .. } = frontend;
    let shape = shape(frontend);
    let count = slots.len() as u32;
    let stripe =
        place(shape, count, count * elements_per_slot(listener.ports, frontend.backends.iter().copied()));
    draft.fragment.stripe = Some(stripe);

    let mut key = vec![Operand::Slot(service.scheduler.pick(*ip, count, stripe.base))];
    let mut declared = vec![Operand::Slot(SlotExpr::Inc { modulus: MAX_SLOTS, offset: 0 })];
    if shape == MapShape::Ports {
        key.insert(0, Operand::Field(Field::Dport));
        declared.insert(0, Operand::Field(Field::Dport));
    }
    let data = match shape {
        MapShape::Addresses => vec![Operand::Field(Field::Daddr(*ip))],
        MapShape::Slots | MapShape::Ports => address_and_port(*ip),
    };
    let elements = (stripe.base..).zip(slots).flat_map(|(slot, backend)| {
        let backend = frontend.backends[*backend];
        let address = Octets::EMPTY.address(backend.address);
        let to = move |port| Data::Value(address.port(backend.port.translate(listener.ports, port)));
        let ports = match shape {
            MapShape::Addresses | MapShape::Slots => listener.ports.first..=listener.ports.first,
            MapShape::Ports => listener.ports.first..=listener.ports.last,
        };
        ports.map(move |port| {
            let (key, data) = match shape {
                MapShape::Addresses => (Key::EMPTY.slot(slot), Data::Value(address)),
                MapShape::Slots => (Key::EMPTY.slot(slot), to(port)),
                MapShape::Ports => (Key::EMPTY.port(port).slot(slot), to(port)),
            };
            (key, data, counted(frontend, backend))
        })
    });
    let declare = || Set::counted_map(declared, data).sized(stripe.size);
    let map = draft.count(stripe.map.id(), declare, elements);

    // nft refuses a port translation in a rule without a match on the protocol. A hash of the client reads
    // the IP header, before which nft adds a match on the IP version.
    let version = || Statement::is(Field::Nfproto, &[ip.nfproto()]);
    let mut rule: Vec<_> = service.scheduler.reads_client().then(version).into_iter().collect();
    rule.push(Statement::is(Field::L4proto, &[frontend.protocol()]));
    rule.push(Statement::Dnat { ip: *ip, key, map, port: shape != MapShape::Addresses });
    let rules = vec![Rule(rule), draft.miss()];
    draft.own(ChainId::Pick(frontend.id()), rules)
}

/// The backend that a slot counts for; none with affinity, because flows of known clients bypass the slots.
fn counted<'a>(frontend: &Frontend<'_>, backend: &'a Backend) -> Option<&'a Backend> {
    Some(backend).filter(|_| frontend.service.affinity.is_none())
}

/// The cheapest map shape for the ports of these backends.
fn shape(frontend: &Frontend<'_>) -> MapShape {
    let ports = frontend.listener.ports;
    let all = |test: &dyn Fn(BackendPort) -> bool| frontend.backends.iter().all(|backend| test(backend.port));
    if elements_per_slot(ports, frontend.backends.iter().copied()) > 1 {
        MapShape::Ports
    } else if ports.as_single().is_some() || all(&|port| matches!(port, BackendPort::One(_))) {
        MapShape::Slots
    } else {
        MapShape::Addresses
    }
}

fn address_and_port(ip: Ip) -> Vec<Operand> {
    vec![Operand::Field(Field::Daddr(ip)), Operand::Field(Field::Dport)]
}
