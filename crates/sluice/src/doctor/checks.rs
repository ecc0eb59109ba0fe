//! What follows from facts for services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sluice_api::Timestamp;
use sluice_core::model::{Address, Config, Forwarding, Listener, Midstream, Service, ServiceName, Source};
use sluice_nft::Ip;
use sluiced::host::forwarding::versions;

use super::{Facts, Finding, Severity};
use crate::text::safe;

/// Fraction of the connection tracking table from which it is too full.
const FULL: f64 = 0.8;

/// Everything that breaks these services, or may, the worst first.
pub(crate) fn findings(config: &Config, facts: &Facts, now: Timestamp) -> Vec<Finding> {
    let mut findings = Findings(vec![]);
    findings.enabled(config);
    findings.forwarding(config, facts);
    findings.dropping(config, facts);
    findings.management(config, facts);
    findings.addresses(config, facts);
    findings.routes(config, facts);
    findings.return_path(config, facts);
    findings.bridges(facts);
    findings.conntrack(facts);
    findings.midstream(config, facts);
    findings.source_ports(facts);
    findings.foreign(facts, now);
    for why in &facts.blind {
        findings.add(Severity::Warning, format!("could not look everywhere: {why}"), None);
    }
    findings.0.sort_by_key(|finding| finding.severity);
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    /// Names of interfaces, tables and programs are chosen by others: what would move the cursor is spelt out, and there
    /// is no command where the shell would make something else of it.
    fn add(&mut self, severity: Severity, finding: impl Into<String>, command: Option<String>) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || " ._-/:=[]".contains(c);
        let command = command.filter(|command| command.chars().all(is_plain));
        self.0.push(Finding { severity, finding: safe(&finding.into()).into_owned(), command });
    }

    fn enabled(&mut self, config: &Config) {
        if !config.services.is_empty() && enabled(config).next().is_none() {
            let what = "no service is enabled: nothing of the file is in the kernel";
            self.add(Severity::Warning, what, None);
        }
    }

    fn management(&mut self, config: &Config, facts: &Facts) {
        for (name, service) in enabled(config) {
            for listener in &service.listeners {
                let is_own = |address: &IpAddr| facts.addresses.contains(address);
                let mut ssh = facts.listening.iter().filter(|socket| socket.is_ssh);
                if let Some(ssh) = ssh.find(|socket| socket.is_taken_by(listener, is_own)) {
                    let what = format!(
                        "{name}: {listener} takes connections to port {} of this machine, where an SSH server listens: \
                         new ones go to the backends",
                        ssh.port
                    );
                    self.add(Severity::Warning, what, None);
                }
            }
        }
    }

    fn forwarding(&mut self, config: &Config, facts: &Facts) {
        for ip in versions(&*config.services) {
            let (key, sysctl, version) = match ip {
                Ip::V4 => ("net/ipv4/ip_forward", "net.ipv4.ip_forward", "IPv4"),
                Ip::V6 => ("net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding", "IPv6"),
            };
            if facts.sysctls.get(key) == Some(&0) {
                let will = config.forwarding == Forwarding::Manage && facts.foreign.is_none();
                let (severity, then) = match will {
                    true => (Severity::Note, "sluiced switches it on when it starts"),
                    false => (Severity::Error, "no packet reaches a backend"),
                };
                let what = format!("{version} forwarding is off: {then}");
                self.add(severity, what, Some(format!("sysctl -w {sysctl}=1")));
            }
            let has_default = facts.default_routes.get(&ip).is_some_and(|devices| !devices.is_empty());
            if ip == Ip::V6 && facts.sysctls.get(key) == Some(&1) && !has_default {
                for name in facts.learning.iter().filter(|name| facts.of(name, "ipv6", "accept_ra") == 1) {
                    let what = format!(
                        "{name} ignores router advertisements while IPv6 forwarding is on: no default route is learnt there"
                    );
                    let mend = set(&format!("net/ipv6/conf/{name}/accept_ra"), 2);
                    self.add(Severity::Note, what, Some(mend));
                }
            }
        }
    }

    fn dropping(&mut self, config: &Config, facts: &Facts) {
        let versions = versions(&*config.services);
        for dropping in &facts.dropping {
            if dropping.version.is_some_and(|version| !versions.contains(&version)) {
                continue;
            }
            let (severity, then) = match dropping.is_certain {
                true => (Severity::Error, "no packet reaches a backend, whatever sluice accepts"),
                false => {
                    (Severity::Warning, "unless one of its rules accepts them, no packets reach a backend")
                }
            };
            let what = format!("{} drops what passes through: {then}", dropping.chain);
            self.add(severity, what, Some(dropping.accept.clone()));
        }
    }

    fn addresses(&mut self, config: &Config, facts: &Facts) {
        let mut elsewhere: BTreeMap<(IpAddr, bool), Vec<&ServiceName>> = BTreeMap::new();
        let mut sources: BTreeMap<IpAddr, Vec<&ServiceName>> = BTreeMap::new();
        for (name, service) in enabled(config) {
            let interface = service.interface.as_ref();
            if let Some(interface) = interface.filter(|it| !facts.interfaces.contains(it.as_str())) {
                let what = format!("{name}: there is no interface {interface}: nothing arrives there");
                self.add(Severity::Error, what, Some("ip -brief link".to_owned()));
            }
            let listeners = service.listeners.iter().filter_map(|listener| exact(listener.address));
            let own: BTreeSet<IpAddr> =
                listeners.filter(|address| !facts.addresses.contains(address)).collect();
            own.into_iter().for_each(|it| elsewhere.entry((it, service.synproxy)).or_default().push(name));
            if let Source::Addresses(first, last) = service.source {
                let ends = BTreeSet::from([first, last]);
                let missing = ends.into_iter().filter(|address| !facts.addresses.contains(address));
                missing.for_each(|address| sources.entry(address).or_default().push(name));
            }
        }
        for ((address, synproxy), services) in elsewhere {
            let names = names(&services);
            if synproxy {
                let what = format!(
                    "{names}: {address} is on no interface: the host answers handshakes only where a route leads to it"
                );
                self.add(Severity::Warning, what, Some(format!("ip address add {address} dev lo")));
            } else {
                let what = format!(
                    "{names}: {address} is on no interface: only what routers send here for it arrives (right where VRRP \
                     brings the address, and on its standby)"
                );
                let device = facts.default_routes.get(&Ip::of(address)).and_then(|devices| devices.first());
                let device = device.map_or("DEVICE", String::as_str);
                self.add(Severity::Note, what, Some(format!("ip address add {address} dev {device}")));
            }
        }
        for (address, services) in sources {
            let names = names(&services);
            let what = format!(
                "{names}: its source {address} is on no interface: answers of backends do not come back"
            );
            self.add(Severity::Error, what, Some(format!("ip address add {address} dev DEVICE")));
        }
    }

    fn routes(&mut self, config: &Config, facts: &Facts) {
        for (name, service) in enabled(config) {
            let lost = service.backends.iter().filter(|it| facts.unreachable.contains(&it.address));
            let lost: Vec<_> = lost.collect();
            let Some(first) = lost.first() else { continue };
            let others = match lost.len() - 1 {
                0 => String::new(),
                others => format!(" and to {others} more of its backends"),
            };
            let what = format!("{name}/{}: no route leads there{others}: connections fail", first.name);
            self.add(Severity::Error, what, Some(format!("ip route add {} via GATEWAY", first.address)));
        }
        for ip in versions(&*config.services) {
            if facts.default_routes.get(&ip).is_some_and(|devices| devices.is_empty()) {
                let version = if ip == Ip::V4 { "IPv4" } else { "IPv6" };
                let what = format!(
                    "there is no {version} default route: clients beyond the networks of this host get no answer"
                );
                let flag = if ip == Ip::V4 { "" } else { "-6 " };
                self.add(Severity::Warning, what, Some(format!("ip {flag}route add default via GATEWAY")));
            }
        }
    }

    /// The kernel takes the larger of the two settings.
    fn return_path(&mut self, config: &Config, facts: &Facts) {
        let all = facts.sysctls.get("net/ipv4/conf/all/rp_filter").copied().unwrap_or(0);
        let Some(defaults) =
            facts.default_routes.get(&Ip::V4).filter(|_| versions(&*config.services).contains(&Ip::V4))
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
                    "rp_filter is strict on {name}: clients whose route back leaves elsewhere are dropped without a trace"
                );
                let mend = set(&format!("net/ipv4/conf/{name}/rp_filter"), 2);
                self.add(Severity::Warning, what, Some(mend));
            }
        }
    }

    fn bridges(&mut self, facts: &Facts) {
        for key in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
            if facts.has_bridge && facts.sysctls.get(&format!("net/bridge/{key}")) == Some(&1) {
                let what = format!(
                    "{key} is on and there is a bridge: what its ports send each other is translated inside of it, and \
                     a client or backend behind one of them cannot reach a service with backends behind it"
                );
                self.add(Severity::Error, what, Some(format!("sysctl -w net.bridge.{key}=0")));
            }
        }
    }

    fn conntrack(&mut self, facts: &Facts) {
        let of = |key: &str| facts.sysctls.get(&format!("net/netfilter/{key}")).copied();
        if let (Some(count), Some(most)) = (of("nf_conntrack_count"), of("nf_conntrack_max"))
            && most > 0
            && count as f64 >= FULL * most as f64
        {
            let severity = if count >= most { Severity::Error } else { Severity::Warning };
            let what = format!(
                "{count} of {most} connections are tracked: when the table is full, new ones are dropped"
            );
            self.add(severity, what, Some(format!("sysctl -w net.netfilter.nf_conntrack_max={}", 4 * most)));
        }
    }

    /// conntrack calls packets of TCP connections that it does not know invalid, and not new, where a sysctl says so.
    fn midstream(&mut self, config: &Config, facts: &Facts) {
        if facts.sysctls.get("net/netfilter/nf_conntrack_tcp_loose") != Some(&0) {
            return;
        }
        let command = || Some("sysctl -w net.netfilter.nf_conntrack_tcp_loose=1".to_owned());
        let (mut adopting, mut dropping) = (vec![], vec![]);
        for (name, service) in enabled(config) {
            let mut listeners = service.listeners.iter().filter(|it| it.protocol.has_midstream());
            let is_own = |address: &IpAddr| facts.addresses.contains(address);
            let is_shared = |listener: &Listener| {
                facts.listening.iter().any(|socket| socket.is_taken_by(listener, is_own))
            };
            let drops = service.guard.as_ref().is_some_and(|guard| guard.drop_invalid);
            match service.midstream {
                Midstream::Adopt if listeners.next().is_some() => adopting.push(name),
                Midstream::Ignore if drops && !service.synproxy && listeners.any(is_shared) => {
                    dropping.push(name);
                }
                Midstream::Adopt | Midstream::Ignore => {}
            }
        }
        if !adopting.is_empty() {
            let what = format!(
                "{}: `midstream: adopt` adopts no connection while nf_conntrack_tcp_loose is 0: conntrack calls its packets \
                 invalid, and nothing translates them",
                names(&adopting)
            );
            self.add(Severity::Warning, what, command());
        }
        if !dropping.is_empty() {
            let what = format!(
                "{}: a program of this machine listens there, and while nf_conntrack_tcp_loose is 0, `invalid: drop` drops \
                 the connections that it had before conntrack began: until they have ended, write `invalid: accept`",
                names(&dropping)
            );
            self.add(Severity::Warning, what, command());
        }
    }

    fn source_ports(&mut self, facts: &Facts) {
        for (backend, used) in &facts.scarce {
            let percent = 100.0 * used;
            let what = format!(
                "{backend}: {percent:.0} % of the source ports towards it are in use: without one, new connections fail; \
                 give its service a range of addresses (source: FIRST-LAST)"
            );
            self.add(Severity::Warning, what, Some("ip -brief address".to_owned()));
        }
    }

    fn foreign(&mut self, facts: &Facts, now: Timestamp) {
        if let Some(foreign) = &facts.foreign
            && let Some(last) = &foreign.last
        {
            let seconds = now.duration_since(last.at).as_secs().max(0) as u32;
            let what = format!(
                "{} (pid {}) changed the table {seconds} s ago, {} times in all: sluiced put it right each time, but \
                 connections may have failed",
                last.process, last.pid, foreign.total
            );
            self.add(Severity::Warning, what, None);
        }
    }
}

/// Services that are in the kernel.
fn enabled(config: &Config) -> impl Iterator<Item = (&ServiceName, &Service)> {
    config.services.iter().filter(|(_, service)| service.enabled)
}

/// Some names of services, and how many more there are.
fn names(services: &[&ServiceName]) -> String {
    let some: Vec<_> = services.iter().take(3).map(|name| name.as_str()).collect();
    match services.len() - some.len() {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

/// The command that sets a sysctl; names of interfaces may hold dots, which only paths tell from others.
fn set(path: &str, value: u64) -> String {
    format!("sysctl -w {path}={value}")
}

impl Facts {
    /// A setting of an interface, 0 if there is none.
    fn of(&self, name: &str, family: &str, key: &str) -> u64 {
        self.sysctls.get(&format!("net/{family}/conf/{name}/{key}")).copied().unwrap_or(0)
    }
}

fn exact(address: Address) -> Option<IpAddr> {
    match address {
        Address::Exact(address) => Some(address),
        Address::Any => None,
    }
}
