//! Overrides of backends: [`OverrideRequest`] for one, [`OverridesRequest`] for several.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Admin, BackendStatus};

/// In place of the name of a backend: all backends of the service.
pub const ALL_BACKENDS: &str = "*";

/// An operator's change of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideRequest {
    /// The service's name.
    pub service: String,
    /// The backend's name.
    pub backend: String,
    /// The change: `{"admin": "drain"}`, `{"weight": 3}`, `{"weight": null}` or `{"reset": {}}`.
    pub change: OverrideChange,
    /// Why, on one line of at most [`MAX_REASON`] characters; `null`: no reason.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Maximum number of characters of the reason for an override.
pub const MAX_REASON: usize = 200;

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverrideChange {
    /// Admin state.
    Admin(Admin),
    /// Weight, 0 to 256; `null`: that of the file.
    Weight(Option<u16>),
    /// No override: admin state and weight of the file.
    Reset {},
}

/// Response to an [`OverrideRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverrideReply {
    /// The backend after the change.
    #[serde(flatten)]
    pub backend: BackendStatus,
    /// Why the change was not saved, so that a restart loses it; `null`: it was saved.
    #[serde(default)]
    pub not_remembered: Option<String>,
}

/// An operator's change of several backends. It is applied to all of them in one round, or to none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverridesRequest {
    /// The backends.
    pub backends: Vec<BackendPath>,
    /// The change, as in [`OverrideRequest::change`].
    pub change: OverrideChange,
    /// Why, as in [`OverrideRequest::reason`].
    #[serde(default)]
    pub reason: Option<String>,
}

/// The names of a backend and of its service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BackendPath {
    /// The service's name.
    pub service: String,
    /// The backend's name, or [`ALL_BACKENDS`].
    pub backend: String,
}

impl fmt::Display for BackendPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.backend)
    }
}

impl From<OverrideRequest> for OverridesRequest {
    fn from(OverrideRequest { service, backend, change, reason }: OverrideRequest) -> Self {
        OverridesRequest { backends: vec![BackendPath { service, backend }], change, reason }
    }
}

/// Response to an [`OverridesRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverridesReply {
    /// The backends after the change, each once, in the order of the request.
    pub backends: Vec<ChangedBackend>,
    /// Why the change was not saved, so that a restart loses it; `null`: it was saved.
    #[serde(default)]
    pub not_remembered: Option<String>,
}

/// A backend after a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangedBackend {
    /// The name of its service.
    pub service: String,
    /// The backend.
    pub status: BackendStatus,
}

impl OverridesReply {
    /// The reply for each backend.
    pub fn each(self) -> impl Iterator<Item = OverrideReply> {
        let not_remembered = self.not_remembered;
        self.backends
            .into_iter()
            .map(move |it| OverrideReply { backend: it.status, not_remembered: not_remembered.clone() })
    }
}
