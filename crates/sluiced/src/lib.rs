//! The sluice daemon.
//!
//! [`tasks::run`] is the whole of it, over any [`sluice_nft::Dataplane`]: the kernel in `main`, a fake in the
//! tests. A single round ([`reconcile`]) and what goes with it ([`forwarding`], [`state`]) also serve
//! `sluice apply` and `sluice cleanup`, which do without a daemon.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod args;
pub mod census;
pub mod connections;
pub mod fatal;
pub mod flows;
pub mod followers;
pub mod forwarding;
pub mod http;
pub mod logging;
pub mod notify;
pub mod planning;
pub mod reconcile;
pub mod request;
pub mod state;
pub mod sysctls;
pub mod tasks;
pub mod teller;
pub mod timings;
pub mod totals;
pub mod view;

mod accounting;
mod bases;
pub mod claim;
mod clock;
mod control;
mod daemon;
mod events;
mod facts;
mod flow_orders;
mod load;
mod loading;
mod metrics;
mod names;
mod operator;
mod ramps;
mod remembered;
mod serving;
mod shared;
mod showing;
mod signals;
mod since;
mod standing;
mod trouble;
