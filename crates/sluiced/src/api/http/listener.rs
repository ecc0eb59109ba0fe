//! [`HttpServer`]: the listener of `http.listen`, which a reload can move, and its accept task.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use sluice_core::model::Http;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::connection_limits::ConnectionLimits;
use super::write_rate::MinWriteRate;

/// Backlog: connections that wait to be accepted. Further clients retransmit their SYN after a second.
const BACKLOG: i32 = 4096;

/// Timeout of a request, and of an idle connection.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum size of a request's head in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Size of the send buffer, which limits the memory for a peer that does not read.
const SEND_BUFFER: usize = 128 * 1024;

/// Wait after `accept` failed.
const RETRY: Duration = Duration::from_millis(100);

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
    pub(crate) fn bind(&self, wanted: Option<&Http>) -> Result<ListenerChange, BindError> {
        let now = self.open.as_ref().map(|(address, _)| *address);
        match wanted.map(|http| http.listen) {
            wanted if wanted == now => Ok(ListenerChange::Keep),
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

/// Accepts connections until the task is aborted, which ends all connections.
async fn accept(listener: tokio::net::TcpListener, router: Router) {
    let (mut limits, mut connections) = (ConnectionLimits::default(), JoinSet::new());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if limits.admits(peer.ip()) => {
                    let task = connections.spawn(serve(stream, router.clone()));
                    limits.opened(task.id(), peer.ip());
                }
                Ok((stream, peer)) => {
                    debug!("too many connections: rejected {peer}");
                    reject(&stream);
                }
                Err(error) => {
                    warn!("accept a connection for the status page: {error}");
                    sleep(RETRY).await;
                }
            },
            Some(ended) = connections.join_next_with_id() => {
                limits.closed(ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    // On failure the buffer is a little larger.
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(MinWriteRate::new(stream)), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        debug!("serve a connection to the status page: {error}");
    }
}

/// Sends the reason, if this does not block.
fn reject(stream: &TcpStream) {
    let answer = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let _ = stream.try_write(answer);
}
