//! `midstream`: TCP packets of connections that conntrack does not know.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

use sluice_testkit::{Conversation, Lab, Namespace, eventually};

use crate::{FOUR, FOUR6};

const VIPS: [&str; 2] = ["203.0.113.10:80", "[2001:db8::10]:80"];

/// A lab whose balancer has the service addresses, like a host with a proxy.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.balancer.ip("address add 203.0.113.10/32 dev lo\naddress add 2001:db8::10/128 dev lo nodad");
    lab
}

/// The same with a program that serves both addresses, and six connections to it: five of remote clients, one of the
/// balancer itself.
fn beside_a_program() -> (Lab, Vec<Conversation>) {
    let lab = lab();
    VIPS.iter().for_each(|vip| lab.balancer.serve_on(vip));
    let mut open: Vec<_> = (0..5).map(|n| lab.client.open(VIPS[n % 2]).expect("a connection")).collect();
    open.push(lab.balancer.open(VIPS[0]).expect("a connection of the balancer"));
    open.iter_mut().for_each(talk);
    assert!(open.iter().all(|one| one.answer.backend == "balancer"));
    assert_eq!(lab.balancer.sysctl("net/netfilter/nf_conntrack_count"), "0", "nobody tracks connections");
    (lab, open)
}

fn talk(open: &mut Conversation) {
    assert_eq!(open.echo("still here").expect("the connection lives on"), "still here");
}

/// One service `web` on both addresses.
fn web(keys: &str) -> String {
    let backends = format!("[{}, {}]", FOUR.trim_matches(['[', ']']), FOUR6.trim_matches(['[', ']']));
    format!("services: {{web: {{listen: ['{}', '{}'], backends: {backends}, {keys}}}}}", VIPS[0], VIPS[1])
}

/// Operations on the balancer.
trait Balancer {
    /// Deletes all conntrack entries.
    fn forget(&self);

    /// Number of first packets that were translated for the first service.
    fn new_connections(&self) -> u64;
}

impl Balancer for Lab {
    fn forget(&self) {
        self.balancer.sh("conntrack -F 2>&1");
    }

    fn new_connections(&self) -> u64 {
        let status = self.sluice(&["status", "--json"]).expect(0).json();
        let backends = status["services"][0]["backends"].as_array().expect("a list").iter();
        backends.map(|backend| backend["connections_total"].as_u64().expect("a number")).sum()
    }
}

fn is_reset(result: &io::Result<String>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn connections_of_a_program_that_serves_the_address_live_on_while_sluice_starts_and_stops() {
    let (lab, mut open) = beside_a_program();
    let daemon = lab.start(&web(""));
    open.iter_mut().for_each(talk);
    for vip in VIPS {
        assert_eq!(lab.client.tcp_shares(40, vip), lab.even(10), "new connections go to the backends");
    }
    open.iter_mut().for_each(talk);
    assert!(daemon.stop().success());
    open.iter_mut().for_each(talk);
    assert_eq!(lab.client.tcp(VIPS[0]).expect("an answer").backend, "balancer");
}

#[test]
fn connections_of_a_program_end_where_a_service_adopts_them() {
    let (lab, mut open) = beside_a_program();
    // The client on the balancer keeps its connection.
    talk(&mut open[5]);
    let _daemon = lab.start(&web("midstream: adopt"));
    talk(&mut open[5]);
    for one in &mut open[..5] {
        let answer = one.echo("anybody?");
        assert!(is_reset(&answer), "{answer:?}");
    }
}

#[test]
fn connections_of_a_program_live_on_beside_services_of_every_kind() {
    let (lab, mut open) = beside_a_program();
    let service = |listen: &str, keys: &str| format!("{{listen: '{listen}', backends: {FOUR}{keys}}}");
    let adopts = ", scheduler: maglev, midstream: adopt";
    let exact = service(VIPS[0], "");
    let v6 = format!("v6: {{listen: '{}', backends: {FOUR6}}}", VIPS[1]);
    for services in [
        service(
            VIPS[0],
            ", deny: [192.0.2.1], invalid: accept, limits: {new_connections_per_client: 1/hour burst 1}",
        ),
        service(VIPS[0], ", affinity: 10m, source: auto"),
        service("*:80", ""),
        service("*:80", ", interface: eth0"),
        service("203.0.113.10:79-90", ""),
        // An adopting service gets no packets of one that ignores.
        format!("{exact}, any: {}", service("*:80", adopts)),
        format!("{exact}, on-eth0: {}", service("*:80", &format!("{adopts}, interface: eth0"))),
        format!("{exact}, other: {}", service("203.0.113.10:81", adopts)),
    ] {
        for loose in ["1", "0"] {
            lab.balancer.set_sysctl("net/netfilter/nf_conntrack_tcp_loose", loose);
            let daemon = lab.start(&format!("services: {{{v6}, web: {services}}}"));
            open.iter_mut().for_each(talk);
            for vip in VIPS {
                let answer = lab.client.tcp(vip).unwrap_or_else(|e| panic!("{services}: {e}"));
                assert_ne!(answer.backend, "balancer", "{services}");
            }
            Namespace::new().nft(&lab.ruleset());
            assert!(daemon.stop().success());
            lab.forget();
        }
    }
}

#[test]
fn connections_of_a_program_that_a_guard_drops_go_on_when_it_accepts_invalid_packets() {
    let (lab, mut open) = beside_a_program();
    lab.balancer.set_sysctl("net/netfilter/nf_conntrack_tcp_loose", "0");
    lab.configure(&web("deny: 192.0.2.1"));
    let told = lab.sluice(&["doctor"]).expect(3).stdout;
    assert!(told.contains("web: a program of this machine listens there"), "{told}");
    let mut daemon = lab.start(&web("deny: 192.0.2.1"));
    let lost = open[0].echo("still here").expect_err("its packets are dropped").kind();
    assert_eq!(lost, ErrorKind::WouldBlock);
    daemon.reload(&web("deny: 192.0.2.1, invalid: accept"));
    // Dropped packets are retransmitted.
    let answer = eventually("the connection goes on", || open[0].listen().ok());
    assert_eq!(answer, "still here\n");
    open.iter_mut().for_each(talk);
}

#[test]
fn connections_of_a_program_live_on_beside_a_service_without_backends() {
    let (lab, mut open) = beside_a_program();
    let _daemon = lab.start(&format!("services: {{web: {{listen: ['{}', '{}']}}}}", VIPS[0], VIPS[1]));
    open.iter_mut().for_each(talk);
    let refused = lab.client.tcp(VIPS[0]).expect_err("nobody serves").kind();
    assert_eq!(refused, ErrorKind::ConnectionRefused);
}

#[test]
fn connections_go_on_with_maglev_when_conntrack_has_forgotten_them() {
    let lab = lab();
    // Adopted connections do not count as new.
    let keys = "scheduler: maglev, hash: {on: [source-address, source-port]}, source: preserve, \
                limits: {new_connections: 1/hour burst 40}";
    let mut daemon = lab.start(&web(keys));
    let mut open: Vec<_> = (0..40).map(|n| lab.client.open(VIPS[n % 2]).expect("a connection")).collect();
    let backends: BTreeSet<_> = open.iter().map(|one| one.answer.backend.clone()).collect();
    assert_eq!(backends.len(), 4, "they are on all backends");
    for _ in 0..3 {
        lab.forget();
        open.iter_mut().for_each(talk);
    }
    assert_eq!(lab.new_connections(), 160, "each of them four times");

    daemon.reload(&web(&format!("{keys}, midstream: ignore")));
    lab.forget();
    for one in &mut open {
        let answer = one.echo("anybody?");
        assert!(is_reset(&answer), "{answer:?}");
    }
    assert_eq!(lab.new_connections(), 160);
}

#[test]
fn connections_are_left_alone_with_round_robin_when_conntrack_has_forgotten_them() {
    let lab = lab();
    let _daemon = lab.start(&web("source: preserve"));
    let mut open: Vec<_> = (0..8).map(|n| lab.client.open(VIPS[n % 2]).expect("a connection")).collect();
    assert_eq!(lab.new_connections(), 8);
    lab.forget();
    for one in &mut open {
        let answer = one.echo("anybody?");
        assert!(is_reset(&answer), "{answer:?}");
    }
    assert_eq!(lab.new_connections(), 8, "no backend heard of them");
}
