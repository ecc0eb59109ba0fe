//! A configuration as somebody may write it.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use sluice_core::model::{
    Announce, Backend, BackendPort, Config, ExecProbe, Forwarding, HashOn, HealthCheck, Http, HttpProbe,
    Initial, Midstream, OnDeny, OnDown, OnEmpty, OnStop, Probe, Scheduler, Service, UdpProbe,
};

pub(crate) fn target(address: IpAddr, port: BackendPort) -> String {
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
pub(crate) struct Style(pub(crate) u64);

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

pub(crate) fn write(config: &Config, style: &mut Style) -> String {
    let Config { forwarding, on_stop, state, refresh, announce, control, http, services } = config;
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
    if *announce != Announce::default() || style.toss() {
        let Announce { interface, hold, withdraw_wait } = announce;
        let (hold, wait) = (hold.as_millis(), withdraw_wait.as_millis());
        let interface = style.quote(interface.as_str());
        let zero = |time: u128| if time == 0 { "0".to_owned() } else { format!("{time}ms") };
        writeln!(
            text,
            "announce: {{ interface: {interface}, hold: {}, withdraw_wait: {} }}",
            zero(hold),
            zero(wait)
        )
        .unwrap();
    }
    writeln!(text, "control:\n  socket: {}", control.socket.display()).unwrap();
    control.group.iter().for_each(|group| writeln!(text, "  group: {}", style.quote(group)).unwrap());
    if let Some(Http { listen, accounting }) = http {
        writeln!(text, "http:\n  listen: {}", style.quote(&listen.to_string())).unwrap();
        if *accounting || style.toss() {
            writeln!(text, "  accounting: {accounting}").unwrap();
        }
    }
    // What the first service says may be everybody's default.
    let default = services.values().next().filter(|_| style.toss());
    if let Some(service) = default {
        let mut defaults = String::new();
        write_policy(&mut defaults, "  ", service, None, style);
        text.push_str(if defaults.is_empty() { "defaults: {}\n" } else { "defaults:\n" });
        text.push_str(&defaults);
    }
    text.push_str(if services.is_empty() { "services: {}\n" } else { "services:\n" });
    for (name, service) in services.iter() {
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
    if service.announce != default.is_some_and(|default| default.announce) || style.toss() {
        writeln!(text, "{indent}announce: {}", service.announce).unwrap();
    }
    let source = default.map_or(Default::default(), |default| default.source);
    if service.source != source || style.toss() {
        writeln!(text, "{indent}source: {}", service.source).unwrap();
    }
    let midstream = Midstream::default_for(service.scheduler, service.source);
    if service.midstream != midstream || default.is_some() || style.toss() {
        let word = if service.midstream == Midstream::Ignore { "ignore" } else { "adopt" };
        writeln!(text, "{indent}midstream: {word}").unwrap();
    }
    let on_deny = default.map_or(OnDeny::default(), |default| default.on_deny);
    if service.on_deny != on_deny || style.toss() {
        let word = if service.on_deny == OnDeny::Keep { "keep" } else { "reset" };
        writeln!(text, "{indent}on_deny: {word}").unwrap();
    }
    write_pool(text, indent, service, default.unwrap_or(&Service::default()), style);
    let scheduler = default.map_or(Scheduler::RoundRobin, |default| default.scheduler);
    if service.scheduler == scheduler && style.toss() {
        return;
    }
    writeln!(text, "{indent}scheduler: {}", service.scheduler.as_str()).unwrap();
    if let Scheduler::SourceHash(on) | Scheduler::Maglev(on, _) = service.scheduler {
        let on = match on {
            HashOn::Address => "source-address",
            HashOn::AddressAndPort => "[source-port, source-address]",
        };
        let size = match service.scheduler {
            Scheduler::Maglev(_, size) if size != 1021 || style.toss() => format!(", table_size: {size}"),
            _ => String::new(),
        };
        writeln!(text, "{indent}hash: {{ on: {on}{size} }}").unwrap();
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
    let hooks = [
        ("on_ready", &service.hooks.on_ready, &default.hooks.on_ready),
        ("on_unready", &service.hooks.on_unready, &default.hooks.on_unready),
    ];
    for (key, hook, default) in hooks {
        if hook != default || style.toss() {
            let words = |words: &Arc<[String]>| {
                let words: Vec<_> = words.iter().map(|word| double_quoted(word)).collect();
                format!("[{}]", words.join(", "))
            };
            writeln!(text, "{indent}{key}: {}", hook.as_ref().map_or("none".to_owned(), words)).unwrap();
        }
    }
    if service.slow_start != default.slow_start || style.toss() {
        writeln!(text, "{indent}slow_start: {}s", service.slow_start.map_or(0, |start| start.as_secs()))
            .unwrap();
    }
}

fn write_check(check: &HealthCheck, style: &mut Style) -> String {
    let HealthCheck { probe, port, interval, timeout, rise, fall, initial } = check;
    let inside = match probe {
        Probe::Tcp | Probe::Sctp | Probe::Icmp => String::new(),
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
        Probe::Exec(ExecProbe { command, keep_capabilities }) => {
            let words: Vec<_> = command.iter().map(|word| style.quote(word)).collect();
            let mut text = format!("command: [{}]", words.join(", "));
            if *keep_capabilities || style.toss() {
                write!(text, ", keep_capabilities: {keep_capabilities}").unwrap();
            }
            text
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
