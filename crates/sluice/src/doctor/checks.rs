//! The checks: findings from facts about the host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sluice_api::Timestamp;
use sluice_core::model::{
    Address, Config, Forwarding, Listener, Midstream, Probe, Service, ServiceName, Source,
};
use sluice_nft::Ip;
use sluiced::reconcile::forwarding::versions;

use super::{Facts, Finding, Severity};
use crate::text::safe;

/// Fraction of conntrack entries in use that is a finding.
const FULL: f64 = 0.8;

/// All findings for these services, by severity.
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
    findings.sctp(config, facts);
    findings.foreign(facts, now);
    for why in &facts.blind {
        findings.add(Severity::Warning, format!("some checks could not run: {why}"), None);
    }
    findings.0.sort_by_key(|finding| finding.severity);
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    /// Names of interfaces, tables and programs are untrusted: control characters are escaped, and a command with shell
    /// metacharacters is left out.
    fn add(&mut self, severity: Severity, finding: impl Into<String>, command: Option<String>) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || " ._-/:=[]".contains(c);
        let command = command.filter(|command| command.chars().all(is_plain));
        self.0.push(Finding { severity, finding: safe(&finding.into()).into_owned(), command });
    }

    fn enabled(&mut self, config: &Config) {
        if !config.services.is_empty() && enabled(config).next().is_none() {
            let what = "no service is enabled: the ruleset has no services";
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
                        "{name}: {listener} takes port {} of this host, where an SSH server listens: new SSH connections go to the \
                         backends",
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
                    true => (Severity::Note, "sluiced enables it when it starts"),
                    false => (Severity::Error, "no packet reaches a backend"),
                };
                let what = format!("{version} forwarding is disabled: {then}");
                self.add(severity, what, Some(format!("sysctl -w {sysctl}=1")));
            }
            let has_default = facts.default_routes.get(&ip).is_some_and(|devices| !devices.is_empty());
            if ip == Ip::V6 && facts.sysctls.get(key) == Some(&1) && !has_default {
                for name in facts.learning.iter().filter(|name| facts.of(name, "ipv6", "accept_ra") == 1) {
                    let what = format!(
                        "{name} ignores router advertisements while IPv6 forwarding is enabled: it learns no default route"
                    );
                    let fix = set(&format!("net/ipv6/conf/{name}/accept_ra"), 2);
                    self.add(Severity::Note, what, Some(fix));
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
                true => (Severity::Error, "no packet reaches a backend"),
                false => (Severity::Warning, "packets reach a backend only if one of its rules accepts them"),
            };
            let what = format!("{} drops forwarded packets: {then}", dropping.chain);
            self.add(severity, what, Some(dropping.accept.clone()));
        }
    }

    fn addresses(&mut self, config: &Config, facts: &Facts) {
        let mut elsewhere: BTreeMap<(IpAddr, bool), Vec<&ServiceName>> = BTreeMap::new();
        let mut sources: BTreeMap<IpAddr, Vec<&ServiceName>> = BTreeMap::new();
        for (name, service) in enabled(config) {
            let interface = service.interface.as_ref();
            if let Some(interface) = interface.filter(|it| !facts.interfaces.contains(it.as_str())) {
                let what =
                    format!("{name}: interface {interface} does not exist: the service gets no packets");
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
                    "{names}: {address} is on no interface: this host completes handshakes only if a route leads to it"
                );
                self.add(Severity::Warning, what, Some(format!("ip address add {address} dev lo")));
            } else {
                let what = format!(
                    "{names}: {address} is on no interface: only packets that routers send here arrive (expected if VRRP \
                     manages the address, also on the standby)"
                );
                let device = facts.default_routes.get(&Ip::of(address)).and_then(|devices| devices.first());
                let device = device.map_or("DEVICE", String::as_str);
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

    fn routes(&mut self, config: &Config, facts: &Facts) {
        for (name, service) in enabled(config) {
            let lost = service.backends.iter().filter(|it| facts.unreachable.contains(&it.address));
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
            if facts.default_routes.get(&ip).is_some_and(|devices| devices.is_empty()) {
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
                    "rp_filter is strict on {name}: packets of clients whose return route uses another interface are dropped silently"
                );
                let fix = set(&format!("net/ipv4/conf/{name}/rp_filter"), 2);
                self.add(Severity::Warning, what, Some(fix));
            }
        }
    }

    fn bridges(&mut self, facts: &Facts) {
        for key in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
            if facts.has_bridge && facts.sysctls.get(&format!("net/bridge/{key}")) == Some(&1) {
                let what = format!(
                    "{key} is enabled and this host has a bridge: packets between its ports are translated inside the bridge, and a \
                     client or backend behind it cannot reach a service with backends behind it"
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
                "conntrack has {count} of {most} entries: when it is full, new connections are dropped"
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
                "{backend}: {percent:.0} % of the source ports to it are in use: new connections fail when none is free; set a \
                 range of addresses in its service (source: FIRST-LAST)"
            );
            self.add(Severity::Warning, what, Some("ip -brief address".to_owned()));
        }
    }

    fn sctp(&mut self, config: &Config, facts: &Facts) {
        if facts.has_sctp == Some(false) {
            let services: Vec<_> = probed_by_sctp(config).collect();
            let what = format!(
                "{}: the kernel has no SCTP sockets, so no backend is probed, and their health does not change",
                names(&services)
            );
            self.add(Severity::Error, what, Some("modprobe sctp".to_owned()));
        }
    }

    fn foreign(&mut self, facts: &Facts, now: Timestamp) {
        if let Some(foreign) = &facts.foreign
            && let Some(last) = &foreign.last
        {
            let seconds = now.duration_since(last.at).as_secs().max(0) as u32;
            let what = format!(
                "{} (pid {}) changed the table {seconds} s ago, {} times in total: sluiced repaired it each time, but connections \
                 may have failed",
                last.process, last.pid, foreign.total
            );
            self.add(Severity::Warning, what, None);
        }
    }
}

/// Services whose probes need SCTP sockets.
pub(crate) fn probed_by_sctp(config: &Config) -> impl Iterator<Item = &ServiceName> {
    let is_sctp = |service: &Service| service.health.as_ref().is_some_and(|check| check.probe == Probe::Sctp);
    enabled(config).filter(move |(_, service)| is_sctp(service)).map(|(name, _)| name)
}

/// Enabled services.
fn enabled(config: &Config) -> impl Iterator<Item = (&ServiceName, &Service)> {
    config.services.iter().filter(|(_, service)| service.enabled)
}

/// Up to three names of services, and the number of others.
fn names(services: &[&ServiceName]) -> String {
    let some: Vec<_> = services.iter().take(3).map(|name| name.as_str()).collect();
    match services.len() - some.len() {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

/// The command that sets a sysctl, by path: names of interfaces may contain dots.
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
