//! What serves.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sluice_nft::Ip;

use super::{Address, BackendName, Listener, Ports, ServiceName};

/// Largest weight of a backend.
pub const MAX_WEIGHT: u16 = 256;

/// One server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Unique in its service; defaults to `address:port`.
    pub name: BackendName,
    /// Where it is.
    pub address: IpAddr,
    /// How the listener's port becomes its port.
    pub port: BackendPort,
    /// Share of new connections, 0 to [`MAX_WEIGHT`]; 0 takes no new flows.
    pub weight: u16,
    /// Whether it serves only when no other can.
    pub backup: bool,
    /// Most live connections that it is given new ones beside; `None`: any number.
    pub max_connections: Option<u32>,
}

impl Backend {
    /// The port it serves on behind these listeners, as far as they take its IP version: its own, the first of a
    /// range, or the one that all of them have. `None` where it keeps the client's port and that can be several.
    pub fn port_behind<'a>(&self, listeners: impl IntoIterator<Item = &'a Listener>) -> Option<u16> {
        match self.port {
            BackendPort::One(port) => Some(port),
            BackendPort::Range(ports) => Some(ports.first),
            BackendPort::Keep => {
                let takes = |listener: &&Listener| match listener.address {
                    Address::Any => true,
                    Address::Exact(address) => Ip::of(address) == Ip::of(self.address),
                };
                let mut ports = listeners.into_iter().filter(takes).map(|listener| listener.ports);
                let first = ports.next()?;
                ports.all(|ports| ports == first).then(|| first.as_single())?
            }
        }
    }
}

/// A backend of all services.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendKey {
    /// Its service.
    pub service: ServiceName,
    /// Its name there.
    pub backend: BackendName,
}

/// How a backend's port follows from the listener's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendPort {
    /// No port named: the port the client used.
    Keep,
    /// A single port, whatever the client used.
    One(u16),
    /// A range as large as the listener's: the same offset within it.
    Range(Ports),
}

impl BackendPort {
    /// The port a connection to `port` of a listener on `ports` reaches.
    pub fn translate(self, ports: Ports, port: u16) -> u16 {
        match self {
            BackendPort::Keep => port,
            BackendPort::One(one) => one,
            BackendPort::Range(range) => range.first + (port - ports.first),
        }
    }

    /// Whether connections to a listener on `ports` keep their port.
    pub fn keeps(self, ports: Ports) -> bool {
        match self {
            BackendPort::Keep => true,
            BackendPort::One(one) => ports.as_single() == Some(one),
            BackendPort::Range(range) => range == ports,
        }
    }
}
