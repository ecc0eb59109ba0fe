//! The pure core of sluice: from a validated configuration to a plan for the kernel.
//!
//! - [`model`]: services as the file defines them.
//! - [`pool`]: eligible backends and their weights, from health, overrides and load.
//! - [`render`]: the desired table, as the sum of one fragment per listener and IP version.
//! - [`plan`]: the difference to the table in the kernel, as batches of steps.
//! - [`flows`]: which service a conntrack flow belongs to, and whether it is kept, deleted or reset.
//!
//! Each module uses only those above it. No I/O, no clock, no randomness: the same input always gives the
//! same plan.

#![forbid(unsafe_code)]

pub mod flows;
pub mod model;
pub mod plan;
pub mod pool;
pub mod render;
