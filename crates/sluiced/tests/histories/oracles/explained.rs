//! An explanation names the service that takes a packet, and what becomes of it.

use std::net::SocketAddr;

use sluice::explain::{Explanation, Fate, explain};
use sluice_core::model::{Backend, EffectiveServices};
use sluice_nft::trace::Host;
use tokio::time::Instant;

use crate::history::{History, Verdict};
use crate::packets::packets;

pub fn says_the_same(history: &mut History<'_>, now: Instant) -> Verdict {
    let Some(table) = history.machine.plane.table() else { return Ok(()) };
    let local = History::local();
    let flows: Vec<_> = history.machine.conntrack.flows().iter().map(|known| known.flow).collect();
    let services = history.model.effective(&flows, now);
    let host = Host { local: local.into(), ..Host::default() };
    for packet in packets() {
        let takers = history.model.takers(packet.protocol, packet.destination, Some(&packet.ingress), &local);
        let Explanation { taken_by, fate, .. } =
            explain(&table, EffectiveServices::from(&services), &host, &packet, false);
        let (named, taker) = (taken_by.as_ref().map(|(name, _)| name), takers.first());
        if named != taker.map(|(name, ..)| *name) {
            return Err(format!(
                "{packet:?} is told to be of {named:?}, but {:?} takes it",
                taker.map(|it| it.0)
            ));
        }
        let Some(&(name, service, listener)) = taker else { continue };
        let pool = history.model.pool(name, service, &flows, now);

        let port = packet.destination.port();
        let place = |(backend, _): &(&Backend, u32)| {
            SocketAddr::new(backend.address, backend.port.translate(listener.ports, port))
        };
        let places: Vec<_> = pool.iter().map(place).collect();
        let hit = match fate {
            Fate::Translated { backends, .. } => {
                if let Some((other, _)) = backends.iter().find(|(backend, _)| !places.contains(backend)) {
                    return Err(format!("{packet:?} is told to go to {other}, not one of {places:?}"));
                }
                "explain: goes to the pool"
            }
            Fate::Dropped(_) => "explain: dropped by the guard",
            Fate::Refused | Fate::Silence if places.is_empty() => "explain: no backend",
            other => return Err(format!("{packet:?} is told to meet {other:?}, the pool is {places:?}")),
        };
        history.reach.hit(hit);
    }
    Ok(())
}
