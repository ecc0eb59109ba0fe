//! [`NatTuple`]: where a flow goes.

use std::net::SocketAddr;

use crate::model::Protocol;

/// Where a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NatTuple {
    /// Its transport protocol.
    pub protocol: Protocol,
    /// What the client addressed.
    pub to: SocketAddr,
    /// Who answers.
    pub backend: SocketAddr,
}
