//! Health checks: probes on a schedule, their outcomes, and the health of backends.
//!
//! [`Prober`] runs one task per distinct target and check. Outcomes go to the [`Board`], which keeps the health of every
//! backend and wakes tasks that wait for changes. Probes never wait for readers.

#![forbid(unsafe_code)]

mod attempt;
mod board;
mod outcome;
mod prober;
mod schedule;
mod slots;
mod watched;

pub use attempt::{attempt, has_sctp, run_program};
pub use board::{BackendHealth, Board, Down, Flip, LastProbe};
pub use outcome::{ProbeOutcome, ProbeResult};
pub use prober::{Attempt, Prober};
pub use slots::Slots;
pub use watched::WatchedBackend;
