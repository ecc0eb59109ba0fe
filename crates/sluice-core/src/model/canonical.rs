//! The canonical text of services, from which two nodes see whether they have the same ones.
//!
//! The text does not depend on how a file is written, and a key with its default does not appear. So a new key must not
//! appear with its default, or nodes with two versions of sluice differ although their files do not.

use std::fmt::{self, Debug, Write};
use std::sync::Arc;
use std::time::Duration;

use super::{
    Address, Backend, BackendPort, Config, ExecProbe, Guard, HealthCheck, Hooks, HttpProbe, Limits, Listener,
    Ports, Probe, Quorum, Scheduler, Service, Services, Source, UdpProbe,
};

/// Changes with the meaning of services that are written alike, for example with a hash function.
const VERSION: u32 = 1;

impl Config {
    /// The part that nodes with the same purpose have in common: the services. The rest says how one node runs.
    pub fn shared(&self) -> &Arc<Services> {
        let Config {
            services,
            forwarding: _,
            on_stop: _,
            state: _,
            refresh: _,
            announce: _,
            control: _,
            http: _,
        } = self;
        services
    }
}

/// Writes the canonical text. Services are in the order of their names, backends in that of the file.
///
/// # Errors
/// Those of `out`.
pub fn write_canonical(services: &Services, out: &mut impl Write) -> fmt::Result {
    writeln!(out, "services {VERSION}")?;
    for (name, service) in services {
        write!(out, "{name}")?;
        Line(out).service(service)?;
        writeln!(out)?;
    }
    Ok(())
}

/// The fields of one line.
struct Line<'a, W>(&'a mut W);

impl<W: Write> Line<'_, W> {
    fn service(&mut self, service: &Service) -> fmt::Result {
        let Service {
            enabled,
            listeners,
            interface,
            announce,
            mode,
            scheduler,
            source,
            guard,
            on_deny,
            synproxy,
            midstream,
            health,
            on_down,
            on_empty,
            quorum,
            hooks: Hooks { on_ready, on_unready },
            slow_start,
            // Follows from the scheduler.
            fixed_grid: _,
            affinity,
            // The state of backends, not the file.
            evict_from: _,
            unhealthy: _,
            disabled: _,
            nominal_weights: _,
            backends,
        } = service;
        let default = Service::default();
        let mut listeners = listeners.clone();
        listeners.sort();
        listeners.iter().try_for_each(|listener| self.listener(listener))?;
        self.differing("enabled", enabled, &default.enabled)?;
        self.optional("interface", interface.as_ref().map(|name| name.as_str()))?;
        self.differing("announce", announce, &default.announce)?;
        self.differing("mode", mode, &default.mode)?;
        self.scheduler(*scheduler)?;
        self.source(*source)?;
        if let Some(guard) = guard {
            self.guard(guard)?;
        }
        self.differing("on_deny", on_deny, &default.on_deny)?;
        self.differing("synproxy", synproxy, &default.synproxy)?;
        self.differing("midstream", midstream, &default.midstream)?;
        if let Some(health) = health {
            self.health(health)?;
        }
        self.differing("on_down", on_down, &default.on_down)?;
        self.differing("on_empty", on_empty, &default.on_empty)?;
        let Quorum { up, down } = quorum;
        if *quorum != default.quorum {
            write!(self.0, " quorum={up},{down}")?;
        }
        self.command("on_ready", on_ready.as_deref())?;
        self.command("on_unready", on_unready.as_deref())?;
        self.optional("slow_start", slow_start.map(nanoseconds))?;
        self.optional("affinity", *affinity)?;
        backends.iter().try_for_each(|backend| self.backend(backend))
    }

    fn listener(&mut self, Listener { address, ports, protocol }: &Listener) -> fmt::Result {
        let Ports { first, last } = ports;
        match address {
            Address::Any => write!(self.0, " listen=*,{first}-{last},{protocol}"),
            Address::Exact(address) => write!(self.0, " listen={address},{first}-{last},{protocol}"),
        }
    }

    fn scheduler(&mut self, scheduler: Scheduler) -> fmt::Result {
        let name = scheduler.as_str();
        match scheduler {
            Scheduler::RoundRobin => Ok(()),
            Scheduler::Random | Scheduler::LeastConnections | Scheduler::First => {
                write!(self.0, " scheduler={name}")
            }
            Scheduler::SourceHash(on) => write!(self.0, " scheduler={name},{on:?}"),
            Scheduler::Maglev(on, slots) => write!(self.0, " scheduler={name},{on:?},{slots}"),
        }
    }

    fn source(&mut self, source: Source) -> fmt::Result {
        match source {
            Source::Masquerade => Ok(()),
            Source::Auto | Source::Preserve => write!(self.0, " source={source}"),
            Source::Addresses(first, last, ports) => write!(self.0, " source={first},{last},{ports:?}"),
        }
    }

    fn guard(&mut self, Guard { allow, deny, limits, drop_invalid }: &Guard) -> fmt::Result {
        for (key, networks) in [("allow", allow), ("deny", deny)] {
            let mut networks = networks.clone();
            networks.sort();
            networks.iter().try_for_each(|network| write!(self.0, " {key}={network}"))?;
        }
        let Limits { new_connections, new_connections_per_client, connections_per_client, clients, on_full } =
            limits;
        let rates = [("rate", new_connections), ("client_rate", new_connections_per_client)];
        for (key, rate) in rates {
            if let Some(sluice_nft::Rate { packets, unit, burst }) = rate {
                write!(self.0, " {key}={packets},{unit},{burst}")?;
            }
        }
        let default = Guard::default();
        self.optional("client_connections", *connections_per_client)?;
        self.differing("clients", clients, &default.limits.clients)?;
        self.differing("on_full", on_full, &default.limits.on_full)?;
        self.differing("drop_invalid", drop_invalid, &default.drop_invalid)
    }

    fn health(&mut self, health: &HealthCheck) -> fmt::Result {
        let HealthCheck { probe, port, interval, timeout, rise, fall, initial } = health;
        write!(self.0, " health={}", probe.as_str())?;
        match probe {
            Probe::Tcp | Probe::Sctp | Probe::Icmp => {}
            Probe::Http(HttpProbe { path, host, expect, body, tls, verify }) => {
                self.text("path", path)?;
                host.iter().try_for_each(|host| self.text("host", host))?;
                let mut expect = expect.clone();
                expect.sort_unstable();
                expect.iter().try_for_each(|(first, last)| write!(self.0, " expect={first}-{last}"))?;
                body.iter().try_for_each(|body| self.text("body", body))?;
                write!(self.0, " tls={tls} verify={verify}")?;
            }
            Probe::Udp(UdpProbe { send, expect }) => {
                write!(self.0, " send={send:?}")?;
                expect.iter().try_for_each(|expect| write!(self.0, " expect={expect:?}"))?;
            }
            Probe::Exec(ExecProbe { command, keep_capabilities }) => {
                self.command("command", Some(command))?;
                write!(self.0, " keep_capabilities={keep_capabilities}")?;
            }
        }
        self.optional("port", *port)?;
        let [interval, timeout] = [*interval, *timeout].map(nanoseconds);
        write!(self.0, " interval={interval} timeout={timeout} rise={rise} fall={fall} initial={initial:?}")
    }

    fn backend(&mut self, backend: &Backend) -> fmt::Result {
        let Backend { name, address, port, weight, backup, max_connections } = backend;
        write!(self.0, " backend={name} address={address}")?;
        match port {
            BackendPort::Keep => {}
            BackendPort::One(port) => write!(self.0, " port={port}")?,
            BackendPort::Range(Ports { first, last }) => write!(self.0, " port={first}-{last}")?,
        }
        self.differing("weight", weight, &1)?;
        self.differing("backup", backup, &false)?;
        self.optional("max_connections", *max_connections)
    }

    fn differing<T: Debug + PartialEq>(&mut self, key: &str, value: &T, default: &T) -> fmt::Result {
        if value == default { Ok(()) } else { write!(self.0, " {key}={value:?}") }
    }

    fn optional(&mut self, key: &str, value: Option<impl fmt::Display>) -> fmt::Result {
        value.map_or(Ok(()), |value| write!(self.0, " {key}={value}"))
    }

    fn command(&mut self, key: &str, command: Option<&[String]>) -> fmt::Result {
        let Some(command) = command else { return Ok(()) };
        write!(self.0, " {key}={}", command.len())?;
        command.iter().try_for_each(|argument| self.text("argument", argument))
    }

    /// Text of any characters: its length in bytes tells where it ends.
    fn text(&mut self, key: &str, text: &str) -> fmt::Result {
        write!(self.0, " {key}={}:{text}", text.len())
    }
}

fn nanoseconds(time: Duration) -> u128 {
    time.as_nanos()
}
