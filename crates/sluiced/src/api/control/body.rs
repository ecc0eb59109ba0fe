//! [`BodyLimit`]: reads the bodies of requests, with bounds on their size, their time and their memory.

use std::sync::Arc;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::peer::Peer;
use crate::api::connections::TIMEOUT;
use crate::api::http::refuse;

/// Unit of memory.
const KIB: usize = 1024;

/// Limits of the bodies of a route.
#[derive(Clone, Debug)]
pub(super) struct BodyLimit {
    /// Maximum size in bytes.
    max: usize,
    /// Memory in KiB for the bodies of members of the group, and of privileged users, so that the former do not block
    /// the latter.
    memory: [Arc<Semaphore>; 2],
}

/// The memory of a body, until the response. Work that continues without its client keeps it.
pub(super) type BodyMemory = Arc<OwnedSemaphorePermit>;

impl BodyLimit {
    /// Bodies of at most `max` bytes, and this many of that size at a time.
    pub(super) fn new(max: usize, count: usize) -> Self {
        let memory = || Arc::new(Semaphore::new(count * Self::units(max)));
        BodyLimit { max, memory: [memory(), memory()] }
    }

    fn units(bytes: usize) -> usize {
        bytes / KIB + 1
    }

    /// Waits until there is memory for a body.
    async fn memory(&self, peer: Peer, length: usize) -> Option<OwnedSemaphorePermit> {
        let memory = self.memory[usize::from(peer.is_privileged())].clone();
        let units = u32::try_from(Self::units(length)).ok()?;
        timeout(TIMEOUT, memory.acquire_many_owned(units)).await.ok()?.ok()
    }
}

/// Reads the body before the handler runs, which then finds it and its [`BodyMemory`].
pub(super) async fn read_body(State(limit): State<BodyLimit>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().copied().unwrap_or(Peer(u32::MAX));
    // Chunked bodies have an unknown length.
    let length =
        body.size_hint().upper().map_or(limit.max, |length| usize::try_from(length).unwrap_or(usize::MAX));
    let too_large = || {
        let error = format!("the body is larger than {} bytes", limit.max);
        refuse(StatusCode::PAYLOAD_TOO_LARGE, &error, "send less at a time")
    };
    if length > limit.max {
        return too_large();
    }
    let Some(memory) = limit.memory(peer, length).await else {
        let error = "others are sending large requests";
        return refuse(StatusCode::SERVICE_UNAVAILABLE, error, "try again");
    };
    match timeout(TIMEOUT, to_bytes(body, limit.max)).await {
        Ok(Ok(bytes)) => {
            let memory: BodyMemory = Arc::new(memory);
            parts.extensions.insert(memory.clone());
            let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
            drop(memory);
            response
        }
        Ok(Err(_)) => too_large(),
        Err(_elapsed) => {
            let error = format!("the body did not arrive within {} s", TIMEOUT.as_secs());
            refuse(StatusCode::REQUEST_TIMEOUT, &error, "send it at once")
        }
    }
}
