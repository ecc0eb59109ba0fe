//! What holds for every text, and for every configuration.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sluice_config::{Loaded, Problem, Severity, Source, parse};
use sluice_core::model::{
    Address, Backend, BackendName, BackendPort, Config, Control, Forwarding, HashOn, HealthCheck, HttpProbe,
    Initial, InterfaceName, Listener, OnDown, OnEmpty, OnStop, Ports, Probe, Protocol, Scheduler, Service,
    ServiceName, UdpProbe,
};

proptest! {
    #[test]
    fn parse_of_any_text_ends_well(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn parse_of_yaml_like_text_ends_well(words in prop::collection::vec(word(), 0..60)) {
        check(&words.concat())?;
    }

    #[test]
    fn parse_of_a_damaged_file_ends_well(
        cut in any::<prop::sample::Index>(),
        length in 0usize..40,
        patch in prop_oneof![word(), any::<String>()],
    ) {
        let mut text = include_str!("../../../config/sluice.yaml").to_owned();
        let mut boundaries = text.char_indices().map(|(at, _)| at).collect::<Vec<_>>();
        boundaries.push(text.len());
        let start = cut.index(boundaries.len());
        let end = (start + length).min(boundaries.len() - 1);
        text.replace_range(boundaries[start]..boundaries[end], &patch);
        check(&text)?;
    }

    #[test]
    fn parse_of_a_written_configuration_gives_it_back(config in config(), style in any::<u64>()) {
        let text = write(&config, &mut Style(style));
        match parse_alone(&text) {
            Ok(loaded) => prop_assert_eq!(loaded.config, config, "{}", text),
            Err(problems) => prop_assert!(false, "{problems:#?}\n{text}"),
        }
    }
}

fn parse_alone(text: &str) -> Result<Loaded, Vec<Problem>> {
    let main = Source { path: "sluice.yaml".into(), text: text.to_owned() };
    parse(main, |_| Ok(vec![]))
}

/// No panic; a refusal says why; every problem but one of the whole file is somewhere in the text.
fn check(text: &str) -> Result<(), TestCaseError> {
    let result = parse_alone(text);
    let problems = match &result {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => problems,
    };
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    prop_assert_eq!(errors > 0, result.is_err());
    // YAML ends lines at a lone carriage return too, and reports an unfinished text behind its end.
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() as u32;
    let mut last = None;
    for problem in problems {
        prop_assert!(problem.line.is_some() || problem.what == "no service is defined", "{problem}");
        prop_assert!(problem.line <= Some(lines + 1), "{problem}");
        prop_assert!((problem.line, problem.column) >= last.unwrap_or_default() || problem.line.is_none());
        prop_assert!(!problem.to_string().contains('\n'));
        last = Some((problem.line, problem.column));
    }
    Ok(())
}

/// Bits of configuration files, so that random ones get past the first line.
fn word() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "services:",
        "web:",
        "listen:",
        "backends:",
        "hash:",
        "on:",
        "defaults:",
        "control:",
        "include:",
        "name:",
        "address:",
        "weight:",
        "health:",
        "tcp:",
        "exec:",
        "command:",
        "quorum:",
        "slow_start:",
        "scheduler:",
        "source-hash",
        "203.0.113.10:80",
        "10.0.2.11",
        "*:80",
        "\"*:1-9/udp\"",
        "[2001:db8::1]:80",
        "fd00::1:80",
        "8000-8010",
        "\n",
        "\n  ",
        "\n    ",
        "\n      - ",
        " ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ": ",
        "? ",
        "&a ",
        "*a",
        "!t ",
        "<<",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "# ",
        "'",
        "\"",
        "\\",
        "|\n",
        ">-\n",
        "\t",
        "\r",
        "\r\n",
        "\0",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "é",
        "0",
        "1e9",
        "0x10",
        "true",
        "~",
        ".inf",
    ];
    prop::sample::select(WORDS).prop_map(str::to_owned)
}

fn config() -> impl Strategy<Value = Config> {
    let names = "[a-z0-9][a-z0-9_.-]{0,8}".prop_map(|name| ServiceName::new(&name).unwrap());
    let settings = (
        prop::sample::select(vec![Forwarding::Manage, Forwarding::Require, Forwarding::Ignore]),
        prop::sample::select(vec![OnStop::Remove, OnStop::Keep]),
        prop::option::of(1u64..=86_400),
        prop::option::of("[a-z][a-z0-9-]{0,6}"),
        prop::sample::select(vec!["/run/sluice", "/var/lib/a b"]),
    );
    let services = prop::collection::btree_map(names, any::<u8>(), 0..5).prop_flat_map(|names| {
        let services: Vec<_> =
            names.into_keys().enumerate().map(|(n, name)| (Just(name), service(n as u8))).collect();
        services.prop_map(BTreeMap::from_iter)
    });
    (settings, services).prop_map(|((forwarding, on_stop, refresh, group, folder), services)| Config {
        forwarding,
        on_stop,
        state: PathBuf::from(folder),
        refresh: refresh.map(Duration::from_secs),
        control: Control { socket: PathBuf::from(format!("{folder}/control.sock")), group },
        services,
    })
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
    ];
    let policy = (
        any::<bool>(),
        prop::option::of(prop::sample::select(vec!["eth0", "wan.100", "br-7", "007"])),
        prop::sample::select(schedulers),
        prop::sample::select(vec![Source::Masquerade, Source::Preserve]),
    );
    let pool = (
        prop::option::of(health_check()),
        prop::sample::select(vec![OnDown::Keep, OnDown::Reset]),
        prop::sample::select(vec![OnEmpty::Reject, OnEmpty::Drop, OnEmpty::UseAll]),
        1u16..4,
        prop::option::of(1u64..=3600),
    );
    let protocols = prop::sample::select(vec![Protocol::Tcp, Protocol::Udp]);
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
            ((enabled, interface, scheduler, source), (health, on_down, on_empty, quorum, slow_start)),
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
                backends: backends.collect(),
                listeners,
                interface: interface.map(|name| InterfaceName::new(name).unwrap()),
                scheduler,
                source,
                health: health.clone().map(Arc::new),
                on_down,
                on_empty,
                quorum,
                slow_start: slow_start.map(Duration::from_secs),
                fixed_grid: scheduler == Scheduler::LeastConnections,
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
                service.quorum = if main == 0 { service.quorum } else { service.quorum.min(main as u16) };
            }
            service
        },
    )
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
    let exec = prop::collection::vec(words, 0..3)
        .prop_map(|words| Probe::Exec(["/bin/check"].into_iter().chain(words).map(str::to_owned).collect()));
    let probe = prop_oneof![Just(Probe::Tcp), http, udp, Just(Probe::Icmp), exec];
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

fn target(address: IpAddr, port: BackendPort) -> String {
    let host = match address {
        IpAddr::V6(address) if port != BackendPort::Keep => format!("[{address}]"),
        address => address.to_string(),
    };
    match port {
        BackendPort::Keep => host,
        BackendPort::One(port) => format!("{host}:{port}"),
        BackendPort::Range(ports) => format!("{host}:{ports}"),
    }
}

/// Coin tosses: what can be written in two ways is written in either.
struct Style(u64);

impl Style {
    fn toss(&mut self) -> bool {
        let bit = self.0 & 1 == 1;
        self.0 = self.0.rotate_right(1).wrapping_mul(3);
        bit
    }

    fn quote(&mut self, text: &str) -> String {
        if self.toss() { format!("\"{text}\"") } else { format!("'{text}'") }
    }

    /// Several lines of a list, one line of a list, or no list at all.
    fn list(&mut self, items: &[String]) -> String {
        match items {
            [item] if self.toss() => format!(" {item}\n"),
            [] => " []\n".to_owned(),
            _ if self.toss() => format!(" [{}]\n", items.join(", ")),
            _ => items.iter().fold("\n".to_owned(), |text, item| text + "      - " + item + "\n"),
        }
    }
}

fn write(config: &Config, style: &mut Style) -> String {
    let Config { forwarding, on_stop, state, refresh, control, services } = config;
    let mut text = String::from("# generated\n");
    let word = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
    if *forwarding != Forwarding::Manage || style.toss() {
        writeln!(text, "forwarding: {}", word(forwarding)).unwrap();
    }
    if *on_stop != OnStop::Remove || style.toss() {
        writeln!(text, "on_stop: {}", word(on_stop)).unwrap();
    }
    if style.toss() {
        writeln!(text, "state: {}", state.display()).unwrap();
    }
    match refresh {
        Some(refresh) if refresh.as_secs() == 60 && style.toss() => {}
        Some(refresh) => writeln!(text, "refresh: {}s", refresh.as_secs()).unwrap(),
        None => writeln!(text, "refresh: {}", if style.toss() { "0" } else { "0s" }).unwrap(),
    }
    writeln!(text, "control:\n  socket: {}", control.socket.display()).unwrap();
    control.group.iter().for_each(|group| writeln!(text, "  group: {}", style.quote(group)).unwrap());
    // What the first service says may be everybody's default.
    let default = services.values().next().filter(|_| style.toss());
    if let Some(service) = default {
        let mut defaults = String::new();
        write_policy(&mut defaults, "  ", service, None, style);
        text.push_str(if defaults.is_empty() { "defaults: {}\n" } else { "defaults:\n" });
        text.push_str(&defaults);
    }
    text.push_str(if services.is_empty() { "services: {}\n" } else { "services:\n" });
    for (name, service) in services {
        writeln!(text, "  {}:", style.quote(name.as_str())).unwrap();
        let listeners: Vec<_> =
            service.listeners.iter().map(|listener| style.quote(&listener.to_string())).collect();
        write!(text, "    listen:{}", style.list(&listeners)).unwrap();
        if let Some(interface) = &service.interface {
            writeln!(text, "    interface: {}", style.quote(interface.as_str())).unwrap();
        }
        write_policy(&mut text, "    ", service, default, style);
        let backends: Vec<_> = service.backends.iter().map(|backend| write_backend(backend, style)).collect();
        write!(text, "    backends:{}", style.list(&backends)).unwrap();
    }
    text
}

fn write_policy(
    text: &mut String,
    indent: &str,
    service: &Service,
    default: Option<&Service>,
    style: &mut Style,
) {
    let enabled = default.is_none_or(|default| default.enabled);
    if service.enabled != enabled || style.toss() {
        writeln!(text, "{indent}enabled: {}", service.enabled).unwrap();
    }
    let source = default.map_or(Default::default(), |default| default.source);
    if service.source != source || style.toss() {
        writeln!(text, "{indent}source: {}", service.source.as_str()).unwrap();
    }
    write_pool(text, indent, service, default.unwrap_or(&Service::default()), style);
    let scheduler = default.map_or(Scheduler::RoundRobin, |default| default.scheduler);
    if service.scheduler == scheduler && style.toss() {
        return;
    }
    writeln!(text, "{indent}scheduler: {}", service.scheduler.as_str()).unwrap();
    if let Scheduler::SourceHash(on) = service.scheduler {
        let on = match on {
            HashOn::Address => "source-address",
            HashOn::AddressAndPort => "[source-port, source-address]",
        };
        writeln!(text, "{indent}hash: {{ on: {on} }}").unwrap();
    }
}

fn write_pool(text: &mut String, indent: &str, service: &Service, default: &Service, style: &mut Style) {
    if service.health != default.health || style.toss() {
        let health = service.health.as_ref().map_or("none".to_owned(), |check| write_check(check, style));
        writeln!(text, "{indent}health: {health}").unwrap();
    }
    if service.on_down != default.on_down || style.toss() {
        let on_down = if service.on_down == OnDown::Keep { "keep" } else { "reset" };
        writeln!(text, "{indent}on_down: {on_down}").unwrap();
    }
    if service.on_empty != default.on_empty || style.toss() {
        let on_empty = match service.on_empty {
            OnEmpty::Reject => "reject",
            OnEmpty::Drop => "drop",
            OnEmpty::UseAll => "use-all",
        };
        writeln!(text, "{indent}on_empty: {on_empty}").unwrap();
    }
    if service.quorum != default.quorum || style.toss() {
        writeln!(text, "{indent}quorum: {}", service.quorum).unwrap();
    }
    if service.slow_start != default.slow_start || style.toss() {
        writeln!(text, "{indent}slow_start: {}s", service.slow_start.map_or(0, |start| start.as_secs()))
            .unwrap();
    }
}

fn write_check(check: &HealthCheck, style: &mut Style) -> String {
    let HealthCheck { probe, port, interval, timeout, rise, fall, initial } = check;
    let inside = match probe {
        Probe::Tcp | Probe::Icmp => String::new(),
        Probe::Http(HttpProbe { path, host, expect, body, tls, verify }) => {
            let codes: Vec<_> = expect.iter().map(|(first, last)| format!("{first}-{last}")).collect();
            let mut text = format!("path: {}, expect: [{}]", style.quote(path), codes.join(", "));
            host.iter().for_each(|host| write!(text, ", host: {}", style.quote(host)).unwrap());
            body.iter().for_each(|body| write!(text, ", body: {}", double_quoted(body)).unwrap());
            let by_default = *tls && host.as_ref().is_some_and(|host| host.parse::<IpAddr>().is_err());
            write!(text, ", tls: {tls}").unwrap();
            if *verify != by_default || style.toss() {
                write!(text, ", verify: {verify}").unwrap();
            }
            text
        }
        Probe::Udp(UdpProbe { send, expect }) => {
            let mut text = format!("send: {}", double_quoted(str::from_utf8(send).unwrap()));
            if let Some(expect) = expect {
                write!(text, ", expect: {}", double_quoted(str::from_utf8(expect).unwrap())).unwrap();
            }
            text
        }
        Probe::Exec(words) => {
            let words: Vec<_> = words.iter().map(|word| style.quote(word)).collect();
            format!("command: [{}]", words.join(", "))
        }
    };
    let mut text = format!("{{ {}: {{ {inside} }}", probe.as_str());
    port.iter().for_each(|port| write!(text, ", port: {port}").unwrap());
    if interval.as_millis() != 2000 || style.toss() {
        write!(text, ", interval: {}ms", interval.as_millis()).unwrap();
    }
    if timeout.as_millis() != 1000 || style.toss() {
        write!(text, ", timeout: {}ms", timeout.as_millis()).unwrap();
    }
    if *rise != 2 || style.toss() {
        write!(text, ", rise: {rise}").unwrap();
    }
    if *fall != 3 || style.toss() {
        write!(text, ", fall: {fall}").unwrap();
    }
    if *initial != Initial::Up || style.toss() {
        write!(text, ", initial: {}", if *initial == Initial::Up { "up" } else { "down" }).unwrap();
    }
    text + " }"
}

/// The only quotes that take every character.
fn double_quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\x{:02x}", c as u32),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

fn write_backend(backend: &Backend, style: &mut Style) -> String {
    let Backend { name, address, port, weight, backup, max_connections } = backend;
    let target = target(*address, *port);
    let plain = name.as_str() == target && *weight == 1 && !backup && max_connections.is_none();
    if plain && style.toss() {
        return style.quote(&target);
    }
    let (address, name) = (style.quote(&target), style.quote(name.as_str()));
    let mut text = format!("{{ address: {address}, name: {name}, weight: {weight}");
    if *backup || style.toss() {
        write!(text, ", backup: {backup}").unwrap();
    }
    max_connections.iter().for_each(|most| write!(text, ", max_connections: {most}").unwrap());
    text + " }"
}
