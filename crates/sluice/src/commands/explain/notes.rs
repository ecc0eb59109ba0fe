//! Notes that are not in the ruleset: limits, backends without new connections, and services that do not match.

use std::net::SocketAddr;

use sluice_api::{Admin, BackendStatus, Health, ServiceStatus, pluralize};
use sluice_core::model::{
    Address, Backend, Initial, Limits, Listener, OnFull, Protocol, Service, ServiceName, Services,
};
use sluice_nft::trace::{Host, Ingress};
use sluice_nft::{Ip, Rate};

use crate::text::safe;

/// The limits of a service, a line each.
pub(super) fn limits(limits: &Limits) -> Vec<String> {
    let rate = |rate: Rate, of: &str| {
        format!("limit: {}/{} new connections of {of} (burst {})", rate.packets, rate.unit_name(), rate.burst)
    };
    let Limits { new_connections, new_connections_per_client, connections_per_client, clients, on_full } =
        *limits;
    let of_client = new_connections_per_client.map(|limit| rate(limit, "each client"));
    let live = connections_per_client
        .map(|most| format!("limit: {} of each client", pluralize(most as usize, "live connection")));
    let full = (of_client.is_some() || live.is_some()).then(|| match on_full {
        OnFull::Accept => {
            format!("after {clients} clients, further ones are accepted without a limit (on_full: accept)")
        }
        OnFull::Drop => format!("after {clients} clients, further ones are dropped (on_full: drop)"),
    });
    let all = new_connections.map(|limit| rate(limit, "all clients together"));
    [of_client, live, all, full].into_iter().flatten().collect()
}

/// Backends of one IP version that get no new connections, and why; by the daemon's status, or without one as at a first
/// start.
pub(super) fn idle(
    (name, service): (&ServiceName, &Service),
    at_start: Option<&Service>,
    status: Option<&ServiceStatus>,
    ip: Ip,
) -> Vec<String> {
    let line = |(index, backend): (usize, &Backend)| {
        let why = match status {
            Some(status) => {
                let status = status.backends.iter().find(|status| status.name == backend.name.as_str())?;
                (status.share == 0.0).then(|| why_idle(status))?
            }
            None => {
                let weight = at_start.unwrap_or(service).backends.get(index)?.weight;
                (weight == 0).then(|| why_idle_at_start(service, backend).to_owned())?
            }
        };
        Some(format!("{name}/{} gets no new connections: {why}", backend.name))
    };
    let backends = service.backends.iter().enumerate();
    backends.filter(|(_, backend)| Ip::of(backend.address) == ip).filter_map(line).collect()
}

fn why_idle(backend: &BackendStatus) -> String {
    let failed = backend.last_probe.as_ref().filter(|probe| probe.ok == Some(false));
    let detail = failed.map(|probe| format!(" ({})", safe(&probe.detail))).unwrap_or_default();
    match (backend.admin, backend.health) {
        (Admin::Drain, _) => "drained by an operator".to_owned(),
        (Admin::Disabled, _) => "disabled by an operator".to_owned(),
        (Admin::Enabled, Health::Unhealthy) => format!("unhealthy{detail}"),
        (Admin::Enabled, _) if !backend.eligible => format!("waiting for its first probes{detail}"),
        (Admin::Enabled, _) if backend.weight == 0 => "its weight is 0".to_owned(),
        (Admin::Enabled, _) if backend.full => "it has max_connections".to_owned(),
        (Admin::Enabled, _) if backend.backup => "it is a backup".to_owned(),
        (Admin::Enabled, _) => "the quorum is not met".to_owned(),
    }
}

fn why_idle_at_start(service: &Service, backend: &Backend) -> &'static str {
    let waits = service.health.as_ref().is_some_and(|check| check.initial == Initial::Down);
    match backend {
        Backend { weight: 0, .. } => "its weight is 0",
        Backend { backup: true, .. } => "it is a backup",
        _ if waits => "waiting for its first probe, and sluiced does not run",
        _ => "the quorum is not met",
    }
}

/// Services that have the destination of a packet, or at least its address, and do not take it.
pub(super) fn near(
    services: &Services,
    (to, protocol): (SocketAddr, Protocol),
    ingress: &Ingress,
    host: &Host,
) -> Vec<String> {
    let mut near: Vec<(bool, String)> = vec![];
    for (name, service) in services {
        for listener in &service.listeners {
            if let Some((same_port, why)) = why_not(service, listener, (to, protocol), ingress, host) {
                near.push((!same_port, format!("{listener} of {name}{why}")));
            }
        }
    }
    near.sort();
    near.into_iter().take(3).map(|(_, line)| line).collect()
}

/// Whether a listener has the port, too, and why it does not take the packet; `None`: it is of another address.
fn why_not(
    service: &Service,
    listener: &Listener,
    (to, protocol): (SocketAddr, Protocol),
    ingress: &Ingress,
    host: &Host,
) -> Option<(bool, String)> {
    let same_port =
        listener.protocol == protocol && (listener.ports.first..=listener.ports.last).contains(&to.port());
    match listener.address {
        Address::Exact(address) if address != to.ip() => return None,
        Address::Any if !same_port || !service.takes(listener, Ip::of(to.ip())) => return None,
        _ if !same_port && service.enabled => return Some((false, String::new())),
        _ => {}
    }
    let is_local = to.ip().is_loopback() || host.local.contains(&to.ip());
    let why = match (&service.interface, ingress) {
        _ if !service.enabled => ", which is disabled".to_owned(),
        (Some(interface), Ingress::Local) => {
            format!(", which handles only packets that arrive on {interface}, not those of this host")
        }
        (Some(interface), Ingress::Arriving(name)) if interface.as_str() != name => {
            format!(
                ", which handles only packets that arrive on {interface}, and this one arrives on {}",
                safe(name)
            )
        }
        (None, _) if listener.address == Address::Any && !is_local => {
            ", which handles only addresses of this host".to_owned()
        }
        _ => ", which is not in the kernel: see `sluice plan`".to_owned(),
    };
    Some((same_port, why))
}

#[cfg(test)]
mod tests {
    use sluice_config::{SourceFile, parse};

    use super::*;

    fn services(text: &str) -> Services {
        let main = SourceFile { path: "case.yaml".into(), text: text.into() };
        parse(main, |_| Ok(vec![])).unwrap().config.services.as_ref().clone()
    }

    #[test]
    fn services_that_do_not_take_a_packet_say_why() {
        let services = services(
            "services:
               off: {listen: '*:80', enabled: false, backends: [10.0.2.11]}
               inside: {listen: '*:81', interface: eth1, backends: [10.0.2.11]}
               here: {listen: '*:82', backends: [10.0.2.11]}
               web: {listen: ['203.0.113.10:83', '203.0.113.10:1000-1003/udp'], backends: [10.0.2.11]}",
        );
        let host = Host { local: ["10.0.1.1".parse().unwrap()].into(), ..Host::default() };
        let eth0 = Ingress::Arriving("eth0".into());
        let near = |to: &str, ingress| near(&services, (to.parse().unwrap(), Protocol::Tcp), ingress, &host);
        assert_eq!(near("10.0.1.1:80", &eth0), ["*:80/tcp of off, which is disabled"]);
        let told = "*:81/tcp of inside, which handles only packets that arrive on eth1, ";
        assert_eq!(near("10.0.1.1:81", &eth0), [format!("{told}and this one arrives on eth0")]);
        assert_eq!(near("10.0.1.1:81", &Ingress::Local), [format!("{told}not those of this host")]);
        assert_eq!(
            near("203.0.113.9:82", &eth0),
            ["*:82/tcp of here, which handles only addresses of this host"]
        );
        let other = ["203.0.113.10:1000-1003/udp of web", "203.0.113.10:83/tcp of web"];
        assert_eq!(near("203.0.113.10:84", &eth0), other);
        assert_eq!(
            near("203.0.113.10:83", &eth0)[0],
            "203.0.113.10:83/tcp of web, which is not in the kernel: see `sluice plan`"
        );
        assert_eq!(near("203.0.113.9:84", &eth0), [] as [&str; 0]);
    }

    #[test]
    fn limits_say_what_becomes_of_clients_beyond_their_number() {
        let services = services(
            "services:
               web:
                 listen: 203.0.113.10:80
                 limits: {new_connections: 100/minute burst 7, new_connections_per_client: 5/second,
                          connections_per_client: 9, clients: 1000, on_full: drop}
                 backends: [10.0.2.11]",
        );
        let guard = services.values().next().unwrap().guard.as_ref().unwrap();
        assert_eq!(
            limits(&guard.limits),
            [
                "limit: 5/second new connections of each client (burst 5)",
                "limit: 9 live connections of each client",
                "limit: 100/minute new connections of all clients together (burst 7)",
                "after 1000 clients, further ones are dropped (on_full: drop)",
            ]
        );
        assert_eq!(limits(&Limits::default()), [] as [&str; 0]);
    }
}
