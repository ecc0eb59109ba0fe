//! Live connections.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Query of `GET /api/v1/connections?service=web&backend=web1&limit=100`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionsQuery {
    /// Only those of this service; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only those of this backend of the service; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Only those of clients with this address or in this network; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Only those in this state, as in [`Connection::state`]; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Maximum of connections in the response; absent: 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Response to a [`ConnectionsQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Number of all connections that match.
    pub total: u64,
    /// At most `limit` of them, sorted by service, backend and client.
    pub connections: Vec<Connection>,
}

/// A conntrack flow of one of our services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The service's name.
    pub service: String,
    /// The backend's name.
    pub backend: String,
    /// The transport protocol, `tcp` for example.
    pub protocol: String,
    /// Address and port of the client.
    pub client: SocketAddr,
    /// Destination that the client used.
    pub listener: SocketAddr,
    /// Source that the backend sees: the client, or the translated address.
    pub source: SocketAddr,
    /// Address and port of the backend.
    pub address: SocketAddr,
    /// TCP state as conntrack names it, in lower case with hyphens: `syn-sent`, `established`, `time-wait`;
    /// of other protocols `unreplied` or `replied`.
    pub state: String,
    /// Remaining conntrack timeout, in seconds.
    pub expires: u32,
    /// Bytes from the client; `null`: not counted (`http.accounting`).
    pub bytes_in: Option<u64>,
    /// Bytes to the client; `null`: not counted.
    pub bytes_out: Option<u64>,
}
