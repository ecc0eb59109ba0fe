//! [`NatTuple`]: the destination of a flow before and after translation.

use std::net::SocketAddr;

use crate::model::Protocol;

/// The destination of a flow before and after translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NatTuple {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Original destination.
    pub to: SocketAddr,
    /// Source of the replies: the translated destination.
    pub backend: SocketAddr,
}
