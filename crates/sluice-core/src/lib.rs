//! The pure core of sluice: everything between a validated configuration and a plan for the kernel.
//!
//! - [`model`]: services as the file defines them.
//! - [`pool`]: with health, operators' overrides and load, the backends that take new flows, and their weights.
//! - [`render`]: from these the table as it should be, the sum of one fragment for each listener.
//! - [`plan`]: the difference from the table in the kernel, as batches of steps.
//! - [`flows`]: which service owns a flow that conntrack knows, and whether the flow may stay.
//!
//! Each module uses only those above it. No I/O, no clock, no randomness: the same input gives the same plan.

#![forbid(unsafe_code)]

pub mod flows;
pub mod model;
pub mod plan;
pub mod pool;
pub mod render;
