//! Networks of the host's interfaces.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::InterfaceName;

/// Networks that are reached through an interface without a router. Hosts in such a network reply to each
/// other directly, bypassing the balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(BTreeSet<(InterfaceName, IpNet)>);

impl Networks {
    /// No networks.
    pub const NONE: Networks = Networks(BTreeSet::new());

    /// Networks of interfaces with these names, addresses and prefix lengths.
    pub fn of(addresses: impl IntoIterator<Item = (String, IpNet)>) -> Self {
        let named =
            addresses.into_iter().filter_map(|(name, net)| Some((InterfaceName::new(&name).ok()?, net)));
        let nets = named.map(|(name, net)| (name, net.trunc()));
        // A network with a single address, and loopback, contain no other hosts; link-local addresses are not
        // forwarded.
        let is_shared = |net: &IpNet| {
            let is_link_local = matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
            net.prefix_len() < net.max_prefix_len() && !net.addr().is_loopback() && !is_link_local
        };
        Networks(nets.filter(|(_, net)| is_shared(net)).collect())
    }

    /// Networks by interface, without those within another network of the same interface.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&InterfaceName, IpNet)> {
        let within = |name: &InterfaceName, net: &IpNet| {
            self.0.iter().any(|(other, wide)| other == name && wide != net && wide.contains(net))
        };
        self.0.iter().filter(move |(name, net)| !within(name, net)).map(|(name, net)| (name, *net))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(of: &[(&str, &str)]) -> Vec<String> {
        let parsed = of.iter().map(|(name, net)| ((*name).to_owned(), net.parse().unwrap()));
        Networks::of(parsed).iter().map(|(name, net)| format!("{name} {net}")).collect()
    }

    #[test]
    fn networks_are_those_that_others_share_and_none_lies_within_another() {
        let all = [
            ("lo", "127.0.0.1/8"),
            ("eth0", "10.0.2.1/24"),
            ("eth0", "10.0.2.7/24"),
            ("eth0", "10.0.9.1/16"),
            ("eth1", "10.0.2.2/24"),
            ("eth1", "203.0.113.10/32"),
            ("eth1", "fd00::1/64"),
            ("eth1", "fe80::1/64"),
        ];
        assert_eq!(networks(&all), ["eth0 10.0.0.0/16", "eth1 10.0.2.0/24", "eth1 fd00::/64"]);
    }
}
