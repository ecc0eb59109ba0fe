//! What holds for every text, and for every configuration.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use sluice_config::{Loaded, Problem, Severity, Source, parse};
use sluice_core::model::{
    Address, Backend, BackendName, BackendPort, Config, Control, Forwarding, HashOn, InterfaceName, Listener,
    OnStop, Ports, Protocol, Scheduler, Service, ServiceName,
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
    ];
    let policy = (
        any::<bool>(),
        prop::option::of(prop::sample::select(vec!["eth0", "wan.100", "br-7", "007"])),
        prop::sample::select(schedulers),
        prop::sample::select(vec![Source::Masquerade, Source::Preserve]),
    );
    let protocols = prop::sample::select(vec![Protocol::Tcp, Protocol::Udp]);
    let listeners = prop::collection::vec((1u16..60_000, protocols), 1..4);
    let backends = prop::collection::vec((0u16..=256, 0u8..3, 1u16..60_000, any::<bool>()), 0..5);
    let shape = (
        prop::sample::select(vec![1u16, 2, 20]),
        prop::sample::select(vec![[true, false], [false, true], [true, true]]),
    );
    (policy, listeners, backends, shape, any::<bool>()).prop_map(
        move |(
            (enabled, interface, scheduler, source),
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
            let backends = (0..).zip(backends).filter(|_| enough).map(|(m, (weight, kind, port, named))| {
                let address = address(if v4 && v6 { m % 2 == 1 } else { v6 }, 2, m);
                let port = match kind {
                    0 => BackendPort::Keep,
                    1 if size > 1 => BackendPort::Range(range(port)),
                    _ => BackendPort::One(port),
                };
                let name = if named { format!("backend-{m}") } else { target(address, port) };
                let name = BackendName::new(&name).unwrap();
                let weight = if m == 0 { weight.max(1) } else { weight };
                Backend { name, address, port, weight, backup: false, max_connections: None }
            });
            Service {
                enabled,
                backends: backends.collect(),
                listeners,
                interface: interface.map(|name| InterfaceName::new(name).unwrap()),
                scheduler,
                source,
                ..Service::default()
            }
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

fn write_backend(backend: &Backend, style: &mut Style) -> String {
    let target = target(backend.address, backend.port);
    if backend.name.as_str() == target && backend.weight == 1 && style.toss() {
        return style.quote(&target);
    }
    format!(
        "{{ address: {}, name: {}, weight: {} }}",
        style.quote(&target),
        style.quote(backend.name.as_str()),
        backend.weight
    )
}
