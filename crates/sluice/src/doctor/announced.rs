//! Findings about announced addresses: every node has them, and routers choose one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use sluice_core::model::Config;

use super::findings::{Findings, set};
use super::{Facts, Severity};

impl Findings {
    /// Addresses that nodes announce and that neighbours ask for: each node would answer. The kernel takes the larger of two
    /// settings. With IPv6 a host gets questions only on the interface that has the address.
    pub(super) fn announced(&mut self, config: &Config, facts: &Facts) {
        let announced: BTreeSet<IpAddr> =
            config.services.values().flat_map(|service| service.announced()).collect();
        let all = facts.sysctls.get("net/ipv4/conf/all/arp_ignore").copied().unwrap_or(0);
        for address in announced.into_iter().filter(IpAddr::is_ipv4) {
            let Some(interface) = facts.interface_to(address) else { continue };
            if all.max(facts.of(interface, "ipv4", "arp_ignore")) == 0 {
                let what = format!(
                    "{address} is announced and in the network of {interface}: each node that announces it answers ARP requests for it; \
                     use an address outside of the networks of this host, or ignore these requests"
                );
                self.add(
                    Severity::Warning,
                    what,
                    Some(set(&format!("net/ipv4/conf/{interface}/arp_ignore"), 1)),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sluice_config::{SourceFile, parse};

    use super::*;

    #[test]
    fn announced_address_that_neighbours_ask_for_is_found() {
        let found = |listen: &str, announce: bool, arp_ignore: u64| {
            let text = format!(
                "services: {{web: {{listen: '{listen}', announce: {announce}, backends: ['10.0.2.11:80']}}}}"
            );
            let file = SourceFile { path: "sluice.yaml".into(), text };
            let config = parse(file, |_| unreachable!("no includes")).expect("it is valid").config;
            let facts = Facts {
                networks: vec![("203.0.113.2/24".parse().unwrap(), "eth0".to_owned())],
                sysctls: [("net/ipv4/conf/eth0/arp_ignore".to_owned(), arp_ignore)].into(),
                ..Facts::default()
            };
            let mut findings = Findings(vec![]);
            findings.announced(&config, &facts);
            findings.0.len()
        };
        assert_eq!(found("203.0.113.10:80", true, 0), 1);
        assert_eq!(found("203.0.113.10:80", true, 1), 0);
        assert_eq!(found("203.0.113.10:80", false, 0), 0);
        assert_eq!(found("192.0.2.10:80", true, 0), 0);
    }
}
