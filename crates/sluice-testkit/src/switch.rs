//! A switch between hosts.

use crate::{Host, Namespace};

/// A bridge in a namespace of its own. Its port to a host has the name of the host.
#[derive(Debug)]
pub struct Switch(Namespace);

impl Switch {
    /// A switch without ports.
    pub fn new() -> Self {
        let namespace = Namespace::new();
        namespace.ip("link add name switch type bridge mcast_snooping 0\nlink set switch up");
        Switch(namespace)
    }

    /// Adds a port that leads to a new interface of the host; the interface is down.
    pub fn connect(&self, host: &Host, interface: &str) {
        let (port, path) = (host.name(), host.netns());
        self.0.ip(&format!("link add name {port} type veth peer name {interface} netns {path}"));
        self.0.ip(&format!("link set dev {port} master switch up"));
    }

    /// Forwards nothing from and to the host: it is isolated, but its interface keeps the carrier.
    pub fn isolate(&self, host: &Host) {
        self.0.ip(&format!("link set dev {} nomaster", host.name()));
    }

    /// Forwards again from and to a host that was isolated.
    pub fn join(&self, host: &Host) {
        self.0.ip(&format!("link set dev {} master switch", host.name()));
    }

    /// Sets the port of the host down, like a cable that is pulled, or up.
    pub fn set_port(&self, host: &Host, is_up: bool) {
        self.0.ip(&format!("link set dev {} {}", host.name(), if is_up { "up" } else { "down" }));
    }
}

impl Default for Switch {
    fn default() -> Self {
        Self::new()
    }
}
