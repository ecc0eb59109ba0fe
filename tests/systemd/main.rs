//! The Debian package under a real systemd: the lab's balancer is a container whose first process is systemd. Its
//! root, and the packages, are what tests/systemd/run has made; it runs this once for each version of Debian.

mod container;
mod machine;
mod manual;
mod package;
mod restart;
mod rolling;
mod sandbox;
mod traffic;
mod unit;
mod upgrade;

#[path = "../ha/load.rs"]
mod load;
#[expect(dead_code, reason = "the tests of `make ha` use the rest")]
#[path = "../ha/pair.rs"]
mod pair;
#[expect(dead_code, reason = "the tests of `make ha` use the rest")]
#[path = "../ha/programs.rs"]
mod programs;

/// Where the service of these tests listens.
const VIP: &str = "203.0.113.10:80";
