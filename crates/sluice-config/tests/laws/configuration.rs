//! Any valid configuration.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sluice_core::model::{
    Address, Announce, Backend, BackendName, BackendPort, Config, Control, ExecProbe, Forwarding, HashOn,
    HealthCheck, Hooks, Http, HttpProbe, Initial, InterfaceName, Listener, Midstream, Mode, OnDeny, OnDown,
    OnEmpty, OnStop, Ports, Probe, Protocol, Quorum, Scheduler, Service, ServiceName, UdpProbe,
};

use crate::yaml::target;

pub(crate) fn config() -> impl Strategy<Value = Config> {
    let names = "[a-z0-9][a-z0-9_.-]{0,8}".prop_map(|name| ServiceName::new(&name).unwrap());
    let settings = (
        prop::sample::select(vec![Forwarding::Manage, Forwarding::Require, Forwarding::Ignore]),
        prop::sample::select(vec![OnStop::Remove, OnStop::Keep]),
        prop::option::of(1u64..=86_400),
        prop::option::of("[a-z][a-z0-9-]{0,6}"),
        prop::sample::select(vec!["/run/sluice", "/var/lib/a b"]),
        prop::option::of(any::<(bool, bool)>()),
        prop::option::of((0u64..=3000, 0u64..=3000)),
    );
    let services = prop::collection::btree_map(names, any::<u8>(), 0..5).prop_flat_map(|names| {
        let services: Vec<_> =
            names.into_keys().enumerate().map(|(n, name)| (Just(name), service(n as u8))).collect();
        services.prop_map(BTreeMap::from_iter)
    });
    (settings, services).prop_map(
        |((forwarding, on_stop, refresh, group, folder, http, announce), services)| Config {
            forwarding,
            on_stop,
            state: PathBuf::from(folder),
            refresh: refresh.map(Duration::from_secs),
            announce: announce.map_or_else(Announce::default, |(hold, wait)| {
                let time = |time: u64| Duration::from_millis(if time < 100 { 0 } else { time });
                let interface = InterfaceName::new("dummy0").unwrap();
                Announce { interface, hold: time(hold), withdraw_wait: time(wait) }
            }),
            control: Control { socket: PathBuf::from(format!("{folder}/control.sock")), group },
            http: http.map(|(v4, accounting)| {
                let listen = if v4 { "127.0.0.1:9180" } else { "[::1]:9180" };
                Http { listen: listen.parse().unwrap(), accounting }
            }),
            services: Arc::new(services),
        },
    )
}

/// The `n`th service; its addresses hold `n`, so that services keep out of each other's way.
fn service(n: u8) -> impl Strategy<Value = Service> {
    use sluice_core::model::Source;
    let schedulers = vec![
        Scheduler::RoundRobin,
        Scheduler::Random,
        Scheduler::SourceHash(HashOn::Address),
        Scheduler::SourceHash(HashOn::AddressAndPort),
        Scheduler::LeastConnections,
        Scheduler::Maglev(HashOn::Address, 1021),
        Scheduler::Maglev(HashOn::AddressAndPort, 251),
    ];
    let policy = (
        any::<(bool, bool)>(),
        prop::option::of(prop::sample::select(vec!["eth0", "wan.100", "br-7", "007"])),
        prop::sample::select(schedulers),
        prop::sample::select(vec![Source::Masquerade, Source::Preserve]),
        prop::sample::select(vec![Midstream::Ignore, Midstream::Adopt]),
        prop::sample::select(vec![OnDeny::Keep, OnDeny::Reset]),
    );
    let pool = (
        prop::option::of(health_check()),
        prop::sample::select(vec![OnDown::Keep, OnDown::Reset]),
        prop::sample::select(vec![OnEmpty::Reject, OnEmpty::Drop, OnEmpty::UseAll]),
        (1u16..4, 1u16..4).prop_map(|(a, b)| Quorum { up: a.max(b), down: a.min(b) }),
        (prop::option::of(1u64..=3600), hooks()),
    );
    let protocols = prop::sample::select(&Protocol::ALL[..]);
    let listeners = prop::collection::vec((1u16..60_000, protocols), 1..4);
    let backends = (0u16..=256, 0u8..3, 1u16..60_000, any::<bool>());
    let backends = (backends, any::<bool>(), prop::option::of(1..=u32::MAX));
    let backends = prop::collection::vec(backends, 0..5);
    let shape = (
        prop::sample::select(vec![1u16, 2, 20]),
        prop::sample::select(vec![[true, false], [false, true], [true, true]]),
    );
    ((policy, pool), listeners, backends, shape, any::<bool>()).prop_map(
        move |(
            (
                ((enabled, announce), interface, scheduler, source, midstream, on_deny),
                (health, on_down, on_empty, quorum, (slow_start, hooks)),
            ),
            listeners,
            backends,
            (size, [v4, v6]),
            any_address,
        )| {
            let address = |v6: bool, kind: u8, m: u8| match v6 {
                false => IpAddr::V4(Ipv4Addr::new(10, kind, n, m + 1)),
                true => {
                    IpAddr::V6(Ipv6Addr::new(0xfd00, kind.into(), n.into(), 0, 0, 0, 0, u16::from(m) + 1))
                }
            };
            let range = |first: u16| Ports { first, last: first + size - 1 };
            let mut listeners: Vec<Listener> = (0..)
                .zip(listeners)
                .map(|(m, (port, protocol))| Listener {
                    address: Address::Exact(address(if v4 && v6 { m % 2 == 1 } else { v6 }, 1, m)),
                    ports: range(port),
                    protocol,
                })
                .collect();
            // With both versions an exact listener each, or `*`, whose versions follow the backends.
            if any_address || (v4 && v6 && listeners.len() < 2) {
                let ports = range(1000 + 100 * u16::from(n));
                listeners = vec![Listener { address: Address::Any, ports, protocol: Protocol::Udp }];
            }
            let (on_deny, on_down) = match listeners.iter().any(|it| it.protocol == Protocol::Sctp) {
                true => (OnDeny::Keep, OnDown::Keep),
                false => (on_deny, on_down),
            };
            // Both versions need two backends, one of each.
            let exact = listeners[0].address != Address::Any;
            let enough = !(exact && v4 && v6 && backends.len() < 2);
            let backends = (0..).zip(backends).filter(|_| enough);
            let backends = backends.map(|(m, ((weight, kind, port, named), backup, max_connections))| {
                let address = address(if v4 && v6 { m % 2 == 1 } else { v6 }, 2, m);
                let port = match kind {
                    0 => BackendPort::Keep,
                    1 if size > 1 => BackendPort::Range(range(port)),
                    _ => BackendPort::One(port),
                };
                let name = if named { format!("backend-{m}") } else { target(address, port) };
                let name = BackendName::new(&name).unwrap();
                let weight = if m == 0 { weight.max(1) } else { weight };
                Backend { name, address, port, weight, backup, max_connections }
            });
            let mut service = Service {
                enabled,
                // `*` cannot be announced.
                announce: announce && exact,
                guard: None,
                on_deny,
                affinity: None,
                synproxy: false,
                midstream,
                evict_from: vec![],
                unhealthy: vec![],
                disabled: vec![],
                backends: backends.collect(),
                listeners,
                interface: interface.map(|name| InterfaceName::new(name).unwrap()),
                mode: Mode::default(),
                scheduler,
                source,
                health: health.clone().map(Arc::new),
                on_down,
                on_empty,
                quorum,
                hooks: hooks.clone(),
                slow_start: slow_start.map(Duration::from_secs),
                fixed_grid: matches!(scheduler, Scheduler::LeastConnections | Scheduler::Maglev(..)),
                nominal_weights: vec![],
            };
            let unknown_port = service.backends.iter().any(|backend| service.probe_port(backend).is_none());
            if let Some(check) = health.filter(|check| unknown_port && check.probe != Probe::Icmp) {
                service.health = Some(Arc::new(HealthCheck { port: Some(7), ..check }));
            }
            // Few enough for the backends of either version.
            for v6 in [false, true] {
                let backends = service.backends.iter();
                let main =
                    backends.filter(|backend| backend.address.is_ipv6() == v6 && !backend.backup).count();
                if main > 0 {
                    let Quorum { up, down } = service.quorum;
                    service.quorum = Quorum { up: up.min(main as u16), down: down.min(main as u16) };
                }
            }
            service
        },
    )
}

fn hooks() -> impl Strategy<Value = Hooks> {
    let arguments = || prop::option::of(prop::collection::vec("[ -~é\n]{0,8}", 0..3));
    let command = |arguments: Vec<String>| ["/bin/x".to_owned()].into_iter().chain(arguments).collect();
    (arguments(), arguments()).prop_map(move |(ready, unready)| Hooks {
        on_ready: ready.map(command),
        on_unready: unready.map(command),
    })
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    let text = || "[ -~\n\té\u{1}]{1,12}";
    let codes = (100u16..=599, 100u16..=599).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let http = (
        "/[a-z0-9/?=&%]{0,8}",
        prop::option::of(prop::sample::select(vec!["example.org", "10.0.2.11", "fd00::11", "a_b"])),
        prop::collection::vec(codes, 1..3),
        prop::option::of(text()),
        prop::sample::select(vec![(false, false), (true, false), (true, true)]),
    );
    let http = http.prop_map(|(path, host, expect, body, (tls, verify))| {
        Probe::Http(HttpProbe { path, host: host.map(str::to_owned), expect, body, tls, verify })
    });
    let udp = (prop::option::of(text()), prop::option::of(text())).prop_map(|(send, expect)| {
        Probe::Udp(UdpProbe {
            send: send.unwrap_or_default().into_bytes(),
            expect: expect.map(String::into_bytes),
        })
    });
    let words =
        prop::sample::select(vec!["{address}", "{port}/{service}", "{backend}", "", "{", "{}", "a b"]);
    let exec = (prop::collection::vec(words, 0..3), any::<bool>()).prop_map(|(words, keep_capabilities)| {
        let command = ["/bin/check"].into_iter().chain(words).map(str::to_owned).collect();
        Probe::Exec(ExecProbe { command, keep_capabilities })
    });
    let probe = prop_oneof![Just(Probe::Tcp), Just(Probe::Sctp), http, udp, Just(Probe::Icmp), exec];
    let times = (100u64..=3_600_000, 10u64..=3_600_000);
    let initial = prop::sample::select(vec![Initial::Up, Initial::Down]);
    (probe, prop::option::of(1u16..), times, 1u16..=100, 1u16..=100, initial).prop_map(
        |(probe, port, (interval, timeout), rise, fall, initial)| HealthCheck {
            port: port.filter(|_| probe != Probe::Icmp),
            probe,
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(timeout),
            rise,
            fall,
            initial,
        },
    )
}
