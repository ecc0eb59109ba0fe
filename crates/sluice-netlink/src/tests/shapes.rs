//! Everything that sluice renders, through the kernel and through nft.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use sluice_core::model::{EffectiveServices, Networks};
use sluice_core::render::render;
use sluice_nft::{
    Base, Chain, Comparison, Data, Element, Field, Ip, Key, Octets, Operand, Rule, Set, SlotExpr, Statement,
    Table,
};

use super::{commit, in_namespace, nft, nft_prints, open, read, steps, table};

/// Services of every shape.
const SERVICES: &str = r#"
services:
  exact:
    listen: [203.0.113.10:80, "203.0.113.10:53/udp", "[2001:db8::10]:80"]
    backends: [10.0.2.11:8080, { address: 10.0.2.12:8080, weight: 3 }, "[fd00::11]:8080"]
  random:
    listen: [203.0.113.11:80, "[2001:db8::11]:80"]
    scheduler: random
    backends: [10.0.2.11:8080, 10.0.2.12:8080, "[fd00::11]:8080"]
  hash:
    listen: [203.0.113.12:80, "[2001:db8::12]:80"]
    scheduler: source-hash
    backends: [10.0.2.11:8080, 10.0.2.12:8080, 10.0.2.13:8080, "[fd00::11]:8080", "[fd00::12]:8080"]
  hash-port:
    listen: [203.0.113.13:80, "[2001:db8::13]:80"]
    scheduler: source-hash
    hash: { on: [source-address, source-port] }
    backends: [10.0.2.11:8080, 10.0.2.12:8080, "[fd00::11]:8080"]
  wildcard:
    listen: "*:443"
    backends: [10.0.2.11:8443, "[fd00::11]:8443"]
  interface:
    listen: ["*:8443", "198.51.100.1:81"]
    interface: eth0
    source: preserve
    backends: [10.0.2.11:8443, 10.0.2.12:8443]
  range:
    listen: ["203.0.113.14:1000-1999", "[2001:db8::14]:1000-1999"]
    scheduler: source-hash
    hash: { on: [source-address, source-port] }
    backends: [10.0.2.11, 10.0.2.12, "[fd00::11]", "[fd00::12]"]
  one-port:
    listen: "203.0.113.15:1000-1999/udp"
    scheduler: random
    backends: [10.0.2.11:53, 10.0.2.12:53]
  shifted:
    listen: ["203.0.113.16:1000-1009", "[2001:db8::16]:1000-1009"]
    backends: [10.0.2.11:2000-2009, "[fd00::11]:2000-2009"]
  kept:
    listen: 203.0.113.10:81
    source: preserve
    backends: [10.0.2.11:8080]
  denied:
    listen: [203.0.113.18:80, "[2001:db8::18]:80", 203.0.113.18:81]
    deny: [198.51.100.66, 198.51.100.128/25, "2001:db8:bad::/48"]
    backends: [10.0.2.11:8080, "[fd00::11]:8080"]
  guarded:
    listen: [203.0.113.19:80, "[2001:db8::19]:80"]
    scheduler: random
    allow: [198.51.100.0/24]
    deny: [198.51.100.66]
    limits:
      new_connections: 1000/second burst 2000
      new_connections_per_client: 20/minute burst 40
      connections_per_client: 100
      on_full: drop
    backends: [10.0.2.11:8080, "[fd00::11]:8080"]
  limited:
    listen: [203.0.113.24:80]
    limits: { new_connections: 1000/second, new_connections_per_client: 20/minute, connections_per_client: 100 }
    backends: [10.0.2.11:8080]
  guarded-range:
    listen: ["203.0.113.20:1000-1009", "*:5353/udp"]
    allow: ["2001:db8:900d::/48", 0.0.0.0/0]
    limits: { connections_per_client: 7, clients: 99 }
    backends: [10.0.2.11, "[fd00::11]"]
  auto:
    listen: [203.0.113.21:80, "[2001:db8::21]:80", "*:7000"]
    source: auto
    backends: [10.0.2.11:8080, "[fd00::11]:8080"]
  from:
    listen: [203.0.113.22:80, 203.0.113.22:1000-1009]
    source: 10.0.2.1-10.0.2.8
    backends: [10.0.2.11:8080]
  from6:
    listen: ["[2001:db8::22]:80"]
    source: fd00::1
    backends: ["[fd00::11]:8080"]
  affine:
    listen: [203.0.113.23:80, 203.0.113.23:53/udp, 203.0.113.23:81]
    scheduler: random
    affinity: 90s
    deny: [198.51.100.66]
    backends: [10.0.2.11:8080, 10.0.2.12:8080]
  affine-kept:
    listen: [203.0.113.25:80, 203.0.113.25:443]
    affinity: 90s
    backends: [10.0.2.11, 10.0.2.12]
  affine-mixed:
    listen: [203.0.113.26:80, 203.0.113.26:443]
    affinity: 2m
    backends: [10.0.2.11, 10.0.2.12:8080]
  beside-from:
    listen: [203.0.113.22:81]
    backends: [10.0.2.11:8080]
  empty:
    listen: [203.0.113.17:80, "*:9999/udp"]
    backends: []
"#;

/// What nft 1.0.6 lists but cannot load everywhere: IPv6 affinity, which needs more registers than it
/// allocates, and a protocol in an interval set, whose byte order it reverses and which Linux 6.12 then
/// rejects.
const LISTED: &str = r#"
services:
  denied:
    listen: [203.0.113.18:80, "*:5353/udp"]
    deny: [198.51.100.66, 198.51.100.128/25, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16]
    backends: [10.0.2.11:8080]
  affine:
    listen: "[2001:db8::23]:80"
    affinity: 10m
    backends: ["[fd00::11]:8080", "[fd00::12]"]
"#;

/// The ruleset of [`SERVICES`].
pub(super) fn rendered() -> Table {
    rendered_from(SERVICES)
}

fn rendered_from(text: &str) -> Table {
    let mut file = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file");
    file.write_all(text.as_bytes()).expect("room in the file");
    let nets = ["10.0.2.1/24", "10.0.3.1/16", "fd00::1/64"]
        .map(|net| ("eth1".to_owned(), net.parse().expect("a network")));
    let (services, networks) = (services(file.path()), Networks::of(nets));
    render(EffectiveServices::from(&services).with_networks(&networks), None).table
}

fn services(file: &Path) -> BTreeMap<sluice_core::model::ServiceName, sluice_core::model::Service> {
    let loaded = sluice_config::load(file);
    let explain =
        |problems: Vec<_>| problems.iter().map(sluice_config::Problem::to_string).collect::<String>();
    let loaded = loaded.map_err(explain).unwrap_or_else(|problems| panic!("{problems}"));
    Arc::unwrap_or_clone(loaded.config.services)
}

#[test]
fn read_of_what_was_committed_equals_it() {
    in_namespace(|| {
        let mut netlink = open();
        commit(&mut netlink, &steps(&rendered()));
        assert_eq!(table(&mut netlink), rendered());
    });
}

#[test]
fn read_of_text_that_nft_loaded_equals_the_table() {
    in_namespace(|| {
        nft(&rendered().to_string());
        assert_eq!(table(&mut open()), rendered());
    });
}

#[test]
fn listing_of_what_was_committed_loads_again_as_the_same() {
    in_namespace(|| {
        let mut netlink = open();
        commit(&mut netlink, &steps(&rendered()));
        let listing = nft_prints(&["list", "ruleset"]);
        nft_prints(&["flush", "ruleset"]);
        assert_eq!(read(&mut netlink).table, None);
        nft(&listing);
        assert_eq!(nft_prints(&["list", "ruleset"]), listing);
        assert_eq!(table(&mut netlink), rendered());
    });
}

#[test]
fn listing_of_what_nft_cannot_load_is_what_was_committed() {
    in_namespace(|| {
        let mut netlink = open();
        commit(&mut netlink, &steps(&rendered_from(LISTED)));
        assert_eq!(table(&mut netlink), rendered_from(LISTED));
        let listing = nft_prints(&["list", "ruleset"]);
        for chain in ["learn/tcp/80", "guard4/deny"] {
            let rule = rendered_from(LISTED).chains[&chain.into()].rules[0].to_string();
            assert!(listing.contains(&rule), "{listing}");
        }
    });
}

#[test]
fn listing_in_json_of_what_was_committed_is_json() {
    in_namespace(|| {
        commit(&mut open(), &steps(&rendered()));
        let listing = nft_prints(&["-j", "list", "ruleset"]);
        let parsed: serde_json::Value = serde_json::from_str(&listing).expect("JSON");
        assert!(parsed["nftables"].as_array().is_some_and(|objects| objects.len() > 50));
    });
}

#[test]
fn read_of_what_nft_loaded_is_what_the_text_says() {
    in_namespace(|| {
        nft("table inet sluice {
            map slots4-0 {
                typeof numgen inc mod 65536 : ip daddr . th dport
                counter
                elements = { 0 : 10.0.2.11 . 8080 }
            }
            set clients {
                typeof th sport
                elements = { 4711 }
            }
            chain pick {
                meta l4proto tcp dnat ip to numgen inc mod 1 map @slots4-0
                counter drop
            }
            chain output {
                type nat hook output priority -100; policy accept;
                ip daddr != 127.0.0.0/8 fib daddr type local tcp dport 80-90 goto pick
                ct status dnat udp sport @clients accept
            }
        }");
        assert_eq!(table(&mut open()), by_hand());
    });
}

fn by_hand() -> Table {
    let backend = [Field::Daddr(Ip::V4), Field::Dport].map(Operand::Field).to_vec();
    let slot = |modulus| Operand::Slot(SlotExpr::Inc { modulus, offset: 0 });
    fn octets<const N: usize>(bytes: &[u8]) -> Octets<N> {
        Octets::new(bytes).expect("few bytes")
    }
    let mut slots = Set::counted_map(vec![slot(65_536)], backend);
    let data = Data::Value(octets(&[10, 0, 2, 11, 0x1f, 0x90, 0, 0]));
    slots.elements.insert(Key::EMPTY.slot(0), Element { data });
    let mut clients = Set::plain(vec![Operand::Field(Field::Sport)]);
    clients.elements.insert(Key::EMPTY.port(4711), Element { data: Data::None });
    let ports = Comparison::InRange(octets(&80_u16.to_be_bytes()), octets(&90_u16.to_be_bytes()));
    let output = vec![
        Rule(vec![
            Statement::is(Field::Nfproto, &[2]),
            Statement::Match(Field::Daddr(Ip::V4), Comparison::NotInPrefix(octets(&[127]))),
            Statement::is(Field::FibDaddrType, &Field::LOCAL.to_ne_bytes()),
            Statement::is(Field::L4proto, &[6]),
            Statement::Match(Field::Dport, ports),
            Statement::Goto("pick".into()),
        ]),
        Rule(vec![
            Statement::Match(Field::CtStatus, Comparison::AnyBit(Field::DNAT)),
            Statement::is(Field::L4proto, &[17]),
            Statement::InSet(vec![Operand::Field(Field::Sport)], "clients".into()),
            Statement::Accept,
        ]),
    ];
    let pick = vec![
        Rule(vec![
            Statement::is(Field::L4proto, &[6]),
            Statement::Dnat { ip: Ip::V4, key: vec![slot(1)], map: "slots4-0".into(), port: true },
        ]),
        Rule(vec![Statement::Counter, Statement::Drop]),
    ];
    Table {
        sets: [("slots4-0".into(), slots), ("clients".into(), clients)].into(),
        chains: [
            ("pick".into(), Chain { base: None, rules: pick }),
            ("output".into(), Chain { base: Some(Base::OUTPUT), rules: output }),
        ]
        .into(),
        ..Table::default()
    }
}
