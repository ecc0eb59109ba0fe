//! Other tables that translate connections to services: read by this command, because the daemon has no access to the rules
//! of other tables, and only here, because reading them takes a moment.

use std::net::{IpAddr, SocketAddr};

use sluice_api::{ServiceState, ServiceStatus, Status};
use sluice_core::model::{Address, Listener, Ports, Protocol};
use sluice_nft::Ip;

use crate::doctor::{Conflict, Tables, conflicts};
use crate::text::{Paint, safe};

/// The conflicts of services in a status; `None`: the tables cannot be read, for example without CAP_NET_ADMIN.
pub(super) fn of(status: &Status) -> Option<Vec<Conflict>> {
    let tables = Tables::read_nat();
    if !tables.unread.is_empty() {
        return None;
    }
    let services = status.services.iter().filter(|service| service.state != ServiceState::Disabled);
    Some(conflicts(&tables, &services.flat_map(listeners).collect::<Vec<_>>()))
}

/// One line each.
pub(super) fn text(conflicts: &[Conflict], colour: bool) -> String {
    let line = |Conflict { service, listeners, chain, winner, why }: &Conflict| {
        let why = if *winner == "sluice" { why.clone() } else { Paint::Bad.on(why, colour) };
        format!("others  {chain} also translates {} ({}): {why}\n", listeners.join(", "), safe(service))
    };
    conflicts.iter().map(line).collect()
}

/// The listeners of a service, for each IP version that it takes.
fn listeners(service: &ServiceStatus) -> Vec<(&str, Listener, Ip)> {
    let of_backends: Vec<_> = service.backends.iter().filter_map(|it| version(&it.address)).collect();
    let of_listener = |listener: Listener| {
        let takes = |ip: &Ip| match listener.address {
            Address::Any => of_backends.is_empty() || of_backends.contains(ip),
            Address::Exact(address) => Ip::of(address) == *ip,
        };
        let versions: Vec<_> = Ip::ALL.into_iter().filter(takes).collect();
        versions.into_iter().map(move |ip| (&*service.name, listener, ip))
    };
    service.listeners.iter().filter_map(|text| listener(text)).flat_map(of_listener).collect()
}

/// The IP version of a backend: `10.0.2.11:8080`, or the address alone.
fn version(text: &str) -> Option<Ip> {
    let with_port = text.parse::<SocketAddr>().map(|address| address.ip());
    with_port.or_else(|_| text.parse()).ok().map(Ip::of)
}

/// A listener as its `Display` writes it.
fn listener(text: &str) -> Option<Listener> {
    let (text, protocol) = text.split_once('/')?;
    let (address, ports) = text.rsplit_once(':')?;
    let address = match address.trim_matches(['[', ']']) {
        "*" => Address::Any,
        address => Address::Exact(address.parse::<IpAddr>().ok()?),
    };
    let ports = match ports.split_once('-') {
        Some((first, last)) => Ports { first: first.parse().ok()?, last: last.parse().ok()? },
        None if ports == "*" => Ports::ALL,
        None => Ports::single(ports.parse().ok()?),
    };
    Some(Listener { address, ports, protocol: Protocol::from_name(protocol)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_of_a_status_are_those_of_the_file() {
        for text in
            ["203.0.113.10:80/tcp", "[2001:db8::10]:53/udp", "*:80/tcp", "203.0.113.10:*/tcp", "*:80-90/sctp"]
        {
            assert_eq!(listener(text).expect(text).to_string(), text);
        }
        assert_eq!(listener("203.0.113.10/tcp"), None);
        assert_eq!(["10.0.2.11:80", "10.0.2.11"].map(version), [Some(Ip::V4); 2]);
        assert_eq!(["[fd00::1]:80", "fd00::1"].map(version), [Some(Ip::V6); 2]);
    }
}
