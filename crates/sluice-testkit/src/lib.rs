//! The environment of sluice's tests and of its demonstration: network namespaces, a lab of client, balancer and
//! backends in such namespaces, real servers and clients, and the two programs under test.
//!
//! Linux and root only. Nothing has a global name, so labs can run in parallel. Nothing outlives the
//! test process, however it ends: namespaces live as long as their file descriptors and the sockets and
//! processes inside, and these end with the process. (A test that is killed leaves its temporary directory.)
//!
//! This is test support: a failed set-up panics with the reason, like an assertion.

#![forbid(unsafe_code)]

mod client;
mod daemon;
mod flood;
mod health_server;
mod host;
mod lab;
mod load;
mod manual;
mod monitor;
mod namespace;
mod node;
mod programs;
mod segment;
mod server;
mod shares;
mod switch;
mod terminal;
mod wait;

pub use client::{Answer, Conversation};
pub use daemon::Daemon;
pub use flood::{Datagram, Flood};
pub use health_server::{Behaviour, HealthServer};
pub use host::Host;
pub use lab::{Lab, VIP4, VIP6};
pub use load::{Answered, Connected, Connects, Datagrams, Talk, Talked};
pub use manual::manual;
pub use monitor::Monitor;
pub use namespace::Namespace;
pub use node::{Finished, Node};
pub use programs::program;
pub use shares::{Shares, chi_square_exceeds};
pub use switch::Switch;
pub use terminal::Terminal;
pub use wait::{PATIENCE, eventually};
