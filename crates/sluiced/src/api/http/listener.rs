//! Where others come in: the listener of `http.listen`, which a reload may move.

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

/// Connections that may wait to be let in or sent away: who finds no room there tries again a second later.
const WAITING: i32 = 4096;

/// How long a request may take to arrive, and how long a connection may stay open without one.
const REQUEST: Duration = Duration::from_secs(10);

/// Most bytes of a request's head.
const HEAD: usize = 16 * 1024;

/// Most bytes that the kernel holds for a peer that does not read.
const UNREAD: usize = 128 * 1024;

/// Wait after the system could not give us a connection.
const BREATH: Duration = Duration::from_millis(100);

/// What others see of us, and where.
pub(crate) struct Web {
    router: Router,
    open: Option<(SocketAddr, AbortHandle)>,
}

/// What becomes of the listener once a configuration is taken.
pub(crate) enum Door {
    /// It stays as it is.
    Same,
    /// There is none any more.
    Shut,
    /// It is this one, which holds its address already.
    New(SocketAddr, tokio::net::TcpListener),
}

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listen on {0}, which is http.listen")]
pub(crate) struct Taken(SocketAddr, #[source] io::Error);

impl Web {
    /// Answers nobody yet.
    pub(crate) fn new(router: Router) -> Self {
        Web { router, open: None }
    }

    /// Gets hold of the address that a configuration wants. Nothing has changed for anybody then.
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

    /// Lets others in there and nowhere else. Connections at another address end.
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
    // Or a reload could not go from every address to one of them: both are held for a moment. Others who do not say
    // so, too, still have their addresses for themselves.
    listener.set_reuse_port(true)?;
    listener.set_nonblocking(true)?;
    listener.bind(&address.into())?;
    listener.listen(WAITING)?;
    tokio::net::TcpListener::from_std(listener.into())
}

/// Answers whoever comes, until the task is aborted; all connections end with it.
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
                    debug!("too many connections: {peer} is sent away");
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
    // Without it the peer has a little more room.
    let _ = SockRef::from(&stream).set_send_buffer_size(UNREAD);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(Patient::new(stream)), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        debug!("a connection to the status page: {error}");
    }
}

/// Says why, if that costs nothing.
fn send_away(stream: &TcpStream) {
    let answer = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let _ = stream.try_write(answer);
}
