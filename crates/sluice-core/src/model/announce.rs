//! Announced addresses.

use std::time::Duration;

use super::InterfaceName;

/// How addresses of listeners are announced: put on an interface of this host while their services are ready, so that a
/// routing daemon on this host leads clients to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// The interface that gets the addresses.
    pub interface: InterfaceName,
    /// Time for which a service must be ready before its addresses are announced.
    pub hold: Duration,
    /// Time after the addresses are withdrawn at a stop, before anything else changes.
    pub withdraw_wait: Duration,
}

impl Default for Announce {
    fn default() -> Self {
        let interface = InterfaceName::new("lo").expect("a valid name");
        Announce { interface, hold: Duration::from_secs(2), withdraw_wait: Duration::from_secs(1) }
    }
}
