//! Services of any number for benchmarks, and flows to all of them.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use anyhow::anyhow;
use sluice_core::model::Services;
use sluice_core::render::{Rendered, render};
use sluice_testkit::Datagram;

/// Number of flows with different addresses and ports, so that masquerading to one address can keep all
/// ports.
pub(super) const MAX_FLOWS: u32 = 64_000;
/// Network of all listeners.
pub(super) const LISTENERS: &str = "100.64.0.0/10";
/// Network of all backends.
pub(super) const BACKENDS: &str = "10.0.0.0/8";
/// Network of all clients.
pub(super) const CLIENTS: &str = "198.18.0.0/15";
/// Port of all listeners.
pub(super) const PORT: u16 = 80;
/// Port of all backends.
pub(super) const BACKEND_PORT: u16 = 8080;

/// Distance of services with consecutive flows, so that they are not neighbours in memory; prime, so that
/// flows reach all services.
const STRIDE: u64 = 7919;

#[derive(Clone, Copy)]
pub(super) struct Pool {
    pub(super) services: u32,
    /// Number of backends per service.
    pub(super) backends: u32,
}

impl Pool {
    /// Names and addresses of listeners and their backends, by service.
    pub(super) fn services(self) -> impl Iterator<Item = (Ipv4Addr, Vec<Ipv4Addr>)> {
        (0..self.services).map(move |service| {
            let first = service * self.backends;
            let backends = (first..first + self.backends).map(|n| address([10, 0, 0, 1], n)).collect();
            (listener(service), backends)
        })
    }

    /// Datagrams of flows to the services in turn.
    pub(super) fn flows(self) -> impl Iterator<Item = Datagram> {
        (0..MAX_FLOWS).map(move |n| {
            let service = (u64::from(n) * STRIDE % u64::from(self.services)) as u32;
            let port = 1024 + u16::try_from(n).expect("there are fewer than ports");
            Datagram {
                source: SocketAddrV4::new(address([198, 18, 0, 1], n), port),
                destination: SocketAddrV4::new(listener(service), PORT),
            }
        })
    }

    /// The ruleset of sluice for these services; `scheduler`, and `source` with any further keys, are text as
    /// in the configuration.
    pub(super) fn render(self, scheduler: &str, source: &str, protocol: &str) -> anyhow::Result<Rendered> {
        Ok(render(&self.load(scheduler, source, protocol)?, None))
    }

    /// The services of the configuration.
    pub(super) fn load(self, scheduler: &str, source: &str, protocol: &str) -> anyhow::Result<Arc<Services>> {
        let mut text = format!("defaults: {{ scheduler: {scheduler}, source: {source} }}\nservices:\n");
        for (n, (listener, backends)) in self.services().enumerate() {
            let backends: Vec<_> = backends.iter().map(|b| format!("{b}:{BACKEND_PORT}")).collect();
            let backends = backends.join(", ");
            writeln!(text, "  s{n}: {{ listen: {listener}:{PORT}/{protocol}, backends: [{backends}] }}")?;
        }
        let main = sluice_config::SourceFile { path: "bench.yaml".into(), text };
        let loaded = sluice_config::parse(main, |_| Ok(Vec::new()));
        Ok(loaded.map_err(|problems| anyhow!("{}", problems[0]))?.config.services)
    }
}

fn listener(service: u32) -> Ipv4Addr {
    address([100, 64, 0, 1], service)
}

fn address(first: [u8; 4], offset: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::from(first)) + offset)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn flows_to_many_services_reach_each_and_come_from_everywhere() {
        let pool = Pool { services: 20_000, backends: 4 };
        let flows: Vec<_> = pool.flows().collect();
        let to: BTreeSet<_> = flows.iter().take(20_000).map(|flow| flow.destination).collect();
        let ports: BTreeSet<_> = flows.iter().map(|flow| flow.source.port()).collect();
        assert_eq!(to.len(), 20_000);
        assert_eq!(ports.len(), MAX_FLOWS as usize);
    }
}
