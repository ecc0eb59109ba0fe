//! Backends.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sluice_nft::Ip;

use super::{BackendName, Listener, Ports, ServiceName};

/// Largest weight of a backend.
pub const MAX_WEIGHT: u16 = 256;

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Unique in its service; defaults to `address:port`.
    pub name: BackendName,
    /// Address.
    pub address: IpAddr,
    /// How the port of the listener is translated.
    pub port: BackendPort,
    /// Share of new connections, 0 to [`MAX_WEIGHT`]; 0 takes no new flows.
    pub weight: u16,
    /// Whether it is a backup, which serves only if other backends cannot.
    pub backup: bool,
    /// Maximum number of live connections with which it takes new ones; `None`: unlimited.
    pub max_connections: Option<u32>,
}

impl Backend {
    /// The backend's port for listeners of its IP version: its own, the first of a range, or the common port
    /// of all listeners. `None` if it keeps the client's port and there are several.
    pub fn port_behind<'a>(&self, listeners: impl IntoIterator<Item = &'a Listener>) -> Option<u16> {
        match self.port {
            BackendPort::One(port) => Some(port),
            BackendPort::Range(ports) => Some(ports.first),
            BackendPort::Keep => {
                let takes = |listener: &&Listener| {
                    listener.address.exact().is_none_or(|address| Ip::of(address) == Ip::of(self.address))
                };
                let mut ports = listeners.into_iter().filter(takes).map(|listener| listener.ports);
                let first = ports.next()?;
                ports.all(|ports| ports == first).then(|| first.as_single())?
            }
        }
    }
}

/// The identity of a backend among all services.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendKey {
    /// Name of its service.
    pub service: ServiceName,
    /// Its name in the service.
    pub backend: BackendName,
}

/// How the port of a backend follows from the port of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendPort {
    /// The destination port of the client.
    Keep,
    /// A single port.
    One(u16),
    /// A range as large as that of the listener, with the same offset.
    Range(Ports),
}

impl BackendPort {
    /// The port to which a connection to `port` of a listener on `ports` is translated.
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
