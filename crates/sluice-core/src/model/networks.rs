//! Networks that the host's interfaces are in.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::InterfaceName;

/// Which addresses are reached through which interface without a router, as far as it matters to rules: what lies
/// there answers each other directly, not through us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(BTreeSet<(InterfaceName, IpNet)>);

impl Networks {
    /// None.
    pub const NONE: Networks = Networks(BTreeSet::new());

    /// Those of interfaces with these names, addresses and prefix lengths.
    pub fn of(addresses: impl IntoIterator<Item = (String, IpNet)>) -> Self {
        let named =
            addresses.into_iter().filter_map(|(name, net)| Some((InterfaceName::new(&name).ok()?, net)));
        let nets = named.map(|(name, net)| (name, net.trunc()));
        // Nothing else lies where there is one address, or on loopback.
        let is_shared = |net: &IpNet| net.prefix_len() < net.max_prefix_len() && !net.addr().is_loopback();
        Networks(nets.filter(|(_, net)| is_shared(net)).collect())
    }

    /// Interfaces with networks none of which lies within another of the same interface.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&InterfaceName, IpNet)> {
        let within = |name: &InterfaceName, net: &IpNet| {
            self.0.iter().any(|(other, wide)| other == name && wide != net && wide.contains(net))
        };
        self.0.iter().filter(move |(name, net)| !within(name, net)).map(|(name, net)| (name, *net))
    }
}
