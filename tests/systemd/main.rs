//! The Debian package under a real systemd: the lab's balancer is a container whose first process is systemd. Its
//! root, and the packages, are what tests/systemd/run has made; it runs this once for each version of Debian.

mod container;
mod machine;
mod manual;
mod package;
mod restart;
mod sandbox;
mod traffic;
mod unit;
mod upgrade;

/// Where the service of these tests listens.
const VIP: &str = "203.0.113.10:80";
