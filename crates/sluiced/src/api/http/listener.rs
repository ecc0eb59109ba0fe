//! The listener of `http.listen`, which a reload can move, and its accept loop.

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

use super::connection_limits::Limits;
use super::write_rate::Patient;

/// Backlog: connections that wait to be accepted. Further clients retransmit their SYN after a second.
const WAITING: i32 = 4096;

/// Timeout of a request, and of an idle connection.
const REQUEST: Duration = Duration::from_secs(10);

/// Maximum size of a request's head in bytes.
const HEAD: usize = 16 * 1024;

/// Size of the send buffer, which limits the memory for a peer that does not read.
const UNREAD: usize = 128 * 1024;

/// Wait after `accept` failed.
const BREATH: Duration = Duration::from_millis(100);

/// The HTTP server and its address.
pub(crate) struct Web {
    router: Router,
    open: Option<(SocketAddr, AbortHandle)>,
}

/// The change of the listener when a configuration is applied.
pub(crate) enum Door {
    /// It stays.
    Same,
    /// It is closed.
    Shut,
    /// It is replaced by this one, which is already bound.
    New(SocketAddr, tokio::net::TcpListener),
}

/// The address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("listen on {0}, which is http.listen")]
pub(crate) struct Taken(SocketAddr, #[source] io::Error);

impl Web {
    /// Without a listener.
    pub(crate) fn new(router: Router) -> Self {
        Web { router, open: None }
    }

    /// Binds the address of a configuration, without a visible change so far.
    pub(crate) fn door(&self, wanted: Option<&Http>) -> Result<Door, Taken> {
        let now = self.open.as_ref().map(|(address, _)| *address);
        match wanted.map(|http| http.listen) {
            wanted if wanted == now => Ok(Door::Same),
            None => Ok(Door::Shut),
            Some(address) => {
                let listener = listen(address).map_err(|error| Taken(address, error))?;
                Ok(Door::New(address, listener))
            }
        }
    }

    /// Applies the change. Connections to a previous address end.
    pub(crate) fn open(&mut self, door: Door) {
        let open = match door {
            Door::Same => return,
            Door::Shut => None,
            Door::New(address, listener) => {
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
    // Otherwise a reload could not move from all addresses to one of them, because both are bound for a moment. Programs
    // without this option still have exclusive addresses.
    listener.set_reuse_port(true)?;
    listener.set_nonblocking(true)?;
    listener.bind(&address.into())?;
    listener.listen(WAITING)?;
    tokio::net::TcpListener::from_std(listener.into())
}

/// Accepts connections until the task is aborted, which ends all connections.
async fn accept(listener: tokio::net::TcpListener, router: Router) {
    let (mut limits, mut connections) = (Limits::default(), JoinSet::new());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if limits.lets_in(peer.ip()) => {
                    let task = connections.spawn(serve(stream, router.clone()));
                    limits.came(task.id(), peer.ip());
                }
                Ok((stream, peer)) => {
                    debug!("too many connections: rejected {peer}");
                    send_away(&stream);
                }
                Err(error) => {
                    warn!("accept a connection for the status page: {error}");
                    sleep(BREATH).await;
                }
            },
            Some(ended) = connections.join_next_with_id() => {
                limits.went(ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    // On failure the buffer is a little larger.
    let _ = SockRef::from(&stream).set_send_buffer_size(UNREAD);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(Patient::new(stream)), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        debug!("serve a connection to the status page: {error}");
    }
}

/// Sends the reason, if this does not block.
fn send_away(stream: &TcpStream) {
    let answer = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let _ = stream.try_write(answer);
}
