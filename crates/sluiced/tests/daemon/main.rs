//! The whole daemon on the fake kernel, a simulated `/proc` and a real control socket.

mod announce;
mod api;
mod cleaner;
mod followers;
mod foreign;
mod health;
mod host;
mod load;
mod log;
mod networks;
mod operator;
mod plan;
mod ramps;
mod readiness;
mod reload;
mod renamed;
mod retry;
mod stale;
mod start;
mod steady;
mod stop;
mod totals;
mod verify;
mod web;

/// One service with two backends.
const WEB: &str =
    "services: {web: {listen: '203.0.113.10:80', backends: ['10.0.2.11:8080', '10.0.2.12:8080']}}";

/// The same with a third backend.
const WEB3: &str = "services: {web: {listen: '203.0.113.10:80',
  backends: ['10.0.2.11:8080', '10.0.2.12:8080', '10.0.2.13:8080']}}";
