//! The checks: findings from facts about the host.

use std::net::IpAddr;

use sluice_api::Timestamp;
use sluice_core::model::{Config, Forwarding, Listener, Midstream, Probe, Service, ServiceName};
use sluice_nft::Ip;
use sluiced::reconcile::forwarding::versions;

use super::findings::{Findings, enabled, names, set};
use super::{Facts, Finding, Severity};

/// Fraction of conntrack entries in use that is a finding.
const FULL: f64 = 0.8;

/// All findings for these services, by severity.
pub(crate) fn findings(config: &Config, facts: &Facts, now: Timestamp) -> Vec<Finding> {
    let mut findings = Findings(vec![]);
    findings.enabled(config);
    findings.forwarding(config, facts);
    findings.conflicts(config, facts);
    findings.management(config, facts);
    findings.addresses(config, facts);
    findings.announced(config, facts);
    findings.routes(config, facts);
    findings.return_path(config, facts);
    findings.uplinks(config, facts);
    findings.bridges(facts);
    findings.conntrack(facts);
    findings.midstream(config, facts);
    findings.source_ports(facts);
    findings.sctp(config, facts);
    findings.foreign(facts, now);
    findings.daemon(facts, now);
    findings.units(facts);
    findings.peers(facts);
    for why in &facts.blind {
        findings.add(Severity::Warning, format!("some checks could not run: {why}"), None);
    }
    findings.0.sort_by_key(|finding| finding.severity);
    findings.0
}

impl Findings {
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
            let has_default = facts.routes.default.get(&ip).is_some_and(|devices| !devices.is_empty());
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
