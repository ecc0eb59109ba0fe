//! Probes of backends: one attempt to an outcome, on a schedule, to health.
//!
//! [`Prober`] runs one task a distinct target and check. Outcomes go to the [`Board`], which keeps the health of every
//! backend and wakes whoever waits for it to change; nobody can make a probe wait.

#![forbid(unsafe_code)]

mod attempt;
mod board;
mod outcome;
mod prober;
mod schedule;

pub use attempt::attempt;
pub use board::{Board, Down, Flip, Last, Report};
pub use outcome::{Outcome, Verdict};
pub use prober::{Attempt, Prober, Watch};
