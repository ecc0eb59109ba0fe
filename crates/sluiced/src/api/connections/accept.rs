//! [`accept`]: the accept task of a listener, which owns its connections.

use std::fmt::Display;
use std::hash::Hash;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use sluice_api::ErrorReply;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::limits::{Bounds, ConnectionLimits};
use super::write_rate::MinWriteRate;

/// Timeout of a request, and of an idle connection.
pub(in crate::api) const TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum size of a request's head in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Size of the send buffer, which limits the memory for a peer that does not read.
const SEND_BUFFER: usize = 128 * 1024;

/// Wait after `accept` failed; it doubles with each further failure.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Maximum number of refused connections that get an answer at a time, and its timeout. Further ones are closed.
const REFUSALS: usize = 32;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// A listening socket.
pub(in crate::api) trait Listener {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static;
    /// What shares a limit. Requests have it as an extension.
    type Peer: Copy + Eq + Hash + Display + Send + Sync + 'static;

    /// Its name in messages.
    const NAME: &'static str;
    /// The limits of its connections.
    const BOUNDS: Bounds;

    /// Waits for a connection.
    async fn next(&self) -> io::Result<(Self::Stream, Self::Peer)>;

    /// Whether connections of this peer may use the reserve.
    fn is_privileged(peer: Self::Peer) -> bool;
}

/// Serves connections until the task is aborted, which ends all connections.
pub(in crate::api) async fn accept<L: Listener>(listener: L, router: Router) {
    let mut limits = ConnectionLimits::new(L::BOUNDS);
    let (mut connections, mut refusals) = (JoinSet::new(), JoinSet::new());
    let mut retry = RETRY_FIRST;
    loop {
        tokio::select! {
            accepted = listener.next() => match accepted {
                Ok((stream, peer)) => {
                    retry = RETRY_FIRST;
                    if limits.admits(peer, L::is_privileged(peer)) {
                        let task = connections.spawn(serve(L::NAME, stream, peer, router.clone()));
                        limits.opened(task.id(), peer);
                    } else {
                        debug!("refuse a connection to {} from {peer}: too many connections", L::NAME);
                        if refusals.len() < REFUSALS {
                            refusals.spawn(refuse(stream));
                        }
                    }
                }
                // Usually there are no more descriptors: connections that end return some.
                Err(error) => {
                    if retry == RETRY_FIRST {
                        warn!("accept a connection to {}: {error}", L::NAME);
                    }
                    sleep(retry).await;
                    retry = (2 * retry).min(RETRY_MAX);
                }
            },
            Some(ended) = connections.join_next_with_id() => {
                limits.closed(ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
            Some(_) = refusals.join_next() => {}
        }
    }
}

async fn serve<S, P>(name: &'static str, stream: S, peer: P, router: Router)
where
    S: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
    P: Copy + Send + Sync + 'static,
{
    // On failure the buffer is a little larger.
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(MinWriteRate::new(stream)), service)
        .await;
    if let Err(error) = served {
        debug!("serve a connection to {name}: {error}");
    }
}

/// Answers a request with the reason. It waits for the request, because clients do not expect an answer before.
async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let answer = async {
        match stream.read(&mut [0; 4096]).await? {
            0 => Ok(()),
            _ => stream.write_all(refusal().as_bytes()).await,
        }
    };
    // It is only a courtesy: the peer may be gone.
    let _ = timeout(REFUSAL_TIMEOUT, answer).await;
}

fn refusal() -> String {
    let reply = ErrorReply {
        error: "too many connections".to_owned(),
        hint: "close some of this client's connections, or try again".to_owned(),
    };
    let body = serde_json::to_string(&reply).expect("texts are valid JSON");
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
