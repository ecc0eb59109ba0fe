//! `sluice explain`, compared with real connections.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use sluice::explain::{Choice, Explanation, Fate, SourceSeen, explain};
use sluice_core::model::{EffectiveServices, Networks, Protocol};
use sluice_netlink::{Netlink, networks};
use sluice_nft::Dataplane;
use sluice_nft::trace::{Host, Packet};
use sluice_testkit::{Lab, eventually};

/// Listeners of every kind, with every scheduler that hashes the client, and two others.
const SERVICES: &str = "
defaults: {source: preserve}
services:
  hash: {listen: ['203.0.113.10:1/udp', '[2001:db8::10]:1/udp'], scheduler: source-hash, backends: BACKENDS}
  hash-port:
    listen: ['203.0.113.10:2/udp', '[2001:db8::10]:2/udp']
    scheduler: source-hash
    hash: {on: [source-address, source-port]}
    backends: BACKENDS
  maglev: {listen: ['203.0.113.10:3/udp', '[2001:db8::10]:3/udp'], scheduler: maglev, backends: BACKENDS}
  maglev-port:
    listen: ['203.0.113.10:4/udp', '[2001:db8::10]:4/udp']
    scheduler: maglev
    hash: {on: [source-address, source-port], table_size: 251}
    backends: BACKENDS
  range:
    listen: ['203.0.113.10:1000-1003/udp', '[2001:db8::10]:1000-1003/udp']
    scheduler: source-hash
    backends: [10.0.2.11, 10.0.2.12, 'fd00:2::13', 'fd00:2::14']
  any: {listen: '*:5/udp', scheduler: source-hash, source: masquerade, backends: BACKENDS}
  entrance: {listen: '*:6/udp', interface: eth0, scheduler: maglev, backends: BACKENDS}
  random: {listen: ['203.0.113.10:7/udp', '[2001:db8::10]:7/udp'], scheduler: random, source: auto, backends: BACKENDS}
  turns:
    listen: ['203.0.113.10:8/udp', '[2001:db8::10]:8/udp']
    deny: [198.51.100.77, '2001:db8:c::77']
    backends: BACKENDS
  empty: {listen: ['203.0.113.10:9/udp', '[2001:db8::10]:9/udp'], backends: []}
";

const BACKENDS: &str = "[10.0.2.11:8080, {address: '10.0.2.12:8080', weight: 3}, 10.0.2.13:8080, \
                        '[fd00:2::11]:8080', {address: '[fd00:2::12]:8080', weight: 2}, '[fd00:2::14]:8080']";

const PACKETS: u32 = 10_000;

/// Pseudo-random numbers (xorshift), the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u16) -> u16 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u16 % bound
    }
}

/// A client address, and the listener to which it sends.
fn any_packet(numbers: &mut Numbers, number: u32) -> (SocketAddr, SocketAddr) {
    let is_v4 = numbers.below(2) == 0;
    let client = 1 + numbers.below(254);
    let port = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1000, 1001, 1002, 1003][usize::from(numbers.below(13))];
    let own = port == 5 || port == 6;
    let (from, to) = match is_v4 {
        true => (format!("198.51.100.{client}"), if own { "10.0.1.1" } else { "203.0.113.10" }),
        false => (format!("2001:db8:c::{client:x}"), if own { "fd00:1::1" } else { "2001:db8::10" }),
    };
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    // Every packet is the first of its flow.
    let source_port = 10_000 + number as u16;
    (SocketAddr::new(address(&from), source_port), SocketAddr::new(address(to), port))
}

#[test]
fn explanation_of_ten_thousand_packets_is_what_happens() {
    let lab = Lab::new();
    (1000..1004).for_each(|port| lab.serve(port));
    let yaml = SERVICES.replace("BACKENDS", BACKENDS);
    let _daemon = lab.start(&yaml);
    let services = sluice_config::load(&lab.config()).expect("a good file").config.services;
    let addresses = lab.balancer.run(networks).expect("addresses");
    let host = Host { local: addresses.iter().map(|(_, net)| net.addr()).collect(), ..Host::default() };
    let networks = Networks::of(addresses);
    let table = lab.balancer.run(|| Netlink::open().expect("open nf_tables").read()).expect("read");
    let table = table.table.expect("a table");
    let names: BTreeMap<IpAddr, &str> = lab
        .backends
        .iter()
        .flat_map(|backend| backend.addresses().iter().map(|address| (*address, backend.name())))
        .collect();

    let mut numbers = Numbers(0x5eed_0f5a);
    let mut fates: BTreeMap<&str, u32> = BTreeMap::new();
    for number in 0..PACKETS {
        let (from, to) = any_packet(&mut numbers, number);
        let mut packet = Packet::arriving(Protocol::Udp, from, to);
        packet.leaves = "eth1".to_owned();
        let Explanation { taken_by, fate, .. } = explain(
            &table,
            EffectiveServices::from(&services).with_networks(&networks),
            &host,
            &packet,
            false,
        );
        assert!(taken_by.is_some(), "{from} to {to}");
        // A missing answer takes a timeout to detect, and is the same for every packet of the client.
        if let Fate::Dropped(_) = fate {
            *fates.entry("dropped").or_default() += 1;
            continue;
        }
        let answer = lab.client.udp_from(&from.to_string(), &to.to_string());
        let told = || format!("{from} to {to}: {fate:?}, but {answer:?}");
        match &fate {
            Fate::Refused => assert!(answer.is_err(), "{}", told()),
            Fate::Translated { backends, by, source } => {
                let answer = answer.as_ref().unwrap_or_else(|_| panic!("{}", told()));
                let gets = |(to, _): &(SocketAddr, f64)| {
                    names[&to.ip()] == answer.backend && to.port() == answer.port
                };
                assert!(backends.iter().any(gets), "{}", told());
                assert_eq!(backends.len() == 1, matches!(by, Choice::Hash { .. }), "{}", told());
                assert_eq!(*source == SourceSeen::Client, answer.peer == from, "{}", told());
            }
            _ => panic!("{}", told()),
        }
        *fates.entry(if fate == Fate::Refused { "refused" } else { "translated" }).or_default() += 1;
    }
    assert!(["dropped", "refused", "translated"].iter().all(|fate| fates[fate] > 0), "{fates:?}");
    assert_eq!(
        lab.client.udp_from("198.51.100.77:0", "203.0.113.10:8").unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

#[test]
fn explanation_says_limits_and_which_backends_get_nothing_and_why() {
    let lab = Lab::new();
    let yaml = "
services:
  denied:
    listen: 203.0.113.10:80
    limits: {new_connections_per_client: 100/second, on_full: drop}
    health: {tcp: {}, interval: 200ms, timeout: 200ms, rise: 1, fall: 1}
    backends: [10.0.2.11:8080, 10.0.2.12:8080, {address: 10.0.2.13:8080, name: sorry, backup: true}, 10.0.2.14:8081]
  inside: {listen: '*:81', interface: eth1, backends: [10.0.2.11:8080]}";
    let _daemon = lab.start(yaml);
    lab.sluice(&["drain", "denied/10.0.2.12:8080"]).expect(0);
    let said = |arguments: &[&str], code| lab.sluice(&[&["explain"], arguments].concat()).expect(code).stdout;
    eventually("b4 is known to be down", || {
        said(&["198.51.100.7", "203.0.113.10:80"], 0).contains("unhealthy").then_some(())
    });
    assert_eq!(
        said(&["198.51.100.7", "203.0.113.10:80"], 0),
        "service denied handles it, listener 203.0.113.10:80/tcp\n\
         the guard accepts it, if no limit is reached\n\
         scheduler round-robin; this connection goes round-robin to\n\
         \x20 10.0.2.11:8080\n\
         which sees an address of this host (masquerade)\n\
         limit: 100/second new connections of each client (burst 100)\n\
         after 65536 clients, further ones are dropped (on_full: drop)\n\
         denied/10.0.2.12:8080 gets no new connections: drained by an operator\n\
         denied/sorry gets no new connections: it is a backup\n\
         denied/10.0.2.14:8081 gets no new connections: unhealthy (connect 10.0.2.14:8081: connection refused)\n"
    );
    assert_eq!(lab.client.tcp_from("198.51.100.7:0", "203.0.113.10:80").unwrap().backend, "b1");
    assert_eq!(
        said(&["--local", "10.0.1.1", "10.0.1.1:81"], 1),
        "no service handles 10.0.1.1:81/tcp: there is *:81/tcp of inside, which handles only packets that arrive on eth1, \
         not those of this host\n"
    );
}

#[test]
fn explanation_says_service_backend_share_and_source() {
    let lab = Lab::new();
    let yaml = "
services:
  web:
    listen: 203.0.113.10:80
    deny: [198.51.100.66]
    backends: [10.0.2.11:8080, {address: '10.0.2.12:8080', name: big, weight: 3}]
  sticky: {listen: 203.0.113.10:81, affinity: 10m, scheduler: random, source: auto, backends: [10.0.2.11:8080, 10.0.2.12:8080]}
  ports:
    listen: 203.0.113.10:83
    scheduler: source-hash
    hash: {on: [source-address, source-port]}
    backends: [10.0.2.11:8080, 10.0.2.12:8080]
  off: {listen: 203.0.113.10:82, enabled: false, backends: [10.0.2.11:8080]}";
    lab.configure(yaml);
    let said = |arguments: &[&str], code| lab.sluice(&[&["explain"], arguments].concat()).expect(code).stdout;
    let web = said(&["198.51.100.7", "203.0.113.10:80"], 0);
    let _daemon = lab.start(yaml);
    assert_eq!(said(&["198.51.100.7", "203.0.113.10:80"], 0), web);
    assert_eq!(
        web,
        "service web handles it, listener 203.0.113.10:80/tcp\n\
         the guard accepts it, if no limit is reached\n\
         scheduler round-robin; this connection goes round-robin to\n\
         \x20 10.0.2.11:8080  25.0 %\n\
         \x20 10.0.2.12:8080 (big)  75.0 %\n\
         which sees an address of this host (masquerade)\n"
    );
    assert!(said(&["198.51.100.66", "203.0.113.10:80"], 0).ends_with("the guard drops it: denied\n"));
    let backend = lab.client.tcp_from("198.51.100.7:0", "203.0.113.10:81").unwrap().backend;
    let address = if backend == "b1" { "10.0.2.11:8080" } else { "10.0.2.12:8080" };
    let sticky = said(&["198.51.100.7", "203.0.113.10:81"], 0);
    assert!(sticky.contains(&format!("goes by affinity to\n  {address}\n")), "{sticky}");
    assert!(sticky.ends_with("which sees the client address 198.51.100.7\n"), "{sticky}");
    assert!(
        said(&["10.0.2.14", "203.0.113.10:81"], 0)
            .ends_with("which sees an address of this host (masquerade)\n")
    );
    let none = said(&["198.51.100.7", "203.0.113.10:82"], 1);
    assert!(
        none.contains("no service handles 203.0.113.10:82/tcp: there is")
            && none.contains("of off, which is disabled"),
        "{none}"
    );
    let any_port = said(&["198.51.100.7", "203.0.113.10:83"], 0);
    assert!(any_port.contains("and its port (no port given) to\n  10.0.2.11:8080  50.0 %"), "{any_port}");
    let one = said(&["198.51.100.7:4711", "203.0.113.10:83"], 0);
    let got = lab.client.tcp_from("198.51.100.7:4711", "203.0.113.10:83").unwrap().backend;
    assert!(
        one.contains(if got == "b1" { "to\n  10.0.2.11:8080\n" } else { "to\n  10.0.2.12:8080\n" }),
        "{one}"
    );
    lab.configure("services: {}");
    let unknown = said(&["198.51.100.7", "203.0.113.10:80"], 0);
    assert!(unknown.starts_with("a service that is not in the file handles it"), "{unknown}");
    lab.configure(yaml);
    let json = lab.sluice(&["explain", "198.51.100.7", "203.0.113.10:80", "--json"]).expect(0).json();
    assert_eq!(json["backends"][1]["name"], "big");
}
