//! Pick chains: where a new flow gets its backend.

use sluice_nft::{
    Chain, ChainName, Data, Element, Field, Ip, Key, Octets, Operand, Pick, Rule, Set, SetName, Statement,
    Test,
};

use super::entry::Entry;
use super::layout::{Form, Layout, Places};
use super::{Rendered, names};
use crate::maglev;
use crate::model::{Backend, BackendPort, HashOn, OnEmpty, Protocol, Scheduler};
use crate::origin::Flow;
use crate::per_port::{elements_per_slot, slots_on_grid};
use crate::slots::{MAX_SLOTS, on_grid, slots};

/// Initial value of the hash: the same file picks the same backend for a client after a restart and
/// on a second machine. ASCII "slui".
pub(super) const HASH_SEED: u32 = 0x736c_7569;

/// Renders where new flows of `entry` go and returns that chain.
pub(super) fn render(
    rendered: &mut Rendered,
    entry: &Entry<'_>,
    layout: &Layout,
    places: &mut Places,
) -> ChainName {
    let slots = lay_out(entry);
    if slots.is_empty() {
        let nobody = no_backend(rendered, entry.service.on_empty);
        // Base chains lead to other listeners by rules; those stay as they are.
        return match entry.exact() {
            Some(_) => nobody,
            None => {
                let chain = Chain { base: None, rules: vec![Rule(vec![Statement::Goto(nobody)])] };
                let name = names::private_pick(entry);
                rendered.table.chains.insert(name.clone(), chain);
                name
            }
        };
    }
    // A numgen counter lives in its rule: services that alternate on a shared one would each always
    // reach the same backend. Round robin therefore has a rule for each listener.
    match entry.exact() {
        Some(_) if !entry.service.scheduler.counts() => shared(rendered, entry, &slots),
        _ => private(rendered, entry, &slots, layout, places),
    }
}

/// The backend of each slot, as an index into those that take new flows.
fn lay_out(entry: &Entry<'_>) -> Vec<usize> {
    let weights = || entry.backends.iter().map(|backend| backend.weight).collect::<Vec<_>>();
    match entry.service.scheduler {
        Scheduler::Maglev(_, size) => {
            let backends = entry.service.backends.iter().enumerate();
            let members: Vec<_> = backends
                .filter(|(_, backend)| Ip::of(backend.address) == entry.ip)
                .map(|(index, backend)| maglev::Member {
                    name: backend.name.as_str(),
                    full: *entry.service.full_weights.get(index).unwrap_or(&backend.weight),
                    now: backend.weight,
                })
                .collect();
            let before = |index: usize| members[..index].iter().filter(|member| member.now > 0).count();
            let serving: Vec<_> = (0..members.len()).map(before).collect();
            maglev::table(&members, size).into_iter().map(|member| serving[member]).collect()
        }
        _ if entry.service.fixed_grid => {
            let each = elements_per_slot(entry.listener.ports, entry.backends.iter().copied());
            on_grid(&weights(), slots_on_grid(entry.members().count(), each))
        }
        _ => slots(&weights()),
    }
}

/// Every packet here is new. The kernel, though, tracks connections only where some rule asks about
/// them or translates, and without tracking it skips the nat hooks.
fn no_backend(rendered: &mut Rendered, on_empty: OnEmpty) -> ChainName {
    let name = names::no_backend(on_empty);
    let new = || Statement::Match(Field::CtState, Test::Has(Field::NEW));
    rendered.table.chains.entry(name.clone()).or_insert_with(|| Chain {
        base: None,
        rules: match on_empty {
            OnEmpty::Reject | OnEmpty::UseAll => vec![
                Rule(vec![
                    new(),
                    Statement::is(Field::L4proto, &[Protocol::Tcp.number()]),
                    Statement::RejectReset,
                ]),
                Rule(vec![new(), Statement::RejectPort]),
            ],
            OnEmpty::Drop => vec![Rule(vec![new(), Statement::Drop])],
        },
    });
    name
}

/// One rule for all listeners of a scheduler and slot count: the map's key holds the listener.
fn shared(rendered: &mut Rendered, entry: &Entry<'_>, slots: &[usize]) -> ChainName {
    let Entry { ip, service, .. } = entry;
    let name = names::shared_pick(service.scheduler, *ip, slots.len());
    let count = slots.len() as u32;
    let key = |pick| {
        let fields = [Field::Daddr(*ip), Field::L4proto, Field::Dport];
        fields.map(Operand::Field).into_iter().chain([Operand::Pick(pick)]).collect::<Vec<_>>()
    };
    let chain = ChainName::from(&name);
    let set = SetName::from(&name);
    let miss = miss(rendered);
    rendered.table.chains.entry(chain.clone()).or_insert_with(|| Chain {
        base: None,
        rules: vec![
            Rule(vec![
                Statement::is(Field::Nfproto, &[ip.nfproto()]),
                Statement::Dnat {
                    ip: *ip,
                    key: key(pick(service.scheduler, *ip, count, 0)),
                    map: set.clone(),
                    port: true,
                },
            ]),
            miss,
        ],
    });
    let map = rendered.table.sets.entry(set).or_insert_with(|| {
        Set::counted_map(key(Pick::Random { modulus: count, offset: 0 }), address_and_port(*ip))
    });
    let (address, port) = entry.exact().expect("only exact listeners share");
    let listener = Key::EMPTY.address(address).protocol(entry.protocol()).port(port);
    for (slot, backend) in (0..).zip(slots) {
        let backend = entry.backends[*backend];
        let data =
            Octets::EMPTY.address(backend.address).port(backend.port.translate(entry.listener.ports, port));
        let origin = rendered.origins.add(counted(entry, backend));
        map.elements.insert(listener.slot(slot), Element { data: Data::Value(data), origin });
    }
    chain
}

/// A rule of the listener's own, slots in a stripe of a map that 128 such listeners share.
fn private(
    rendered: &mut Rendered,
    entry: &Entry<'_>,
    slots: &[usize],
    layout: &Layout,
    places: &mut Places,
) -> ChainName {
    let Entry { ip, service, listener, .. } = entry;
    let chain = names::private_pick(entry);
    let form = form(entry);
    let count = slots.len() as u32;
    let elements = count * elements_per_slot(listener.ports, entry.backends.iter().copied());
    let place = layout.keep(&chain, form, *ip, count).unwrap_or_else(|| places.take(form, *ip, elements));

    let mut key = vec![Operand::Pick(pick(service.scheduler, *ip, count, place.base))];
    let mut declared = vec![Operand::Pick(Pick::Inc { modulus: MAX_SLOTS, offset: 0 })];
    if form == Form::Ports {
        key.insert(0, Operand::Field(Field::Dport));
        declared.insert(0, Operand::Field(Field::Dport));
    }
    let data = match form {
        Form::Addresses => vec![Operand::Field(Field::Daddr(*ip))],
        Form::Slots | Form::Ports => address_and_port(*ip),
    };
    // nft refuses to set a port in a rule that does not say whose port it is. A hash of the client
    // reads the IP header, which nft precedes by a match on the IP version.
    let mut rule = match service.scheduler {
        Scheduler::SourceHash(_) | Scheduler::Maglev(..) => {
            vec![Statement::is(Field::Nfproto, &[ip.nfproto()])]
        }
        Scheduler::RoundRobin | Scheduler::LeastConnections | Scheduler::Random => vec![],
    };
    rule.push(Statement::is(Field::L4proto, &[entry.protocol()]));
    rule.push(Statement::Dnat { ip: *ip, key, map: place.map.clone(), port: form != Form::Addresses });
    let rules = vec![Rule(rule), miss(rendered)];
    rendered.table.chains.insert(chain.clone(), Chain { base: None, rules });

    let map = rendered
        .table
        .sets
        .entry(place.map)
        .or_insert_with(|| Set::counted_map(declared, data).sized(place.size));
    for (slot, backend) in (place.base..).zip(slots) {
        let backend = entry.backends[*backend];
        let origin = rendered.origins.add(counted(entry, backend));
        let address = Octets::EMPTY.address(backend.address);
        let mut add = |key: Key, data| {
            map.elements.insert(key, Element { data: Data::Value(data), origin });
        };
        match form {
            Form::Addresses => add(Key::EMPTY.slot(slot), address),
            Form::Slots => {
                let port = backend.port.translate(listener.ports, listener.ports.first);
                add(Key::EMPTY.slot(slot), address.port(port));
            }
            Form::Ports => (listener.ports.first..=listener.ports.last).for_each(|port| {
                let translated = backend.port.translate(listener.ports, port);
                add(Key::EMPTY.port(port).slot(slot), address.port(translated));
            }),
        }
    }
    chain
}

/// What a slot counts: nothing of its backend, if most clients pass by.
fn counted(entry: &Entry<'_>, backend: &Backend) -> Flow {
    entry.flow(Some(backend).filter(|_| entry.service.affinity.is_none()))
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

fn pick(scheduler: Scheduler, ip: Ip, modulus: u32, offset: u32) -> Pick {
    match scheduler {
        Scheduler::RoundRobin | Scheduler::LeastConnections => Pick::Inc { modulus, offset },
        Scheduler::Random => Pick::Random { modulus, offset },
        Scheduler::SourceHash(on) | Scheduler::Maglev(on, _) => {
            let on = match on {
                HashOn::Address => vec![Field::Saddr(ip)],
                HashOn::AddressAndPort => vec![Field::Saddr(ip), Field::Sport],
            };
            Pick::Jhash { on, modulus, seed: HASH_SEED, offset }
        }
    }
}

fn address_and_port(ip: Ip) -> Vec<Operand> {
    vec![Operand::Field(Field::Daddr(ip)), Operand::Field(Field::Dport)]
}

/// Leads to the chain where packets end whose slot is not found (kernels before 2025 may miss one that is being
/// replaced): they must not leave untranslated, and dropped, the client sends them again. One chain for all,
/// because a counter is memory for each CPU.
pub(super) fn miss(rendered: &mut Rendered) -> Rule {
    let name = names::miss();
    let chain = || Chain { base: None, rules: vec![Rule(vec![Statement::Counter, Statement::Drop])] };
    rendered.table.chains.entry(name.clone()).or_insert_with(chain);
    Rule(vec![Statement::Goto(name)])
}
