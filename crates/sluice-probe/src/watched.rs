//! [`WatchedBackend`]: which backend is probed, where and how.

use std::sync::Arc;

use sluice_core::model::{BackendKey, HealthCheck, ProbeTarget};
use sluice_core::pool::health::Health;

/// A backend to probe.
#[derive(Clone, Debug)]
pub struct WatchedBackend {
    /// Name of the service and of the backend.
    pub key: BackendKey,
    /// Address and port.
    pub target: ProbeTarget,
    /// The health check.
    pub check: Arc<HealthCheck>,
    /// The backend that it is, by the name that this has had so far; what is known of that is known of it. `None`, or one
    /// that is not watched: a new one.
    pub from: Option<BackendKey>,
    /// Whether it got new flows without a check until now. It stays up until its check has a result.
    pub served: bool,
    /// Saved health of a new backend.
    pub known: Health,
}
