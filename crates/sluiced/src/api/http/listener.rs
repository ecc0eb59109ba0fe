//! [`HttpServer`]: the listener of `http.listen`, which a reload can move.

use std::io;
use std::net::{IpAddr, SocketAddr};

use axum::Router;
use ipnet::IpNet;
use sluice_core::model::Http;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use crate::api::connections::{Bounds, Listener, accept};
use crate::fatal::chain;

/// Backlog: connections that wait to be accepted. Further clients retransmit their SYN after a second.
const BACKLOG: i32 = 4096;

/// The HTTP server and its address.
pub(crate) struct HttpServer {
    router: Router,
    open: Option<(SocketAddr, AbortHandle)>,
    /// Why there is no listener although one is configured.
    failure: Option<BindError>,
}

/// The change of the listener when a configuration is applied.
pub(crate) enum ListenerChange {
    /// The listener stays.
    Keep,
    /// The listener is closed.
    Close,
    /// The listener is replaced by this one, which is already bound.
    Bound(SocketAddr, tokio::net::TcpListener),
}

/// The address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("listen on {0}, which is http.listen")]
pub(crate) struct BindError(SocketAddr, #[source] io::Error);

impl HttpServer {
    /// Without a listener.
    pub(crate) fn new(router: Router) -> Self {
        HttpServer { router, open: None, failure: None }
    }

    /// Opens the listener of the first configuration. An address that another program has, perhaps one of a user without
    /// privileges, must not prevent a start.
    pub(crate) fn start(&mut self, desired: Option<&Http>) {
        match self.bind(desired) {
            Ok(change) => self.apply(change),
            Err(error) => {
                warn!("{} (there is no status page; trying again at each refresh)", chain(&error));
                self.failure = Some(error);
            }
        }
    }

    /// Tries again to open a listener that could not be opened.
    pub(crate) fn retry(&mut self) {
        let Some(BindError(address, _)) = &self.failure else { return };
        if let Ok(listener) = listen(*address) {
            self.apply(ListenerChange::Bound(*address, listener));
        }
    }

    /// Why there is no listener although one is configured.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.as_ref().map(|error| chain(error))
    }

    /// Binds the address of a configuration, without a visible change so far.
    pub(crate) fn bind(&self, desired: Option<&Http>) -> Result<ListenerChange, BindError> {
        let now = self.open.as_ref().map(|(address, _)| *address);
        match desired.map(|http| http.listen) {
            desired if desired == now && self.failure.is_none() => Ok(ListenerChange::Keep),
            None => Ok(ListenerChange::Close),
            Some(address) => match listen(address) {
                Ok(listener) => Ok(ListenerChange::Bound(address, listener)),
                // The same as before, and no reason to refuse other changes.
                Err(_) if self.failure.as_ref().is_some_and(|failure| failure.0 == address) => {
                    Ok(ListenerChange::Keep)
                }
                Err(error) => Err(BindError(address, error)),
            },
        }
    }

    /// Applies the change. Connections to a previous address end.
    pub(crate) fn apply(&mut self, change: ListenerChange) {
        let open = match change {
            ListenerChange::Keep => return,
            ListenerChange::Close => None,
            ListenerChange::Bound(address, listener) => {
                info!("status page and metrics at http://{address}");
                let task = tokio::spawn(accept(listener, self.router.clone()));
                Some((address, task.abort_handle()))
            }
        };
        self.failure = None;
        if let Some((_, before)) = std::mem::replace(&mut self.open, open) {
            before.abort();
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    listener.set_reuse_address(true)?;
    // A reload from all addresses to one of them needs this option, because both are bound for a moment. Programs
    // without this option still have exclusive addresses.
    listener.set_reuse_port(true)?;
    listener.set_nonblocking(true)?;
    listener.bind(&address.into())?;
    listener.listen(BACKLOG)?;
    tokio::net::TcpListener::from_std(listener.into())
}

impl Listener for tokio::net::TcpListener {
    type Stream = TcpStream;
    type Peer = IpNet;

    const NAME: &'static str = "the status page";
    // Others than one site must still be able to connect.
    const BOUNDS: Bounds = Bounds { all: 1024, each: 256, reserved: 0 };

    async fn next(&self) -> io::Result<(TcpStream, IpNet)> {
        let (stream, peer) = self.accept().await?;
        Ok((stream, site(peer.ip())))
    }

    fn is_privileged(_: IpNet) -> bool {
        false
    }
}

/// The addresses that share a limit: a host has one of IPv4, and usually all of a /64 of IPv6.
fn site(address: IpAddr) -> IpNet {
    // A listener on `::` also accepts IPv4.
    let address = address.to_canonical();
    let length = if address.is_ipv4() { 32 } else { 64 };
    IpNet::new_assert(address, length).trunc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_64_share_a_limit_and_mapped_ones_are_those_of_ipv4() {
        let of = |address: &str| site(address.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:c::1"), "2001:db8:c::/64");
        assert_eq!(of("2001:db8:c::1"), of("2001:db8:c:0:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:c::1"), of("2001:db8:c:1::1"));
        assert_eq!(of("198.51.100.7"), "198.51.100.7/32");
        assert_eq!(of("::ffff:198.51.100.7"), of("198.51.100.7"));
    }
}
