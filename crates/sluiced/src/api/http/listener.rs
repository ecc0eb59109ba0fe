//! [`HttpServer`]: the listener of `http.listen`, which a reload can move.

use std::io;
use std::net::{IpAddr, SocketAddr};

use axum::Router;
use sluice_core::model::Http;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tracing::info;

use crate::api::connections::{Bounds, Listener, accept};

/// Backlog: connections that wait to be accepted. Further clients retransmit their SYN after a second.
const BACKLOG: i32 = 4096;

/// The HTTP server and its address.
pub(crate) struct HttpServer {
    router: Router,
    open: Option<(SocketAddr, AbortHandle)>,
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
        HttpServer { router, open: None }
    }

    /// Binds the address of a configuration, without a visible change so far.
    pub(crate) fn bind(&self, desired: Option<&Http>) -> Result<ListenerChange, BindError> {
        let now = self.open.as_ref().map(|(address, _)| *address);
        match desired.map(|http| http.listen) {
            desired if desired == now => Ok(ListenerChange::Keep),
            None => Ok(ListenerChange::Close),
            Some(address) => {
                let listener = listen(address).map_err(|error| BindError(address, error))?;
                Ok(ListenerChange::Bound(address, listener))
            }
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
    type Peer = IpAddr;

    const NAME: &'static str = "the status page";
    // Others than one machine must still be able to connect.
    const BOUNDS: Bounds = Bounds { all: 1024, each: 256, reserved: 0 };

    async fn next(&self) -> io::Result<(TcpStream, IpAddr)> {
        let (stream, peer) = self.accept().await?;
        Ok((stream, peer.ip()))
    }

    fn is_privileged(_: IpAddr) -> bool {
        false
    }
}
