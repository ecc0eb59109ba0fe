//! [`StatusBuilder`]: builds the status of services and backends. Pure; readers run it on their threads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use sluice_api::{
    Admin, BackendStatus, Health, Override, ProbeStatus, QuorumStatus, ServiceState, ServiceStatus,
};
use sluice_core::flows::flow_counts::Loads;
use sluice_core::model::{
    Backend, BackendName, BackendPort, DropReason, Service, ServiceName, Services, Source,
};
use sluice_core::pool::health;
use sluice_netlink::conntrack::Bytes;
use sluice_nft::Ip;
use sluice_probe::{Board, LastProbe, ProbeResult};

use crate::conntrack::bytes::BackendBytes;
use crate::counters::totals::TotalsSnapshot;
use crate::pool::backend_states::{BackendStates, key};
use crate::pool::readiness::Readiness;
use crate::pool::state_since::StateChangeTimes;

/// The run-time state from which the status is built.
pub(crate) struct StatusBuilder<'a> {
    board: &'a Board,
    backend_states: &'a BackendStates,
    readiness: &'a Readiness,
    since: &'a StateChangeTimes,
    totals: BTreeMap<(&'a ServiceName, &'a BackendName), u64>,
    dropped: BTreeMap<(&'a ServiceName, DropReason), u64>,
    /// Live flows; `None` if they could not be counted.
    active: Option<Loads<'a>>,
    /// Bytes; `None` if they are not counted.
    bytes: Option<Arc<BackendBytes>>,
}

impl<'a> StatusBuilder<'a> {
    pub(crate) fn new(
        board: &'a Board,
        backend_states: &'a BackendStates,
        readiness: &'a Readiness,
        counted: &'a TotalsSnapshot,
        since: &'a StateChangeTimes,
        active: Option<Loads<'a>>,
        bytes: Option<Arc<BackendBytes>>,
    ) -> Self {
        let (totals, dropped) = (counted.by_backend(), counted.by_reason());
        StatusBuilder { board, backend_states, readiness, since, totals, dropped, active, bytes }
    }

    /// The status of one service, from its configuration and its effective state, without its last hook.
    pub(crate) fn service(
        &self,
        name: &ServiceName,
        service: &Service,
        effective: &Service,
    ) -> ServiceStatus {
        let StatusBuilder { board, backend_states, readiness, since, totals, dropped, active, bytes } = self;
        let ready = readiness.of(name);
        let total = |backend| totals.get(&(name, backend)).copied().unwrap_or_default();
        let bytes_of = |backend| -> Option<Bytes> {
            let of_service = bytes.as_ref()?.get(name);
            Some(of_service.and_then(|backends| backends.get(backend)).copied().unwrap_or_default())
        };
        ServiceStatus {
            name: name.to_string(),
            listeners: service.listeners.iter().map(ToString::to_string).collect(),
            scheduler: service.scheduler.as_str().to_owned(),
            state: state(effective),
            ready: ready == Some(Ok(())),
            not_ready: ready.and_then(Result::err).map(|why| why.to_string()),
            last_hook: None,
            quorum: QuorumStatus {
                up: service.quorum.up,
                down: service.quorum.down,
                met: service.enabled && backend_states.quorums.lost(name).next().is_none(),
            },
            dropped: dropped
                .range((name, DropReason::ALL[0])..)
                .take_while(|((service, _), _)| *service == name)
                .filter(|((_, reason), _)| service.guard.as_ref().is_some_and(|guard| guard.has(*reason)))
                .map(|((_, reason), count)| (reason.as_str().to_owned(), *count))
                .collect(),
            backends: service
                .backends
                .iter()
                .zip(&effective.backends)
                .map(|(backend, now)| (backend, now, key(name, backend)))
                .map(|(backend, now, key)| {
                    let standing = backend_states.of(&key);
                    (backend, now, standing, board.report(&key), backend_states.overrides.get(&key))
                })
                .map(|(backend, now, standing, report, set)| BackendStatus {
                    name: backend.name.to_string(),
                    address: address(backend),
                    health: report.as_ref().map_or(Health::Unknown, |report| health(report.health)),
                    admin: admin(set),
                    eligible: service.enabled && standing.is_eligible(),
                    weight: standing.weight(backend),
                    share: share(effective, now),
                    connections_total: total(&backend.name),
                    active: active
                        .as_ref()
                        .map(|loads| loads.get(&(name, &backend.name)).map_or(0, |load| load.active.into())),
                    bytes_in: bytes_of(&backend.name).map(|bytes| bytes.incoming),
                    bytes_out: bytes_of(&backend.name).map(|bytes| bytes.outgoing),
                    source_ports: None,
                    max_connections: backend.max_connections,
                    full: standing.is_full,
                    backup: backend.backup,
                    since: since.of(name, &backend.name),
                    last_probe: report.and_then(|report| report.last).map(last_probe),
                    overridden: set.cloned(),
                })
                .collect(),
        }
    }
}

/// Number of source ports of an address for connections to one address and port: from 1024 on.
const PORTS: f64 = 64_512.0;

/// Sets the fraction of source ports in use towards each backend, over all services that masquerade.
pub(crate) fn set_source_ports(status: &mut [ServiceStatus], services: &Services) {
    let addresses = |source: Source| match source {
        Source::Auto | Source::Preserve => None,
        Source::Masquerade => Some(1.0),
        Source::Addresses(first, last, _) => Some(count(first, last)),
    };
    let source = |service: &ServiceStatus| {
        services.get(&ServiceName::new(&service.name).ok()?).map(|service| service.source)
    };
    let mut used: BTreeMap<(Source, String), u64> = BTreeMap::new();
    for service in status.iter() {
        for (source, backend) in
            source(service).iter().flat_map(|it| service.backends.iter().map(move |b| (*it, b)))
        {
            *used.entry((source, backend.address.clone())).or_default() += backend.active.unwrap_or(0);
        }
    }
    for service in status {
        let Some((source, addresses)) = source(service).and_then(|it| Some((it, addresses(it)?))) else {
            continue;
        };
        for backend in service.backends.iter_mut().filter(|backend| backend.active.is_some()) {
            let used = used.get(&(source, backend.address.clone())).copied().unwrap_or(0);
            backend.source_ports = Some((used as f64 / (PORTS * addresses)).min(1.0));
        }
    }
}

/// Number of addresses in a range.
fn count(first: IpAddr, last: IpAddr) -> f64 {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => f64::from(last.to_bits() - first.to_bits()) + 1.0,
        (IpAddr::V6(first), IpAddr::V6(last)) => (last.to_bits() - first.to_bits()) as f64 + 1.0,
        _ => 1.0,
    }
}

fn health(health: health::Health) -> Health {
    match health {
        health::Health::Unknown => Health::Unknown,
        health::Health::Healthy => Health::Healthy,
        health::Health::Unhealthy => Health::Unhealthy,
    }
}

fn admin(set: Option<&Override>) -> Admin {
    set.and_then(|set| set.admin).unwrap_or(Admin::Enabled)
}

fn last_probe(last: LastProbe) -> ProbeStatus {
    let LastProbe { verdict, detail, at, took, in_a_row: (count, needed) } = last;
    let ok = match verdict {
        ProbeResult::Success => Some(true),
        ProbeResult::Failure => Some(false),
        ProbeResult::Skipped => None,
    };
    ProbeStatus { ok, at, took_ms: took.as_secs_f64() * 1e3, detail, count, needed }
}

fn state(service: &Service) -> ServiceState {
    if !service.enabled {
        ServiceState::Disabled
    } else if service.backends.iter().any(|backend| backend.weight > 0) {
        ServiceState::Up
    } else {
        ServiceState::Empty
    }
}

/// The share of a backend among those of its IP version.
fn share(service: &Service, backend: &Backend) -> f64 {
    let version = |backend: &&Backend| Ip::of(backend.address);
    let peers = service.backends.iter().filter(|peer| version(peer) == version(&backend));
    let sum: u32 = peers.map(|peer| u32::from(peer.weight)).sum();
    if sum == 0 || !service.enabled { 0.0 } else { f64::from(backend.weight) / f64::from(sum) }
}

/// The address as in the file.
fn address(backend: &Backend) -> String {
    let ports = match backend.port {
        BackendPort::Keep => return backend.address.to_string(),
        BackendPort::One(port) => port.to_string(),
        BackendPort::Range(ports) => ports.to_string(),
    };
    match backend.address {
        IpAddr::V4(address) => format!("{address}:{ports}"),
        IpAddr::V6(address) => format!("[{address}]:{ports}"),
    }
}

#[cfg(test)]
mod tests {
    use sluice_api::Timestamp;
    use sluice_core::model::Ports;
    use sluice_core::model::Transition;

    use super::*;

    fn backend(name: &str, address: &str, port: BackendPort, weight: u16) -> Backend {
        let (name, address) = (BackendName::new(name).unwrap(), address.parse().unwrap());
        Backend { name, address, port, weight, backup: false, max_connections: None }
    }

    fn web(enabled: bool, backends: Vec<Backend>) -> Services {
        let service = Service { enabled, backends, ..Service::default() };
        [(ServiceName::new("web").unwrap(), service)].into()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn show(services: &Services, since: &StateChangeTimes) -> ServiceStatus {
        let (name, service) = services.first_key_value().unwrap();
        let (board, backend_states, readiness, counted) = Default::default();
        StatusBuilder::new(&board, &backend_states, &readiness, &counted, since, None, None)
            .service(name, service, service)
    }

    #[test]
    fn share_of_a_backend_is_of_its_own_ip_version() {
        let backends = vec![
            backend("a", "10.0.0.1", BackendPort::One(80), 3),
            backend("b", "10.0.0.2", BackendPort::Keep, 1),
            backend("c", "2001:db8::1", BackendPort::Range(Ports { first: 80, last: 89 }), 7),
            backend("d", "2001:db8::2", BackendPort::One(80), 0),
        ];
        let shown = show(&web(true, backends.clone()), &StateChangeTimes::new(at(0)));
        assert_eq!(shown.state, ServiceState::Up);
        assert_eq!(shown.backends.iter().map(|b| b.share).collect::<Vec<_>>(), [0.75, 0.25, 1.0, 0.0]);
        let addresses: Vec<_> = shown.backends.iter().map(|b| b.address.as_str()).collect();
        assert_eq!(addresses, ["10.0.0.1:80", "10.0.0.2", "[2001:db8::1]:80-89", "[2001:db8::2]:80"]);

        let shown = show(&web(false, backends), &StateChangeTimes::new(at(0)));
        assert_eq!(shown.state, ServiceState::Disabled);
        assert!(shown.backends.iter().all(|b| b.share == 0.0 && !b.eligible));
        assert_eq!(show(&web(true, vec![]), &StateChangeTimes::new(at(0))).state, ServiceState::Empty);
    }

    #[test]
    fn since_of_a_backend_that_a_reload_leaves_unchanged_stays() {
        let a = backend("a", "10.0.0.1", BackendPort::Keep, 1);
        let b = backend("b", "10.0.0.2", BackendPort::Keep, 1);
        let (one, two) = (web(true, vec![a.clone()]), web(true, vec![a.clone(), b.clone()]));
        let off = web(false, vec![a.clone(), b.clone()]);
        let mut since = StateChangeTimes::new(at(1));
        let mut seconds = |old: &Services, new: &Services, now| {
            since.apply(&Transition::between(old, new), at(now));
            show(new, &since).backends.iter().map(|b| b.since.as_second()).collect::<Vec<_>>()
        };
        assert_eq!(seconds(&one, &two, 2), [1, 2]);
        assert_eq!(seconds(&two, &two, 3), [1, 2]);
        assert_eq!(seconds(&two, &off, 4), [4, 4]);
        assert_eq!(seconds(&off, &two, 5), [5, 5]);
        assert_eq!(seconds(&two, &one, 6), [5]);
        assert_eq!(seconds(&one, &two, 7), [5, 7]);
    }
}
