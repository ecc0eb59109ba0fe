//! A test bed for one ruleset: namespaces of a client, a balancer and a sink.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sluice_core::plan::diff;
use sluice_netlink::Netlink;
use sluice_nft::Dataplane;
use sluice_testkit::{Datagram, Flood, Namespace};

use super::pool::{BACKEND_PORT, BACKENDS, CLIENTS, LISTENERS, PORT, Pool};
use super::shape::{Ruleset, Shape};

/// Source address of the balancer.
const BALANCER: &str = "172.16.0.1";

/// ```text
///  client eth0 --- eth0 balancer eth1 --- eth0 sink
/// ```
///
/// The client's frames come from a packet socket, and the sink drops at ingress, so that the balancer's
/// part is all that differs between two beds.
pub(super) struct Bed {
    flood: Flood,
    balancer: Namespace,
    sink: Namespace,
    // Owns the namespaces and their links.
    _client: Namespace,
}

impl Bed {
    /// Creates the namespaces and loads a ruleset; returns the duration of the load, too.
    pub(super) fn new(pool: Pool, shape: Shape, core: usize) -> anyhow::Result<(Self, Duration)> {
        let (client, balancer, sink) = (Namespace::new(), Namespace::new(), Namespace::new());
        balancer.ip(&format!(
            "link add eth0 address 02:00:00:00:00:02 type veth peer name eth0 netns {}\n\
             link add eth1 type veth peer name eth0 address 02:00:00:00:00:04 netns {}\n\
             link set eth0 up\nlink set eth1 up\n\
             address add 192.0.2.1/24 dev eth0\naddress add {BALANCER}/30 dev eth1\n\
             neighbour add 172.16.0.2 lladdr 02:00:00:00:00:04 nud permanent dev eth1\n\
             neighbour add 192.0.2.2 lladdr 02:00:00:00:00:01 nud permanent dev eth0",
            client.netns(),
            sink.netns()
        ));
        client.ip("link set eth0 up");
        sink.ip("link set eth0 up");
        balancer.ip(&format!(
            "route add {CLIENTS} via 192.0.2.2\nroute add {BACKENDS} via 172.16.0.2\n\
             route add {LISTENERS} via 172.16.0.2"
        ));
        balancer.set_sysctl("net/ipv4/ip_forward", "1");
        sink.nft(&format!(
            "table netdev sink {{\ncounter translated {{ }}\nchain ingress {{\n\
             type filter hook ingress device eth0 priority 0; policy drop;\n\
             {} counter name translated drop\n}}\n}}",
            translated(shape)
        ));
        let took = load(&balancer, shape.ruleset(pool)?)?;
        let flood = if shape.protocol() == "tcp" { Flood::of_syns } else { Flood::new };
        let flood = flood(&client, "eth0", [2, 0, 0, 0, 0, 2], core);
        Ok((Bed { flood, balancer, sink, _client: client }, took))
    }

    /// Sends one datagram per flow; returns the time of each batch, divided by its number of datagrams.
    pub(super) fn flood(&mut self, flows: &[Datagram]) -> anyhow::Result<Vec<Duration>> {
        let before = self.translated()?;
        let times = self.flood.send(flows);
        let translated = self.translated()? - before;
        ensure!(translated == flows.len() as u64, "{translated} of {} flows were translated", flows.len());
        Ok(times)
    }

    /// The namespace with the ruleset.
    pub(super) fn balancer(&self) -> &Namespace {
        &self.balancer
    }

    /// Deletes all conntrack entries of the balancer.
    pub(super) fn forget_flows(&self) {
        self.balancer.sh("conntrack -F 2>&1");
    }

    fn translated(&self) -> anyhow::Result<u64> {
        let listed = self.sink.sh("nft list counter netdev sink translated");
        let mut words = listed.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        words.next().and_then(|count| count.parse().ok()).with_context(|| format!("no count in {listed}"))
    }
}

/// The expected counters of the sink.
fn translated(shape: Shape) -> String {
    if shape == Shape::Forward {
        return format!("ip saddr {CLIENTS} ip daddr {LISTENERS} udp dport {PORT}");
    }
    let protocol = shape.protocol();
    let source = if shape.masquerades() { BALANCER } else { CLIENTS };
    format!("ip saddr {source} ip daddr {BACKENDS} {protocol} dport {BACKEND_PORT}")
}

fn load(balancer: &Namespace, ruleset: Ruleset) -> anyhow::Result<Duration> {
    match ruleset {
        Ruleset::Text(text) => {
            let start = Instant::now();
            balancer.nft(&text);
            Ok(start.elapsed())
        }
        Ruleset::Sluice(rendered) => balancer.run(|| {
            let mut netlink = Netlink::open()?;
            let plan = diff(None, Some(&rendered.table), &rendered.owners);
            let start = Instant::now();
            for batch in &plan.batches {
                netlink.commit(&batch.steps(), None)?;
            }
            Ok(start.elapsed())
        }),
    }
}
