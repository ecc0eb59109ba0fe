//! Backends from elsewhere: names that are resolved, and files that are watched.
//!
//! [`Discovery`] runs one task per distinct [`Lookup`](sluice_core::model::Lookup). Results go to [`Answers`], which keeps
//! the last good answer of every lookup and wakes the task that waits for changes. Lookups never wait for readers.

#![forbid(unsafe_code)]

mod answers;
mod discovery;
mod dns;
mod files;
mod progress;
mod reply;
mod saved;
mod schedule;
mod state;
mod system;

pub use answers::Answers;
pub use discovery::Discovery;
pub use reply::{Ask, LookupError, Reply};
pub use saved::SavedAnswers;
pub use state::{LookupFailure, LookupState};

/// Maximum number of backends in an answer. A larger one is an error.
pub const MAX_FOUND: usize = 10_000;
