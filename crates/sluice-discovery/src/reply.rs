//! [`Ask`] and its [`Reply`]: one lookup.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sluice_core::model::{Answer, Lookup, Resolver};

/// Asks once, with the settings of the resolver: DNS servers and files, or a stand-in for them in tests.
pub type Ask = Arc<
    dyn Fn(Arc<Resolver>, Lookup) -> Pin<Box<dyn Future<Output = Result<Reply, LookupError>> + Send>>
        + Send
        + Sync,
>;

/// The result of a lookup that found something, or found that there is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The answer; empty: the name exists but has no such records, or no file matches.
    pub answer: Answer,
    /// Time for which it is valid; `None`: it has none, such as that of files.
    pub ttl: Option<Duration>,
    /// Why a part of the answer is missing or old, such as a file with an error.
    pub error: Option<String>,
    /// Whether backends of the previous answer that this one lacks stay: it does not know whether they are gone.
    pub keeps_previous: bool,
}

/// Why a lookup found nothing that can be relied on: a timeout, an error of a server, a name that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LookupError(pub String);

impl Reply {
    /// A complete answer.
    pub fn new(answer: Answer, ttl: Option<Duration>) -> Self {
        Reply { answer, ttl, ..Reply::default() }
    }
}
