//! What becomes of flows that conntrack knows when their backend no longer serves.

use std::net::IpAddr;

use sluice_nft::Ip;

use crate::model::{Backend, Listener, Ports, Service};

/// Flows to be forgotten: UDP entries and TCP entries in SYN_SENT, which would otherwise stay where they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Forget {
    /// Where they came in.
    pub listener: Listener,
    /// Their IP version.
    pub ip: Ip,
    /// Where they went.
    pub to: Whither,
}

/// Where flows go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whither {
    /// To one backend; `reset`: established TCP flows, too, and both ends are told.
    Backend {
        /// Its address.
        address: IpAddr,
        /// Its ports.
        ports: Ports,
        /// Whether established TCP flows are reset.
        reset: bool,
    },
    /// To where they were addressed: they began before anybody translated them.
    Untranslated,
}

impl Forget {
    /// Flows of a service to one of its backends.
    pub fn backend(service: &Service, backend: &Backend, reset: bool) -> impl Iterator<Item = Forget> {
        let ip = Ip::of(backend.address);
        let listeners = service.listeners.iter().filter(move |listener| service.takes(listener, ip));
        listeners.map(move |listener| {
            let translate = |port| backend.port.translate(listener.ports, port);
            let ports =
                Ports { first: translate(listener.ports.first), last: translate(listener.ports.last) };
            Forget {
                listener: *listener,
                ip,
                to: Whither::Backend { address: backend.address, ports, reset },
            }
        })
    }

    /// Flows of a service to all of its backends.
    pub fn service(service: &Service) -> impl Iterator<Item = Forget> {
        service.backends.iter().flat_map(move |backend| Forget::backend(service, backend, false))
    }

    /// Flows to the listeners of a service that nobody translated.
    pub fn untranslated(service: &Service) -> impl Iterator<Item = Forget> {
        service.listeners.iter().flat_map(move |listener| {
            let versions = Ip::ALL.into_iter().filter(|ip| service.takes(listener, *ip));
            versions.map(|ip| Forget { listener: *listener, ip, to: Whither::Untranslated })
        })
    }
}
