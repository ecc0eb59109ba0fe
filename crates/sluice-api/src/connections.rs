//! Live connections.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Which connections: the query of `GET /api/v1/connections?service=web&backend=web1&limit=100`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionsQuery {
    /// Those of this service; absent: of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Those of this backend of that service; absent: of all its backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Most connections in the answer; absent: 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Answer to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// How many there are.
    pub total: u64,
    /// Some of them, at most as many as were asked for, by service, backend and client.
    pub connections: Vec<Connection>,
}

/// A flow that the kernel tracks and that one of our services took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The service's name.
    pub service: String,
    /// The backend's name.
    pub backend: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Who opened it.
    pub client: SocketAddr,
    /// What the client addressed.
    pub listener: SocketAddr,
    /// Whom the backend sees: the client, or who stands in for it.
    pub source: SocketAddr,
    /// Where the backend is.
    pub address: SocketAddr,
    /// TCP state as conntrack names it, in lower case with hyphens: `syn-sent`, `established`, `time-wait`;
    /// of other protocols `unreplied` or `replied`.
    pub state: String,
    /// Seconds until the kernel forgets it, if no packet comes.
    pub expires: u32,
    /// Bytes from the client; `null`: not counted (`http.accounting`).
    pub bytes_in: Option<u64>,
    /// Bytes to the client; `null`: not counted.
    pub bytes_out: Option<u64>,
}
