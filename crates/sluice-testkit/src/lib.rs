//! What sluice's tests and its demonstration run in: network namespaces, a lab of client, balancer and
//! backends made of them, real servers and clients, and the two programs under test.
//!
//! Linux and root only. Nothing here has a global name, so labs run side by side; and nothing outlives the
//! test process, however it ends: namespaces live as long as their file descriptors and the sockets and
//! processes inside, and those die with us. (A test that is killed leaves its temporary directory.)
//!
//! This is test support: what cannot be set up panics with the reason, as an assertion would.

#![forbid(unsafe_code)]

mod client;
mod daemon;
mod flood;
mod health_server;
mod host;
mod lab;
mod monitor;
mod namespace;
mod programs;
mod segment;
mod server;
mod shares;
mod terminal;
mod wait;

pub use client::{Answer, Conversation};
pub use daemon::{Daemon, Finished};
pub use flood::{Datagram, Flood};
pub use health_server::{HealthServer, Manner};
pub use host::Host;
pub use lab::{Lab, VIP4, VIP6};
pub use monitor::Monitor;
pub use namespace::Namespace;
pub use programs::program;
pub use shares::{Shares, chi_square_exceeds};
pub use terminal::Terminal;
pub use wait::{PATIENCE, eventually};
