//! The sluice daemon. The path of a change:
//!
//! - [`daemon`] is the reconcile task: it waits for requests, health, load and timers, and determines the desired state;
//! - `pool` holds the states of backends, from which sluice-core computes the effective services;
//! - [`reconcile`] makes the kernel equal to them over any [`sluice_nft::Dataplane`], and verifies it;
//! - [`announce`] puts addresses of ready services on an interface;
//! - [`conntrack`] threads delete, count and list flows; `counters` sums up new connections;
//! - [`status`] holds the state for readers, and [`api`] serves it: control socket, HTTP, metrics;
//! - [`hooks`] runs programs when services become ready or not;
//! - [`digest`] hashes the services of a file, to compare nodes;
//! - [`state`] is the state that survives a restart, [`host`] the environment of the daemon.
//!
//! Each of these uses only those after it: `daemon`, `api`, `hooks`, `request`, `status`, `announce`, `conntrack`, `reconcile`, `pool`, `counters`, `digest`,
//! `state`, `host`. `sluice apply` and `sluice cleanup`, which work without a daemon, also use a single round ([`reconcile`])
//! and [`state`].

#![forbid(unsafe_code)]

pub mod announce;
pub mod api;
pub mod args;
pub mod conntrack;
pub mod counters;
pub mod daemon;
pub mod digest;
pub mod fatal;
pub mod hooks;
pub mod host;
pub mod logging;
pub mod reconcile;
pub mod request;
pub mod state;
pub mod status;

mod lookup;
mod pool;
