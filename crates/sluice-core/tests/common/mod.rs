//! Services written in one line, as in the configuration.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod kinds;
pub mod older;
pub mod story;
pub mod strategy;
pub mod trial;

use std::collections::BTreeMap;
use std::net::IpAddr;

use sluice_core::model::{
    Address, Backend, BackendName, BackendPort, InterfaceName, Listener, Ports, Protocol, Scheduler, Service,
    ServiceName, Source,
};

pub type Services = BTreeMap<ServiceName, Service>;

pub fn services<const N: usize>(services: [(&str, Service); N]) -> Services {
    services.into_iter().map(|(name, service)| (ServiceName::new(name).unwrap(), service)).collect()
}

/// `listen`: `203.0.113.10:80`, `*:53/udp`; `backends`: `10.0.2.11:8080`, `10.0.2.11:8080*3` with a weight.
pub fn service(listen: &[&str], backends: &[&str]) -> Service {
    Service {
        listeners: listen.iter().map(|text| listener(text)).collect(),
        backends: backends.iter().map(|text| backend(text)).collect(),
        ..Service::default()
    }
}

pub trait With {
    fn scheduler(self, scheduler: Scheduler) -> Self;
    fn interface(self, name: &str) -> Self;
    fn preserve(self) -> Self;
}

impl With for Service {
    fn scheduler(self, scheduler: Scheduler) -> Self {
        Service { scheduler, ..self }
    }

    fn interface(self, name: &str) -> Self {
        Service { interface: Some(InterfaceName::new(name).unwrap()), ..self }
    }

    fn preserve(self) -> Self {
        Service { source: Source::Preserve, ..self }
    }
}

pub fn listener(text: &str) -> Listener {
    let (text, protocol) = match text.split_once('/') {
        Some((text, name)) => (text, Protocol::from_name(name).unwrap()),
        None => (text, Protocol::default()),
    };
    let (address, ports) = text.rsplit_once(':').unwrap();
    let address = if address == "*" { Address::Any } else { Address::Exact(ip(address)) };
    Listener { address, ports: self::ports(ports), protocol }
}

pub fn backend(text: &str) -> Backend {
    let (text, weight) = match text.split_once('*') {
        Some((text, weight)) => (text, weight.parse().unwrap()),
        None => (text, 1),
    };
    let (address, port) = match text.rsplit_once(':') {
        Some((address, port)) if !address.contains(':') || address.ends_with(']') => {
            (address, Some(ports(port)))
        }
        _ => (text, None),
    };
    let port = match port {
        None => BackendPort::Keep,
        Some(ports) => ports.as_single().map_or(BackendPort::Range(ports), BackendPort::One),
    };
    Backend {
        name: BackendName::new(text).unwrap(),
        address: ip(address),
        port,
        weight,
        backup: false,
        max_connections: None,
    }
}

fn ip(text: &str) -> IpAddr {
    text.trim_matches(['[', ']']).parse().unwrap()
}

fn ports(text: &str) -> Ports {
    match text.split_once('-') {
        _ if text == "*" => Ports::ALL,
        None => Ports::single(text.parse().unwrap()),
        Some((first, last)) => Ports { first: first.parse().unwrap(), last: last.parse().unwrap() },
    }
}
