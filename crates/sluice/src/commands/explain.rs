//! `sluice explain`: traces the first packet of a connection through the ruleset.

mod notes;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;
use clap::error::ErrorKind;
use serde::Serialize;
use serde_json::Value;
use sluice_core::model::{
    Config, EffectiveServices, Networks, Ports, Protocol, Services, Source, SourcePorts,
};
use sluice_core::pool;
use sluice_core::render::clients as affinity;
use sluice_core::render::render;
use sluice_nft::trace::{Host, Packet};
use sluice_nft::{Dataplane, Element, Ip, Table};
use sluiced::fatal::Fatal;

use crate::commands::usage_error;
use crate::doctor::{End, Hook, Tables};
use crate::explain::{Choice, Explanation, Fate, SourceSeen, explain};
use crate::options::Common;
use crate::progress::Progress;
use crate::{config, daemon, doctor, kernel, output};

/// Show which backend a connection gets, and why
///
/// Traces the first packet of a connection through the ruleset in the kernel, or through that of the file if the kernel
/// has none: the service, the result of its guard, the backend or the shares of several, and the source address that the
/// backend sees. Assumes that no limit is reached, and lists the limits. If sluiced runs, also lists backends that get no new
/// connections, with the reason. Names tables of other programs that translate the connection, too, and says which wins.
/// Sends no packets. Needs CAP_NET_ADMIN.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ExplainCommand {
    /// Client: ADDRESS or ADDRESS:PORT, with brackets around an IPv6 ADDRESS before a port
    #[arg(value_parser = client)]
    client: (IpAddr, Option<u16>),

    /// Destination: ADDRESS:PORT[/PROTOCOL], by default /tcp
    #[arg(value_parser = listener)]
    to: (SocketAddr, Protocol),

    /// Configuration file of the ruleset
    file: Option<PathBuf>,

    /// Input interface [default: that of the route to the client]
    #[arg(short, long, value_name = "NAME")]
    interface: Option<String>,

    /// The client is this host
    #[arg(long, conflicts_with = "interface")]
    local: bool,

    /// Print the explanation as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice explain 198.51.100.7 203.0.113.10:80
  sluice explain 198.51.100.7:40000 203.0.113.10:53/udp
  sluice explain --local 10.0.1.1 '[2001:db8::10]:80'

JSON: { \"service\", \"listener\", \"synproxy\", \"fate\": not-handled, dropped, refused or backend, \"reason\": of the guard or null,
        \"by\": affinity, hash, round-robin or random, or null, \"backends\": [{ \"name\", \"address\", \"share\" }],
        \"source\": client, masquerade or addresses, or null, \"source_port\": kept, random or null,
        \"notes\": [line] }

Exit codes: 0 a service handles it, 1 no service does.";

#[derive(Serialize)]
struct ExplainReport {
    service: Option<String>,
    listener: Option<String>,
    synproxy: bool,
    fate: &'static str,
    reason: Option<&'static str>,
    by: Option<&'static str>,
    backends: Vec<BackendShare>,
    source: Option<String>,
    source_port: Option<&'static str>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct BackendShare {
    name: Option<String>,
    address: String,
    share: f64,
}

impl ExplainCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let Config { services, control, .. } = config::load(common.config(self.file.as_ref()))?.config;
        let ((to, protocol), (client, port)) = (self.to, self.client);
        if to.is_ipv4() != client.is_ipv4() {
            let what = "client and destination have different IP versions";
            usage_error::<Self>("sluice explain", ErrorKind::ValueValidation, what);
        }
        let progress = Progress::of("explain: reading the kernel");
        let addresses = kernel::addresses()?;
        let networks = Networks::of(addresses.iter().cloned());
        let at_start = pool::at_start(&services);
        let effective = EffectiveServices::new(&services, &at_start).with_networks(&networks);
        let table = match live()? {
            Some(table) => table,
            None => {
                output::print_error(
                    "sluice: the kernel has no table inet sluice: using the ruleset of the file",
                );
                render(effective, None).table
            }
        };
        let broadcast = addresses.iter().map(|(_, net)| net.broadcast()).filter(IpAddr::is_ipv4);
        let host = Host {
            local: addresses.iter().map(|(_, net)| net.addr()).collect(),
            broadcast: broadcast.collect(),
        };
        let from = SocketAddr::new(client, port.unwrap_or(40_000));
        let mut packet = match self.local {
            true => Packet::local(protocol, from, to),
            false => Packet::arriving(protocol, from, to),
        };
        if let sluice_nft::trace::Ingress::Arriving(name) = &mut packet.ingress {
            *name = self.interface.clone().unwrap_or_else(|| device_to(client));
        }
        // The source depends on the output interface, which depends on the backend.
        let mut explained = explain(&table, effective, &host, &packet, port.is_none());
        if let Fate::Translated { backends, .. } = &explained.fate {
            packet.leaves = backends.first().map(|(backend, _)| device_to(backend.ip())).unwrap_or_default();
            explained = explain(&table, effective, &host, &packet, port.is_none());
        }
        drop(progress);
        let is_taken = explained.taken_by.is_some() || explained.fate != Fate::Untouched;
        let mut notes = match &explained.taken_by {
            None if is_taken => vec![],
            None => notes::near(&services, self.to, &packet.ingress, &host),
            Some((name, _)) => {
                let service = &services[name];
                let socket = common.socket_or(&control.socket);
                let status = daemon::ask_if_running("explain", socket, async |client| client.status().await);
                let (status, mut notes) = match status {
                    Ok(status) => (status, vec![]),
                    Err(error) => (None, vec![format!("health and overrides are unknown: {error}")]),
                };
                let status =
                    status.as_ref().and_then(|it| it.services.iter().find(|it| it.name == name.as_str()));
                notes.extend(service.guard.iter().flat_map(|guard| notes::limits(&guard.limits)));
                notes.extend(notes::idle((name, service), at_start.get(name), status, Ip::of(to.ip())));
                notes
            }
        };
        if is_taken {
            notes.extend(self.also_translated());
        }
        match self.json {
            true => output::print_json(&ExplainReport { notes, ..report(&explained, &services) })?,
            false => output::print(&self.text(&explained, &services, &notes))?,
        }
        Ok(ExitCode::from(u8::from(!is_taken)))
    }

    /// Tables of other programs that translate it, too.
    fn also_translated(&self) -> Vec<String> {
        let ((to, protocol), (client, port)) = (self.to, self.client);
        let end = |address, port: Option<u16>| End {
            address: Some(address),
            ports: port.map(|port| Ports { first: port, last: port }),
        };
        let packet = doctor::Packet {
            ip: Ip::of(client),
            protocol,
            source: end(client, port),
            destination: end(to.ip(), Some(to.port())),
            original: end(to.ip(), Some(to.port())),
            is_translated: false,
        };
        let hook = if self.local { Hook::Output } else { Hook::Prerouting };
        doctor::also_translated(&Tables::read_nat(), &packet, hook)
    }

    /// One sentence per decision.
    fn text(&self, explained: &Explanation, services: &Services, notes: &[String]) -> String {
        let (to, protocol) = self.to;
        let ExplainReport { by, backends, source, source_port, .. } = report(explained, services);
        let service = explained.taken_by.as_ref().and_then(|(name, _)| services.get(name));
        let mut text = match &explained.taken_by {
            Some((name, listener)) => format!("service {name} handles it, listener {listener}\n"),
            None if explained.fate == Fate::Untouched => {
                let there =
                    if notes.is_empty() { String::new() } else { format!(": there is {}", notes.join("; ")) };
                return format!("no service handles {to}/{protocol}{there}\n");
            }
            None => "a service that is not in the file handles it: see `sluice plan`\n".to_owned(),
        };
        if explained.proxied {
            text += "it continues after a handshake with this host (synproxy)\n";
        }
        if service.is_some_and(|service| service.guard.is_some()) {
            text += match explained.fate {
                Fate::Dropped(_) => "",
                _ => "the guard accepts it, if no limit is reached\n",
            };
        }
        text += &match &explained.fate {
            Fate::Dropped(reason) => format!("the guard drops it: {}\n", reason.as_str()),
            Fate::Silence => "it is dropped: no backend is eligible\n".to_owned(),
            Fate::Refused => "it is refused: no backend is eligible\n".to_owned(),
            Fate::Untouched => "it is not handled\n".to_owned(),
            Fate::Translated { .. } => {
                let how = match by {
                    Some("affinity") => "by affinity",
                    Some("hash") if backends.len() > 1 => {
                        "by a hash of the client and its port (no port given)"
                    }
                    Some("hash") => "by a hash of the client",
                    Some("round-robin") => "round-robin",
                    _ => "at random",
                };
                let scheduler = service.map(|service| format!("scheduler {}; ", service.scheduler.as_str()));
                format!("{}this connection goes {how} to\n", scheduler.unwrap_or_default())
            }
        };
        for BackendShare { name, address, share } in &backends {
            let name = name.as_ref().filter(|name| *name != address).map(|name| format!(" ({name})"));
            let share = if backends.len() > 1 { format!(" {:5.1} %", 100.0 * share) } else { String::new() };
            text += &format!("  {address}{}{share}\n", name.unwrap_or_default());
        }
        if let Some(source) = source {
            text += &match source.as_str() {
                "client" => format!("which sees the client address {}\n", self.client.0),
                "masquerade" => "which sees an address of this host (masquerade)\n".to_owned(),
                addresses => {
                    let port = if source_port == Some("kept") {
                        " with the client's port, if it is free"
                    } else {
                        ""
                    };
                    format!("which sees {addresses}{port}\n")
                }
            };
        }
        text + &notes.iter().map(|note| format!("{note}\n")).collect::<String>()
    }
}

fn report(explained: &Explanation, services: &Services) -> ExplainReport {
    let service = explained.taken_by.as_ref().and_then(|(name, _)| services.get(name));
    let name = |to: &SocketAddr| {
        let (_, listener) = explained.taken_by.as_ref()?;
        let own = service?.backends.iter().find(|backend| {
            let translated = |port| backend.port.translate(listener.ports, port);
            let mut ports = listener.ports.first..=listener.ports.last;
            backend.address == to.ip() && ports.any(|port| translated(port) == to.port())
        });
        own.map(|backend| backend.name.to_string())
    };
    let mut report = ExplainReport {
        service: explained.taken_by.as_ref().map(|(name, _)| name.to_string()),
        listener: explained.taken_by.as_ref().map(|(_, listener)| listener.to_string()),
        synproxy: explained.proxied,
        fate: "not-handled",
        reason: None,
        by: None,
        backends: vec![],
        source: None,
        source_port: None,
        notes: vec![],
    };
    match &explained.fate {
        Fate::Untouched => {}
        Fate::Dropped(reason) => (report.fate, report.reason) = ("dropped", Some(reason.as_str())),
        Fate::Silence => report.fate = "dropped",
        Fate::Refused => report.fate = "refused",
        Fate::Translated { backends, by, source } => {
            report.fate = "backend";
            report.by = Some(match by {
                Choice::Affinity => "affinity",
                Choice::Hash { .. } => "hash",
                Choice::Turns => "round-robin",
                Choice::Chance => "random",
            });
            report.backends = backends
                .iter()
                .map(|(to, share)| BackendShare { name: name(to), address: to.to_string(), share: *share })
                .collect();
            report.source = Some(match source {
                SourceSeen::Client => "client".to_owned(),
                SourceSeen::Masquerade => "masquerade".to_owned(),
                SourceSeen::Addresses(first, last, ports) => {
                    Source::Addresses(*first, *last, *ports).to_string()
                }
            });
            report.source_port = Some(match source {
                SourceSeen::Client | SourceSeen::Addresses(_, _, SourcePorts::Keep) => "kept",
                SourceSeen::Masquerade | SourceSeen::Addresses(_, _, SourcePorts::Random) => "random",
            });
        }
    }
    report
}

/// The table in the kernel, with the elements of affinity maps.
fn live() -> Result<Option<Table>, Fatal> {
    let mut netlink = kernel::look()?;
    let Some(mut table) = netlink.read().map_err(kernel::unread)?.table else { return Ok(None) };
    let maps: Vec<_> = affinity::maps(&table).map(|clients| clients.name).collect();
    for name in maps {
        let Some(map) = table.sets.get_mut(&name) else { continue };
        let learned = netlink.dynamic_elements(&name, map).map_err(kernel::unread)?;
        let element = |data| Element { data };
        map.elements.extend(learned.into_iter().map(|(key, data)| (key, element(data))));
    }
    Ok(Some(table))
}

/// The output interface of the route to an address; empty without a route.
fn device_to(address: IpAddr) -> String {
    let route = Command::new("ip").args(["-json", "route", "get", &address.to_string()]).output();
    let routes: Option<Value> = route.ok().and_then(|route| serde_json::from_slice(&route.stdout).ok());
    routes.and_then(|routes| Some(routes[0]["dev"].as_str()?.to_owned())).unwrap_or_default()
}

fn client(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    let with_port = text.parse::<SocketAddr>().map(|client| (client.ip(), Some(client.port())));
    let client = with_port.or_else(|_| text.parse().map(|address| (address, None)));
    client.map_err(|_| "write ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT".to_owned())
}

fn listener(text: &str) -> Result<(SocketAddr, Protocol), String> {
    let (address, protocol) = match text.split_once('/') {
        None => (text, Some(Protocol::default())),
        Some((address, name)) => (address, Protocol::from_name(name)),
    };
    let protocol = protocol.ok_or_else(|| {
        let known = Protocol::ALL.map(|protocol| format!("/{protocol}"));
        format!("unknown protocol (known: {})", known.join(", "))
    })?;
    let address = address.parse().map_err(|_| "write ADDRESS:PORT or [ADDRESS]:PORT".to_owned())?;
    Ok((address, protocol))
}

/// Reports with everything in them.
#[cfg(test)]
pub(crate) fn examples() -> Vec<serde_json::Value> {
    let (dash, text) = (|| None, |text: &str| Some(text.to_owned()));
    let nothing = ExplainReport {
        service: dash(),
        listener: dash(),
        synproxy: false,
        fate: "not-handled",
        reason: None,
        by: None,
        backends: vec![],
        source: dash(),
        source_port: None,
        notes: vec![],
    };
    let backend = |name| BackendShare { name, address: "10.0.2.11:8080".into(), share: 0.5 };
    let taken = |fate, reason, by| ExplainReport {
        service: text("web"),
        listener: text("203.0.113.10:80/tcp"),
        synproxy: true,
        fate,
        reason,
        by,
        backends: vec![backend(text("web1")), backend(None)],
        source: text("client"),
        source_port: Some("kept"),
        notes: vec!["web/web3 gets no new connections: unhealthy".into()],
    };
    let mut reports = vec![nothing, taken("dropped", Some("denied"), None), taken("refused", None, None)];
    reports.push(ExplainReport { source_port: Some("random"), ..taken("backend", None, Some("hash")) });
    reports.extend(["affinity", "hash", "round-robin", "random"].map(|by| taken("backend", None, Some(by))));
    reports.into_iter().map(|report| serde_json::to_value(report).unwrap()).collect()
}
