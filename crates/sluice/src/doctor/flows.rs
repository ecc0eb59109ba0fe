//! First packets of the flows of a configuration, for the rules of other tables.

use sluice_core::model::{Address, Config, Listener, Ports, Service, ServiceName};
use sluice_nft::Ip;

use super::findings::enabled;
use super::rules::{End, Packet};

/// A packet of a service, and its name in a finding.
pub(super) struct Flow {
    pub(super) name: String,
    pub(super) packet: Packet,
}

/// The packets of all enabled services.
pub(super) struct Flows {
    /// Of clients, as they arrive.
    pub(super) arriving: Vec<Flow>,
    /// Of clients on this host, as they leave it. Services with an `interface` have none.
    pub(super) local: Vec<Flow>,
    /// Translated, on their way to backends.
    pub(super) forwarded: Vec<Flow>,
    /// Translated, of clients on this host.
    pub(super) local_translated: Vec<Flow>,
    /// Of backends.
    pub(super) answers: Vec<Flow>,
}

impl Flows {
    pub(super) fn of(config: &Config) -> Self {
        let is_local = |service: &Service| service.interface.is_none();
        Flows {
            arriving: to_listeners(config, |_| true),
            local: to_listeners(config, is_local),
            forwarded: served(config, |_| true).map(to_backend).collect(),
            local_translated: served(config, is_local).map(to_backend).collect(),
            answers: served(config, |_| true).map(answer).collect(),
        }
    }
}

fn to_listeners(config: &Config, which: impl Fn(&Service) -> bool) -> Vec<Flow> {
    let services = enabled(config).filter(|(_, service)| which(service));
    let listeners = services
        .flat_map(|(name, service)| service.listeners.iter().map(move |listener| (name, service, listener)));
    let flows = listeners.flat_map(|(name, service, listener)| {
        let versions = Ip::ALL.into_iter().filter(move |ip| service.takes(listener, *ip));
        versions
            .map(move |ip| Flow { name: format!("{listener} ({name})"), packet: to_listener(listener, ip) })
    });
    flows.collect()
}

/// The first packet of a client, before sluice translates it.
pub(super) fn to_listener(listener: &Listener, ip: Ip) -> Packet {
    let (source, original) = (client(), end_of(listener));
    let destination = original.clone();
    Packet { ip, protocol: listener.protocol, source, destination, original, is_translated: false }
}

fn end_of(listener: &Listener) -> End {
    let address = match listener.address {
        Address::Exact(address) => Some(address),
        Address::Any => None,
    };
    End { address, ports: Some(listener.ports) }
}

/// The end of clients, or of this host in their place: any address, and a port as they have it, which rules for ports of
/// servers do not name.
fn client() -> End {
    End { address: None, ports: Some(Ports { first: 50_000, last: 50_000 }) }
}

fn to_backend(Served { name, ip, listener, end }: Served<'_>) -> Flow {
    let (source, original, protocol) = (client(), end_of(listener), listener.protocol);
    Flow { name, packet: Packet { ip, protocol, source, destination: end, original, is_translated: true } }
}

fn answer(Served { name, ip, listener, end }: Served<'_>) -> Flow {
    let (destination, original, protocol) = (client(), end_of(listener), listener.protocol);
    Flow { name, packet: Packet { ip, protocol, source: end, destination, original, is_translated: false } }
}

/// Where a backend serves the connections of a listener.
struct Served<'a> {
    name: String,
    ip: Ip,
    listener: &'a Listener,
    end: End,
}

fn served(config: &Config, which: impl Fn(&Service) -> bool) -> impl Iterator<Item = Served<'_>> {
    let services = enabled(config).filter(move |(_, service)| which(service));
    services
        .flat_map(|(name, service)| service.backends.iter().flat_map(move |it| of_backend(name, service, it)))
}

fn of_backend<'a>(
    name: &'a ServiceName,
    service: &'a Service,
    backend: &'a sluice_core::model::Backend,
) -> impl Iterator<Item = Served<'a>> {
    let ip = Ip::of(backend.address);
    service.listeners.iter().filter(move |listener| service.takes(listener, ip)).map(move |listener| {
        let port = |port| backend.port.translate(listener.ports, port);
        let ports = Ports { first: port(listener.ports.first), last: port(listener.ports.last) };
        let end = End { address: Some(backend.address), ports: Some(ports) };
        Served { name: format!("{name}/{}", backend.name), ip, listener, end }
    })
}
