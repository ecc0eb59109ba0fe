//! What becomes of flows that conntrack knows when their backend no longer serves.

use std::net::IpAddr;

use sluice_nft::Ip;

use crate::model::{BackendKey, Listener, Ports};

/// Flows to be forgotten: UDP entries and TCP entries in SYN_SENT, which would otherwise stay where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forget {
    /// Where they came in.
    pub listener: Listener,
    /// Their IP version.
    pub ip: Ip,
    /// Where they went.
    pub to: Whither,
}

/// Where flows go.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Live flows of a backend by one listener: who is counted, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Whose flows they are.
    pub key: BackendKey,
    /// Where they came in.
    pub listener: Listener,
    /// Address of the backend.
    pub address: IpAddr,
    /// Its ports.
    pub ports: Ports,
}
