//! Pick chains: where a new flow gets its backend.

use sluice_nft::{ChainName, Data, Field, Ip, Key, Octets, Operand, Pick, Rule, Set, Statement, Test};

use super::entry::Entry;
use super::fragment::Draft;
use super::layout::{Form, Stripe};
use super::names::{ChainId, PickBy, SetId};
use crate::model::{Backend, BackendPort, OnEmpty, Protocol};
use crate::render::per_port::elements_per_slot;
use crate::render::slots::MAX_SLOTS;

/// Renders where new flows of `entry` go and returns that chain. `place` finds a stripe for so many slots and elements.
pub(super) fn render(
    draft: &mut Draft<'_, '_>,
    entry: &Entry<'_>,
    place: impl FnOnce(Form, u32, u32) -> Stripe,
) -> ChainName {
    let slots = entry.service.scheduler.slots(entry);
    if slots.is_empty() {
        let nobody = no_backend(draft, entry.service.on_empty);
        // Base chains lead to other listeners by rules; those stay as they are.
        return match entry.exact() {
            Some(_) => nobody,
            None => draft.own(ChainId::Pick(entry.id()), vec![Rule(vec![Statement::Goto(nobody)])]),
        };
    }
    // A numgen counter lives in its rule: services that alternate on a shared one would each always
    // reach the same backend. Round robin therefore has a rule for each listener.
    match (entry.service.scheduler.shared(), entry.exact()) {
        (Some(by), Some((address, port))) => {
            let listener = Key::EMPTY.address(address).protocol(entry.protocol()).port(port);
            shared(draft, entry, by, listener, port, &slots)
        }
        _ => own(draft, entry, &slots, place),
    }
}

/// Every packet here is new. The kernel, though, tracks connections only where some rule asks about
/// them or translates, and without tracking it skips the nat hooks.
fn no_backend(draft: &mut Draft<'_, '_>, on_empty: OnEmpty) -> ChainName {
    let new = || Statement::Match(Field::CtState, Test::Has(Field::NEW));
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

/// One rule for all listeners of a scheduler and slot count: the map's key holds the listener.
fn shared(
    draft: &mut Draft<'_, '_>,
    entry: &Entry<'_>,
    by: PickBy,
    listener: Key,
    port: u16,
    slots: &[usize],
) -> ChainName {
    let (ip, count) = (entry.ip, slots.len() as u32);
    let key = |pick| {
        let fields = [Field::Daddr(ip), Field::L4proto, Field::Dport];
        fields.map(Operand::Field).into_iter().chain([Operand::Pick(pick)]).collect::<Vec<_>>()
    };
    let declare = || Set::counted_map(key(Pick::Random { modulus: count, offset: 0 }), address_and_port(ip));
    let elements = (0..).zip(slots).map(|(slot, backend)| {
        let backend = entry.backends[*backend];
        let to = backend.port.translate(entry.listener.ports, port);
        let data = Data::Value(Octets::EMPTY.address(backend.address).port(to));
        (listener.slot(slot), data, counted(entry, backend))
    });
    let map = draft.count(SetId::Slots(by, ip, count), declare, elements);
    let miss = draft.miss();
    draft.shared(ChainId::SharedPick(by, ip, count), || {
        let version = Statement::is(Field::Nfproto, &[ip.nfproto()]);
        let key = key(entry.service.scheduler.pick(ip, count, 0));
        vec![Rule(vec![version, Statement::Dnat { ip, key, map, port: true }]), miss]
    })
}

/// A rule of the listener's own, slots in a stripe of a map that 128 such listeners share.
fn own(
    draft: &mut Draft<'_, '_>,
    entry: &Entry<'_>,
    slots: &[usize],
    place: impl FnOnce(Form, u32, u32) -> Stripe,
) -> ChainName {
    let Entry { ip, service, listener, .. } = entry;
    let form = form(entry);
    let count = slots.len() as u32;
    let stripe =
        place(form, count, count * elements_per_slot(listener.ports, entry.backends.iter().copied()));
    draft.fragment.stripe = Some(stripe);

    let mut key = vec![Operand::Pick(service.scheduler.pick(*ip, count, stripe.base))];
    let mut declared = vec![Operand::Pick(Pick::Inc { modulus: MAX_SLOTS, offset: 0 })];
    if form == Form::Ports {
        key.insert(0, Operand::Field(Field::Dport));
        declared.insert(0, Operand::Field(Field::Dport));
    }
    let data = match form {
        Form::Addresses => vec![Operand::Field(Field::Daddr(*ip))],
        Form::Slots | Form::Ports => address_and_port(*ip),
    };
    let elements = (stripe.base..).zip(slots).flat_map(|(slot, backend)| {
        let backend = entry.backends[*backend];
        let address = Octets::EMPTY.address(backend.address);
        let to = move |port| Data::Value(address.port(backend.port.translate(listener.ports, port)));
        let ports = match form {
            Form::Addresses | Form::Slots => listener.ports.first..=listener.ports.first,
            Form::Ports => listener.ports.first..=listener.ports.last,
        };
        ports.map(move |port| {
            let (key, data) = match form {
                Form::Addresses => (Key::EMPTY.slot(slot), Data::Value(address)),
                Form::Slots => (Key::EMPTY.slot(slot), to(port)),
                Form::Ports => (Key::EMPTY.port(port).slot(slot), to(port)),
            };
            (key, data, counted(entry, backend))
        })
    });
    let declare = || Set::counted_map(declared, data).sized(stripe.size);
    let map = draft.count(stripe.map.id(), declare, elements);

    // nft refuses to set a port in a rule that does not say whose port it is. A hash of the client
    // reads the IP header, which nft precedes by a match on the IP version.
    let version = || Statement::is(Field::Nfproto, &[ip.nfproto()]);
    let mut rule: Vec<_> = service.scheduler.reads_client().then(version).into_iter().collect();
    rule.push(Statement::is(Field::L4proto, &[entry.protocol()]));
    rule.push(Statement::Dnat { ip: *ip, key, map, port: form != Form::Addresses });
    let rules = vec![Rule(rule), draft.miss()];
    draft.own(ChainId::Pick(entry.id()), rules)
}

/// The backend that a slot counts for: none if most clients pass by.
fn counted<'a>(entry: &Entry<'_>, backend: &'a Backend) -> Option<&'a Backend> {
    Some(backend).filter(|_| entry.service.affinity.is_none())
}

/// The cheapest map that says what these backends do with the port.
fn form(entry: &Entry<'_>) -> Form {
    let ports = entry.listener.ports;
    let all = |test: &dyn Fn(BackendPort) -> bool| entry.backends.iter().all(|backend| test(backend.port));
    if elements_per_slot(ports, entry.backends.iter().copied()) > 1 {
        Form::Ports
    } else if ports.as_single().is_some() || all(&|port| matches!(port, BackendPort::One(_))) {
        Form::Slots
    } else {
        Form::Addresses
    }
}

fn address_and_port(ip: Ip) -> Vec<Operand> {
    vec![Operand::Field(Field::Daddr(ip)), Operand::Field(Field::Dport)]
}
