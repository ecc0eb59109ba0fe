//! The state of the host, as `ip`, `ss`, `nft`, iptables, systemctl and the daemon show it. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;
use sluice_api::{FollowerStatus, ForeignChanges, SOURCE_PORTS_SCARCE, StateStatus, Status};
use sluice_netlink::Proc;

use super::peers::Peers;
use super::routes::Routes;
use super::run::{parsed, run};
use super::sockets::{self, ListeningSocket};
use super::tables::Tables;
use super::units;

/// What checks look at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// Sysctls by path; those that do not exist are missing.
    pub(crate) sysctls: BTreeMap<String, u64>,
    /// Names of interfaces but loopback.
    pub(crate) interfaces: BTreeSet<String>,
    /// Those of them that IPv6 routes can be learnt on: with IPv6, and no port of a bridge or a bond.
    pub(crate) learning: BTreeSet<String>,
    /// TCP sockets on which programs listen.
    pub(crate) listening: Vec<ListeningSocket>,
    /// Whether some of them is a bridge.
    pub(crate) has_bridge: bool,
    /// The host's own addresses.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// Networks of the host's interfaces, and the interface of each.
    pub(crate) networks: Vec<(IpNet, String)>,
    /// Those of them on loopback.
    pub(crate) on_loopback: BTreeSet<IpAddr>,
    /// Files of keepalived and conntrackd.
    pub(crate) peers: Peers,
    /// Routes.
    pub(crate) routes: Routes,
    /// Tables of other programs.
    pub(crate) tables: Tables,
    /// Units that are enabled and do not run.
    pub(crate) stopped_units: Vec<String>,
    /// What others did to the table; `None`: no daemon runs.
    pub(crate) foreign: Option<ForeignChanges>,
    /// Whether the daemon saves its state.
    pub(crate) state: StateStatus,
    /// What the daemon follows.
    pub(crate) followers: Vec<FollowerStatus>,
    /// Backends that there are few source ports left for, and the fraction in use.
    pub(crate) scarce: Vec<(String, f64)>,
    /// Whether the kernel has sockets of SCTP, if a service probes by them.
    pub(crate) has_sctp: Option<bool>,
    /// What could not be looked at, and why.
    pub(crate) blind: Vec<String>,
}

/// Settings of the whole host.
const SYSCTLS: [&str; 10] = [
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/conf/all/arp_ignore",
    "net/ipv4/conf/all/rp_filter",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_tcp_loose",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
];

/// Settings of each interface.
const OF_INTERFACES: [&str; 3] =
    ["net/ipv4/conf/{}/arp_ignore", "net/ipv4/conf/{}/rp_filter", "net/ipv6/conf/{}/accept_ra"];

impl Facts {
    /// Reads them; `addresses` are looked up in the routing tables.
    pub(crate) fn gather(proc: &Proc, addresses: &[IpAddr], status: Option<Status>) -> Self {
        let mut facts = Facts::default();
        if let Some(status) = status {
            facts.scarce = scarce(&status);
            facts.foreign = Some(status.table.foreign_changes);
            (facts.state, facts.followers) = (status.state, status.followers);
        }
        let mut of_vrfs = BTreeSet::new();
        match parsed("ip", &["-details", "-json", "address"]) {
            Ok(links) => {
                links.as_array().into_iter().flatten().for_each(|link| facts.link(link, &mut of_vrfs));
            }
            Err(why) => facts.blind.push(why),
        }
        let of_interfaces =
            facts.interfaces.iter().flat_map(|name| OF_INTERFACES.map(|key| key.replace("{}", name)));
        for key in SYSCTLS.map(str::to_owned).into_iter().chain(of_interfaces) {
            if let Some(value) = proc.sysctl(&key).ok().and_then(|value| value.parse().ok()) {
                facts.sysctls.insert(key, value);
            }
        }
        facts.routes = Routes::read(addresses, &of_vrfs);
        match run("ss", &["-Hltnp"]) {
            Ok(sockets) => facts.listening = sockets::listening(&sockets),
            Err(why) => facts.blind.push(why),
        }
        facts.tables = Tables::read();
        facts.blind.append(&mut mem::take(&mut facts.routes.unread));
        facts.blind.append(&mut mem::take(&mut facts.tables.unread));
        facts.stopped_units = units::stopped();
        facts.peers = Peers::read();
        facts
    }

    fn link(&mut self, link: &Value, of_vrfs: &mut BTreeSet<String>) {
        let flags = link["flags"].as_array().into_iter().flatten();
        let name = link["ifname"].as_str().filter(|_| flags.clone().all(|flag| flag != "LOOPBACK"));
        self.interfaces.extend(name.map(str::to_owned));
        self.has_bridge |= link["linkinfo"]["info_kind"] == "bridge";
        let addresses = link["addr_info"].as_array().into_iter().flatten();
        let (has_master, is_of_vrf) =
            (!link["master"].is_null(), link["linkinfo"]["info_slave_kind"] == "vrf");
        of_vrfs.extend(name.filter(|_| has_master && is_of_vrf).map(str::to_owned));
        let has_ipv6 =
            addresses.clone().any(|address| address["family"] == "inet6" && address["scope"] == "link");
        self.learning.extend(name.filter(|_| has_ipv6 && (!has_master || is_of_vrf)).map(str::to_owned));
        for address in addresses {
            let Some(own) = address["local"].as_str().and_then(|own| own.parse().ok()) else { continue };
            self.addresses.insert(own);
            self.on_loopback.extend(name.is_none().then_some(own));
            let length = address["prefixlen"].as_u64().and_then(|length| u8::try_from(length).ok());
            let network = length.and_then(|length| IpNet::new(own, length).ok());
            self.networks.extend(network.zip(name.map(str::to_owned)));
        }
    }

    /// A setting of an interface, 0 if there is none.
    pub(crate) fn of(&self, name: &str, family: &str, key: &str) -> u64 {
        self.sysctls.get(&format!("net/{family}/conf/{name}/{key}")).copied().unwrap_or(0)
    }

    /// The interface in whose network an address is.
    pub(crate) fn interface_to(&self, address: IpAddr) -> Option<&str> {
        let found = self.networks.iter().find(|(network, _)| network.contains(&address));
        found.map(|(_, interface)| interface.as_str())
    }
}

fn scarce(status: &Status) -> Vec<(String, f64)> {
    let backends = status.services.iter().flat_map(|service| {
        service
            .backends
            .iter()
            .map(move |backend| (format!("{}/{}", service.name, backend.name), backend.source_ports))
    });
    backends
        .filter_map(|(name, used)| Some((name, used.filter(|used| *used >= SOURCE_PORTS_SCARCE)?)))
        .collect()
}
