//! What the host is like. Reads, and asks `ip`, `nft` and `iptables`; changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;
use sluice_api::{ForeignChanges, SOURCE_PORTS_SCARCE, Status};
use sluice_netlink::Proc;
use sluice_nft::Ip;

use super::foreign::{self, Dropping};
use super::sockets::{self, ListeningSocket};

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
    /// Interfaces that default routes lead to.
    pub(crate) default_routes: BTreeMap<Ip, BTreeSet<String>>,
    /// Addresses asked for that no route leads to.
    pub(crate) unreachable: BTreeSet<IpAddr>,
    /// Chains of others that drop what passes through.
    pub(crate) dropping: Vec<Dropping>,
    /// What others did to the table; `None`: no daemon runs.
    pub(crate) foreign: Option<ForeignChanges>,
    /// Backends that there are few source ports left for, and the fraction in use.
    pub(crate) scarce: Vec<(String, f64)>,
    /// Whether the kernel has sockets of SCTP, if a service probes by them.
    pub(crate) has_sctp: Option<bool>,
    /// What could not be looked at, and why.
    pub(crate) blind: Vec<String>,
}

/// Settings of the whole host.
const SYSCTLS: [&str; 8] = [
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/conf/all/rp_filter",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_tcp_loose",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
];

/// Settings of each interface.
const OF_INTERFACES: [&str; 2] = ["net/ipv4/conf/{}/rp_filter", "net/ipv6/conf/{}/accept_ra"];

impl Facts {
    /// Looks; `backends` are addresses to find routes to.
    pub(crate) fn gather(proc: &Proc, backends: Vec<IpAddr>, status: Option<Status>) -> Self {
        let mut facts = Facts::default();
        if let Some(status) = status {
            facts.scarce = scarce(&status);
            facts.foreign = Some(status.table.foreign_changes);
        }
        let links = facts.ask("ip", &["-details", "-json", "address"]);
        for link in links.as_array().into_iter().flatten() {
            facts.link(link);
        }
        let of_interfaces =
            facts.interfaces.iter().flat_map(|name| OF_INTERFACES.map(|key| key.replace("{}", name)));
        for key in SYSCTLS.map(str::to_owned).into_iter().chain(of_interfaces) {
            if let Some(value) = proc.sysctl(&key).ok().and_then(|value| value.parse().ok()) {
                facts.sysctls.insert(key, value);
            }
        }
        for (ip, family) in [(Ip::V4, "-4"), (Ip::V6, "-6")] {
            let routes = facts.ask("ip", &[family, "-json", "route", "show", "default"]);
            let devices = routes.as_array().into_iter().flatten().filter_map(|route| route["dev"].as_str());
            facts.default_routes.insert(ip, devices.map(str::to_owned).collect());
        }
        match foreign::unreachable(&backends) {
            Ok(unreachable) => facts.unreachable = unreachable,
            Err(why) => facts.blind.push(why),
        }
        match foreign::run("ss", &["-Hltnp"]) {
            Ok(sockets) => facts.listening = sockets::listening(&sockets),
            Err(why) => facts.blind.push(why),
        }
        let (dropping, blind) = foreign::dropping();
        facts.dropping = dropping;
        facts.blind.extend(blind);
        facts
    }

    fn link(&mut self, link: &Value) {
        let flags = link["flags"].as_array().into_iter().flatten();
        let name = link["ifname"].as_str().filter(|_| flags.clone().all(|flag| flag != "LOOPBACK"));
        self.interfaces.extend(name.map(str::to_owned));
        self.has_bridge |= link["linkinfo"]["info_kind"] == "bridge";
        let addresses = link["addr_info"].as_array().into_iter().flatten();
        let is_port = !link["master"].is_null() && link["linkinfo"]["info_slave_kind"] != "vrf";
        let has_ipv6 =
            addresses.clone().any(|address| address["family"] == "inet6" && address["scope"] == "link");
        self.learning.extend(name.filter(|_| has_ipv6 && !is_port).map(str::to_owned));
        let parsed = addresses.filter_map(|address| address["local"].as_str()?.parse().ok());
        self.addresses.extend(parsed.collect::<Vec<IpAddr>>());
    }

    /// Runs a program that prints JSON.
    fn ask(&mut self, program: &str, arguments: &[&str]) -> Value {
        let asked = foreign::run(program, arguments).and_then(|text| match text.is_empty() {
            true => Ok(Value::Null),
            false => serde_json::from_str(&text).map_err(|error| format!("{program}: {error}")),
        });
        asked.unwrap_or_else(|why| {
            self.blind.push(why);
            Value::Null
        })
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
