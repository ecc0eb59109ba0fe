//! The sluice daemon. A change flows through it like this:
//!
//! - [`daemon`] is the reconcile task: it waits for requests, health, load and time, and decides what is wanted now;
//! - `pool` holds what it knows of backends, from which sluice-core makes the services in force;
//! - [`reconcile`] makes the kernel equal to them over any [`sluice_nft::Dataplane`], and reads it back;
//! - [`conntrack`] threads delete, count and list flows; `counters` adds up new connections;
//! - [`status`] is what is shown of it, [`api`] who may ask: control socket, HTTP, metrics;
//! - [`state`] is what survives a restart, [`host`] what is around the daemon.
//!
//! Each of these uses only those below it: `daemon`, `api`, `request`, `status`, `conntrack`, `reconcile`, `pool`, `counters`,
//! `state`, `host`. A single round ([`reconcile`]) and [`state`] also serve `sluice apply` and `sluice cleanup`, which work
//! without a daemon.

#![forbid(unsafe_code)]

pub mod api;
pub mod args;
pub mod conntrack;
pub mod counters;
pub mod daemon;
pub mod fatal;
pub mod host;
pub mod logging;
pub mod reconcile;
pub mod request;
pub mod state;
pub mod status;

mod names;
mod pool;
