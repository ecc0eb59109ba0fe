//! [`Hooks`]: programs that run when a service becomes ready or not.

use std::sync::Arc;

/// Programs with their arguments; `None`: nothing runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Runs when the service becomes ready.
    pub on_ready: Option<Arc<[String]>>,
    /// Runs when it is no longer ready, and at the start if it is not.
    pub on_unready: Option<Arc<[String]>>,
}

impl Hooks {
    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.on_ready.is_some() || self.on_unready.is_some()
    }
}
