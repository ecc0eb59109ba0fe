//! Findings about addresses and routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sluice_core::model::{Address, Config, ServiceName, Source};
use sluice_nft::Ip;
use sluiced::reconcile::forwarding::versions;

use super::findings::{Findings, enabled, names, set};
use super::{Facts, Severity};

impl Findings {
    pub(super) fn addresses(&mut self, config: &Config, facts: &Facts) {
        let mut elsewhere: BTreeMap<(IpAddr, bool), Vec<&ServiceName>> = BTreeMap::new();
        let mut sources: BTreeMap<IpAddr, Vec<&ServiceName>> = BTreeMap::new();
        let floating = facts.peers.addresses();
        for (name, service) in enabled(config) {
            let interface = service.interface.as_ref();
            if let Some(interface) = interface.filter(|it| !facts.interfaces.contains(it.as_str())) {
                let what =
                    format!("{name}: interface {interface} does not exist: the service gets no packets");
                self.add(Severity::Error, what, Some("ip -brief link".to_owned()));
            }
            let listeners = service.listeners.iter().filter_map(|listener| exact(listener.address));
            let away: BTreeSet<IpAddr> =
                listeners.filter(|it| !facts.ends_here(it) && !floating.contains(it)).collect();
            // The daemon adds those that it announces.
            let away = away.into_iter().filter(|_| !service.announce);
            away.for_each(|it| elsewhere.entry((it, service.synproxy)).or_default().push(name));
            if let Source::Addresses(first, last, _) = service.source {
                let ends = BTreeSet::from([first, last]);
                let is_here = |it: &IpAddr| facts.addresses.contains(it) || floating.contains(it);
                let missing = ends.into_iter().filter(|address| !is_here(address));
                missing.for_each(|address| sources.entry(address).or_default().push(name));
            }
        }
        for ((address, synproxy), services) in elsewhere {
            let names = names(&services);
            if synproxy {
                let what = format!(
                    "{names}: {address} is on no interface: this host completes handshakes only if a route leads to it"
                );
                self.add(Severity::Warning, what, Some(format!("ip address add {address} dev lo")));
            } else {
                let what = format!(
                    "{names}: {address} is on no interface: only packets that routers send here arrive, and those to its other \
                     ports are forwarded again until their TTL ends (expected if VRRP manages the address, also on the standby)"
                );
                let device = facts.interface_to(address).unwrap_or("lo");
                self.add(Severity::Note, what, Some(format!("ip address add {address} dev {device}")));
            }
        }
        for (address, services) in sources {
            let names = names(&services);
            let what =
                format!("{names}: source {address} is on no interface: replies of backends do not return");
            self.add(Severity::Error, what, Some(format!("ip address add {address} dev DEVICE")));
        }
    }

    pub(super) fn routes(&mut self, config: &Config, facts: &Facts) {
        for (name, service) in enabled(config) {
            let lost = service.backends.iter().filter(|it| facts.routes.unreachable.contains(&it.address));
            let lost: Vec<_> = lost.collect();
            let Some(first) = lost.first() else { continue };
            let others = match lost.len() - 1 {
                0 => String::new(),
                others => format!(" (and {others} more of its backends)"),
            };
            let what = format!("{name}/{}{others} has no route: connections fail", first.name);
            self.add(Severity::Error, what, Some(format!("ip route add {} via GATEWAY", first.address)));
        }
        for ip in versions(&*config.services) {
            if facts.routes.default.get(&ip).is_some_and(|devices| devices.is_empty()) {
                let version = if ip == Ip::V4 { "IPv4" } else { "IPv6" };
                let what = format!(
                    "no {version} default route: clients outside the networks of this host get no reply"
                );
                let flag = if ip == Ip::V4 { "" } else { "-6 " };
                self.add(Severity::Warning, what, Some(format!("ip {flag}route add default via GATEWAY")));
            }
        }
    }

    /// The kernel takes the larger of the two settings.
    pub(super) fn return_path(&mut self, config: &Config, facts: &Facts) {
        let all = facts.sysctls.get("net/ipv4/conf/all/rp_filter").copied().unwrap_or(0);
        let Some(defaults) =
            facts.routes.default.get(&Ip::V4).filter(|_| versions(&*config.services).contains(&Ip::V4))
        else {
            return;
        };
        let is_entrance = |name: &str| {
            let mut services = config.services.values().filter(|service| service.enabled);
            services.any(|service| service.interface.as_ref().is_some_and(|it| it.as_str() == name))
        };
        for name in &facts.interfaces {
            let strict = all.max(facts.of(name, "ipv4", "rp_filter")) == 1;
            let lost = match defaults.contains(name) {
                true => defaults.len() > 1,
                false => is_entrance(name),
            };
            if strict && lost {
                let what = format!(
                    "rp_filter is strict on {name}: packets of clients whose return route uses another interface are dropped silently"
                );
                let fix = set(&format!("net/ipv4/conf/{name}/rp_filter"), 2);
                self.add(Severity::Warning, what, Some(fix));
            }
        }
    }

    /// Replies of backends are routed before their source is translated back, so that source addresses of `ip rule` do not
    /// apply to them.
    pub(super) fn uplinks(&mut self, config: &Config, facts: &Facts) {
        for ip in versions(&*config.services) {
            let uplinks = facts.routes.uplinks.get(&ip).into_iter().flatten();
            let apart = |one: &BTreeSet<String>| uplinks.clone().any(|other| one.is_disjoint(other));
            if facts.routes.by_mark.get(&ip) == Some(&true) || !uplinks.clone().any(apart) {
                continue;
            }
            let devices: BTreeSet<_> = uplinks.clone().flatten().collect();
            let devices: Vec<_> = devices.into_iter().collect();
            let version = if ip == Ip::V4 { "IPv4" } else { "IPv6" };
            let what = format!(
                "{version} default routes lead to {}: replies leave by the route to the client, also if its packets arrived by \
                 another interface, and also with `ip rule from`: mark the connections (Two uplinks, docs/operations.md)",
                names(&devices)
            );
            self.add(Severity::Warning, what, Some("ip rule show".to_owned()));
        }
    }
}

impl Facts {
    /// Whether packets to an address end on this host.
    fn ends_here(&self, address: &IpAddr) -> bool {
        let routes = &self.routes;
        [&self.addresses, &routes.local, &routes.sinks].iter().any(|set| set.contains(address))
    }
}

fn exact(address: Address) -> Option<IpAddr> {
    match address {
        Address::Exact(address) => Some(address),
        Address::Any => None,
    }
}
