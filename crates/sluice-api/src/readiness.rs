//! Readiness of services.

use serde::{Deserialize, Serialize};

/// Query of `GET /api/v1/ready?services=web,dns`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyQuery {
    /// Only these services, separated by commas; absent: all enabled ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<String>,
}

/// Response to a [`ReadyQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyReply {
    /// Whether all of them are ready.
    pub ready: bool,
    /// Why none is, if that does not depend on the service: `no service is enabled`; `null`: see the services.
    pub not_ready: Option<String>,
    /// The services by name.
    pub services: Vec<ServiceReadiness>,
}

/// The readiness of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReadiness {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Why not; `null`: it is.
    pub not_ready: Option<String>,
}
