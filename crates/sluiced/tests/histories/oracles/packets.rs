//! First packets of flows go to who takes them, after each commit and when all is quiet.

use std::collections::BTreeSet;
use std::mem::discriminant;
use std::net::SocketAddr;

use sluice_core::model::{Backend, OnEmpty, ServiceName, Services};
use sluice_nft::Table;
use sluice_nft::trace::{Outcome, Packet};
use tokio::time::Instant;

use crate::history::{History, Verdict};
use crate::model::key;
use crate::packets::packets;
use crate::whose::{Taker, refuses};

/// Between any two batches, a packet meets what it met before an event or what it meets after it.
pub fn were_translated(history: &mut History<'_>, record: &[Option<Table>]) -> Verdict {
    let Some(last) = record.last().cloned() else { return Ok(()) };
    // What is committed while the oracles look belongs to the next event.
    let first = std::mem::replace(&mut history.table, last.clone());
    for packet in packets() {
        let known = places(&history.before, &packet);
        let allowed: BTreeSet<_> =
            known.into_iter().chain(places(history.model.services(), &packet)).collect();
        let mut met = |table: &Option<Table>| match history.machine.trace(table.as_ref(), &packet) {
            // A backend of the balancer itself that listens where the client connects.
            Outcome::Untranslated { masqueraded } if allowed.contains(&packet.destination) => {
                Outcome::Translated { to: packet.destination, masqueraded }
            }
            other => other,
        };
        let [before, after] = [&first, &last].map(&mut met);
        let between: Vec<_> = record.iter().map(met).collect();
        // One that is new may wait for its first probe, and one may have been down or up for a moment.
        let local = History::local();
        let takers = history.model.takers(packet.protocol, packet.destination, Some(&packet.ingress), &local);
        let turned = |(name, service, _): &Taker<'_>| {
            // One that is full may have been so until flows were counted.
            let turns = |backend: &Backend| {
                backend.max_connections.is_some() || history.model.touched.contains(&key(name, backend))
            };
            service.backends.iter().any(turns)
        };
        // Nor need a guard and the pool behind it change in the same batch.
        let [was_refused, is_refused] =
            [&history.before, history.model.services()].map(|services| refused(services, &packet));
        let mut listeners = takers.into_iter().chain(listening(&history.before, &packet));
        let has_turned = listeners.any(|taker| turned(&taker)) || was_refused != is_refused;
        for outcome in between {
            let is_known =
                [before, after].map(|known| discriminant(&known)).contains(&discriminant(&outcome));
            let hit = match outcome {
                _ if outcome == before || outcome == after => continue,
                Outcome::Translated { to, .. } if (is_known || has_turned) && allowed.contains(&to) => {
                    "packets: translated between batches"
                }
                // A listener behind one that comes at the same time and has no backend may be there first.
                Outcome::Translated { to, .. }
                    if matches!(before, Outcome::Untranslated { .. }) && allowed.contains(&to) =>
                {
                    "packets: met a service behind that which takes them"
                }
                Outcome::Untranslated { .. } if is_known => "packets: not translated yet, or no longer",
                Outcome::Reset | Outcome::Unreachable | Outcome::Dropped if is_known || has_turned => {
                    "packets: nobody could take them between batches"
                }
                other => {
                    return Err(format!(
                        "between batches {packet:?} met {other:?}, before {before:?}, after {after:?}, not one of {allowed:?}"
                    ));
                }
            };
            history.reach.hit(hit);
        }
        if discriminant(&before) != discriminant(&after) {
            history.reach.hit("packets: met something else after an event");
        }
    }
    Ok(())
}

/// Services that refuse the client of a packet, of those that may take it.
fn refused<'a>(services: &'a Services, packet: &Packet) -> BTreeSet<&'a ServiceName> {
    let listening =
        listening(services, packet).filter(|(_, service, _)| refuses(service, packet.source.ip()));
    listening.map(|(name, ..)| name).collect()
}

fn listening<'a>(services: &'a Services, packet: &Packet) -> impl Iterator<Item = Taker<'a>> {
    let (protocol, port) = (packet.protocol, packet.destination.port());
    let listeners = services
        .iter()
        .flat_map(|(name, service)| service.listeners.iter().map(move |listener| (name, service, listener)));
    listeners.filter(move |(_, _, listener)| {
        let ports = listener.ports;
        listener.protocol == protocol && (ports.first..=ports.last).contains(&port)
    })
}

/// Where services of a file send a packet.
fn places(services: &Services, packet: &Packet) -> BTreeSet<SocketAddr> {
    let to = packet.destination;
    let places = listening(services, packet).flat_map(|(_, service, listener)| {
        let place = |backend: &Backend| {
            SocketAddr::new(backend.address, backend.port.translate(listener.ports, to.port()))
        };
        service.backends.iter().map(place)
    });
    places.collect()
}

/// Packets meet a backend of the pool of the service that takes them, or what is right for an empty one.
pub fn go_to_the_pool(history: &mut History<'_>) -> Verdict {
    let (now, local, table) = (Instant::now(), History::local(), history.machine.plane.table());
    let flows: Vec<_> = history.machine.conntrack.flows().iter().map(|known| known.flow).collect();
    for packet in packets() {
        let outcome = history.machine.trace(table.as_ref(), &packet);
        let takers = history.model.takers(packet.protocol, packet.destination, Some(&packet.ingress), &local);
        let Some(&(name, service, listener)) = takers.first() else {
            match outcome {
                Outcome::Untranslated { .. } => continue,
                other => return Err(format!("{packet:?} met {other:?}, but no service takes it")),
            }
        };
        let refused = refuses(service, packet.source.ip());
        let pool = history.model.pool(name, service, &flows, now);
        let port = packet.destination.port();
        let places: Vec<_> = pool
            .iter()
            .map(|(b, _)| SocketAddr::new(b.address, b.port.translate(listener.ports, port)))
            .collect();
        let (right, hit) = match outcome {
            Outcome::Dropped if refused => (true, "packets: refused by the guard"),
            Outcome::Dropped => {
                (places.is_empty() && service.on_empty == OnEmpty::Drop, "packets: dropped, no backend")
            }
            Outcome::Reset | Outcome::Unreachable => (
                !refused && places.is_empty() && service.on_empty != OnEmpty::Drop,
                "packets: rejected, no backend",
            ),
            Outcome::Translated { to, .. } => (!refused && places.contains(&to), "packets: met the pool"),
            Outcome::Answered { .. } => (false, "packets: answered"),
            Outcome::Untranslated { .. } => {
                (!refused && places.contains(&packet.destination), "packets: stayed")
            }
        };
        if !right {
            return Err(format!("{packet:?} met {outcome:?}; {name} takes it, its pool is {places:?}"));
        }
        history.reach.hit(hit);
    }
    Ok(())
}
