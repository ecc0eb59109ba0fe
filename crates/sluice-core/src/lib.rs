//! The pure core of sluice: everything between validated configuration and a plan.
//!
//! No I/O, no clock, no randomness: the same input gives the same plan.

#![forbid(unsafe_code)]

pub mod balance;
pub mod census;
pub mod committed;
pub mod diff;
pub mod flows;
pub mod health;
pub mod maglev;
pub mod model;
pub mod owners;
pub mod per_port;
pub mod plan;
pub mod pool;
pub mod render;
pub mod report;
pub mod slots;
pub mod transition;
pub mod way;
