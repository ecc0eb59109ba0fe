//! First packets of flows go to who takes them, after each commit and when all is quiet.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use sluice_core::model::{Backend, OnEmpty, Services};
use sluice_nft::trace::{Outcome, Packet};
use tokio::time::Instant;

use crate::history::{History, Verdict, packets};
use crate::model::{Taker, key, refuses};

/// A packet that meets a backend before and after an event meets one of those between any two commits of it, too.
pub fn were_translated(history: &mut History<'_>) -> Verdict {
    let record = history.machine.plane.take_record();
    let (Some(last), Some(first)) = (record.last().cloned(), history.table.clone()) else { return Ok(()) };
    for packet in packets() {
        let [before, after] =
            [Some(first.clone()), last.clone()].map(|t| history.machine.trace(t.as_ref(), &packet));
        let (Outcome::Translated { .. }, Outcome::Translated { .. }) = (before, after) else { continue };
        let known = places(&history.before, &packet);
        let allowed: BTreeSet<_> =
            known.into_iter().chain(places(history.model.services(), &packet)).collect();
        // One that is new may wait for its first probe, and one may have been down for a moment.
        let local = History::local();
        let takers = history.model.takers(packet.protocol, packet.destination, Some(&packet.entry), &local);
        let turned = |(name, service, _): &Taker<'_>| {
            service.backends.iter().any(|backend| history.model.touched.contains(&key(name, backend)))
        };
        let may_be_empty = takers.iter().any(turned);
        for table in &record {
            match history.machine.trace(table.as_ref(), &packet) {
                Outcome::Translated { to, .. } if allowed.contains(&to) => {
                    history.reach.hit("packets: translated between commits");
                }
                Outcome::Reset | Outcome::Unreachable | Outcome::Dropped if may_be_empty => {
                    history.reach.hit("packets: nobody could take them between commits");
                }
                other => {
                    return Err(format!("between commits {packet:?} met {other:?}, not one of {allowed:?}"));
                }
            }
        }
    }
    Ok(())
}

/// Where services of a file send a packet.
fn places(services: &Services, packet: &Packet) -> BTreeSet<SocketAddr> {
    let to = packet.destination;
    let listeners = services.values().flat_map(|s| s.listeners.iter().map(move |listener| (s, listener)));
    let fits = listeners.filter(|(_, listener)| {
        let ports = listener.ports;
        listener.protocol == packet.protocol && (ports.first..=ports.last).contains(&to.port())
    });
    let places = fits.flat_map(|(service, listener)| {
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
        let takers = history.model.takers(packet.protocol, packet.destination, Some(&packet.entry), &local);
        let Some(&(name, service, listener)) = takers.first() else {
            match outcome {
                Outcome::Untranslated { .. } => continue,
                other => return Err(format!("{packet:?} met {other:?}, but no service takes it")),
            }
        };
        let refused = refuses(service, packet.source.ip());
        let pool = history.model.pool(name, service, &flows, &local, now);
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
