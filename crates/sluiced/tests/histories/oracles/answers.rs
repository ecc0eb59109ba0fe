//! Packets that backends send of connections that conntrack does not know leave in the name of the listener, or wait.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use sluice_core::model::{Midstream, Protocol, Service, Services, Source, SourcePorts};
use sluice_nft::Table;
use sluice_nft::trace::{Outcome, Packet};

use crate::history::{History, Verdict};

/// A client, and addresses of sources.
const RECEIVERS: [&str; 3] = ["192.0.2.7:41000", "10.0.2.1:41000", "10.0.2.3:41000"];

/// After each commit a packet meets what it met before an event, if it meets the same after it.
pub fn were_answered(history: &mut History<'_>, record: &[Option<Table>]) -> Verdict {
    let Some(last) = record.last() else { return Ok(()) };
    let first = history.table.clone();
    for packet in packets(&history.before).into_iter().chain(packets(history.model.services())) {
        let mut met = |table: &Option<Table>| history.machine.trace(table.as_ref(), &packet);
        let (before, after) = (met(&first), met(last));
        if before != after || matches!(before, Outcome::Untranslated { .. }) {
            continue;
        }
        if let Some(other) = record.iter().map(met).find(|met| *met != before) {
            return Err(format!("between batches {packet:?} met {other:?}, before and after {before:?}"));
        }
        history.reach.hit("answers: the same between batches");
    }
    Ok(())
}

/// When all is quiet a packet meets what the file says.
pub fn are_answered(history: &mut History<'_>) -> Verdict {
    let table = history.machine.plane.table();
    for packet in packets(history.model.services()) {
        let (right, hit) = expected(history, &packet);
        let met = history.machine.trace(table.as_ref(), &packet);
        if met != right {
            return Err(format!("{packet:?} met {met:?}, not {right:?}"));
        }
        history.reach.hit(hit);
    }
    Ok(())
}

/// Midstream packets of the backends of TCP services, whichever of their services adopt connections.
fn packets(services: &Services) -> Vec<Packet> {
    let from: BTreeSet<_> = services.values().flat_map(|service| endpoints(service).map(|it| it.0)).collect();
    let to = RECEIVERS.map(|to| to.parse().expect("an address and port"));
    let to = |from| to.map(|to| Packet::arriving(Protocol::Tcp, from, to).midstream());
    from.into_iter().flat_map(to).collect()
}

/// Backends of a service, each with a listener that leads to it; `None`: one without a single address and port.
fn endpoints(service: &Service) -> impl Iterator<Item = (SocketAddr, Option<SocketAddr>)> {
    let listeners = service.listeners.iter().filter(|listener| listener.protocol == Protocol::Tcp);
    listeners.flat_map(|listener| {
        let exact = listener.exact().map(SocketAddr::from);
        service.backends.iter().flat_map(move |backend| {
            let ports = listener.ports.first..=listener.ports.last;
            let behind = ports.map(|port| backend.port.translate(listener.ports, port));
            let behind: BTreeSet<_> = behind.collect();
            behind.into_iter().map(move |port| (SocketAddr::new(backend.address, port), exact))
        })
    })
}

fn expected(history: &History<'_>, packet: &Packet) -> (Outcome, &'static str) {
    const NOTHING: Outcome = Outcome::Untranslated { masqueraded: false };
    let (to, local) = (packet.destination.ip(), History::local());
    let adopt = |it: &&Service| it.enabled && it.midstream == Midstream::Adopt && !it.synproxy;
    let mut listeners = vec![];
    for service in history.model.services().values().filter(adopt) {
        let of_backend = endpoints(service).filter(|(backend, _)| *backend == packet.source);
        let own: Vec<_> = of_backend.map(|(_, listener)| listener).collect();
        match service.source {
            Source::Addresses(first, last, SourcePorts::Keep)
                if !own.is_empty() && (first..=last).contains(&to) =>
            {
                return (Outcome::Dropped, "answers: dropped, to an address of the host");
            }
            Source::Preserve | Source::Auto => listeners.extend(own),
            Source::Masquerade | Source::Addresses(..) => {}
        }
    }
    match listeners[..] {
        [] => (NOTHING, "answers: nothing of ours"),
        _ if local.contains(&to) || local.contains(&packet.source.ip()) => {
            (NOTHING, "answers: a program on this host")
        }
        [Some(from)] => (Outcome::Answered { from }, "answers: in the name of the listener"),
        _ => (Outcome::Dropped, "answers: dropped, several listeners"),
    }
}
