//! Two balancers with the programs that move addresses between them: keepalived, conntrackd and BIRD, with the files of
//! config/high-availability. Needs root; `make ha` runs it.
//!
//! Each test prints a row of what it measured; docs/high-availability.md quotes them.

#![forbid(unsafe_code)]

mod bgp;
mod ipv6;
mod load;
mod moves;
mod pair;
mod programs;
mod same;
mod standby;
mod vrrp;
