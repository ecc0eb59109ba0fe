//! One service on its own.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use sluice_core::maglev::DEFAULT_TABLE_SIZE;
use sluice_core::model::{
    Address, Backend, BackendName, BackendPort, HashOn, InterfaceName, Limits, Listener, Midstream, OnDown,
    OnEmpty, Ports, Scheduler, Service, Source,
};
use sluice_core::slots::{MAX_SLOTS, period};
use sluice_nft::Ip;

use super::{Draft, Elements, exact, guard, midstream, pool, ports};
use crate::amount::{Affinity, Connections, Quorum, SlowStart, TableSize};
use crate::choice::{HashPart, Invalid};
use crate::document::{self, Entry};
use crate::endpoint::Target;
use crate::place::{Findings, Here};
use crate::probe::Health;
use crate::problem::{Fault, quoted};
use crate::read::{Given, Many};
use crate::word::Weight;

/// `defaults`, checked once.
pub(super) struct Defaults {
    enabled: Given<bool>,
    interface: Given<InterfaceName>,
    scheduler: Given<Scheduler>,
    hash: Given<Hash>,
    affinity: Given<Affinity>,
    source: Given<Source>,
    pub(super) allow: Given<Vec<IpNet>>,
    pub(super) deny: Given<Vec<IpNet>>,
    pub(super) limits: Given<Limits>,
    pub(super) invalid: Given<Invalid>,
    synproxy: Given<bool>,
    midstream: Given<Midstream>,
    health: Given<Health>,
    on_down: Given<OnDown>,
    on_empty: Given<OnEmpty>,
    quorum: Given<Quorum>,
    slow_start: Given<SlowStart>,
}

impl Defaults {
    pub(super) fn new(here: &Here<'_>, defaults: document::Defaults) -> Self {
        let document::Defaults {
            enabled,
            interface,
            scheduler,
            hash,
            affinity,
            source,
            allow,
            deny,
            limits,
            invalid,
            synproxy,
            midstream,
            health,
            on_down,
            on_empty,
            quorum,
            slow_start,
        } = defaults;
        if let (Given::Good(scheduler), Given::Good(SlowStart(slow_start))) = (&scheduler, &slow_start) {
            pool::check_slow_start(here, *scheduler, *slow_start);
        }
        midstream::check(here, &midstream, matches!(synproxy, Given::Good(true)));
        let hash = Hash::check(&here.key("hash"), hash);
        Defaults {
            enabled,
            interface,
            scheduler,
            hash,
            affinity,
            source,
            allow: guard::networks(&here.key("allow"), allow),
            deny: guard::networks(&here.key("deny"), deny),
            limits: guard::limits(&here.key("limits"), limits),
            invalid,
            synproxy,
            midstream,
            health,
            on_down,
            on_empty,
            quorum,
            slow_start,
        }
    }
}

/// What of the client is hashed, and into how many slots by `maglev`.
#[derive(Clone)]
struct Hash {
    on: HashOn,
    table_size: u32,
}

impl Default for Hash {
    fn default() -> Self {
        Hash { on: HashOn::default(), table_size: DEFAULT_TABLE_SIZE }
    }
}

impl Hash {
    fn check(here: &Here<'_>, hash: Given<document::Hash>) -> Given<Self> {
        let document::Hash { on, table_size } = match hash {
            Given::Absent => return Given::Absent,
            Given::Bad => return Given::Bad,
            Given::Good(hash) => hash,
        };
        let table_size = table_size.or_value(TableSize(DEFAULT_TABLE_SIZE));
        Given::of(
            hash_on(here, on).zip(table_size).map(|(on, TableSize(table_size))| Hash { on, table_size }),
        )
    }
}

impl Draft {
    pub(super) fn new(findings: &Findings, file: usize, entry: Entry, defaults: &Defaults) -> Self {
        let Entry { key, nth, name, service } = entry;
        let root = Here::root(findings, file);
        let services = root.key("services");
        let here = services.nth_key(&key, nth);

        // What only `defaults` say was looked at there.
        let own_start = !matches!((&service.scheduler, &service.slow_start), (Given::Absent, Given::Absent));
        let scheduler = scheduler(&here, service.scheduler, service.hash, defaults);
        let quorum = service.quorum.or(defaults.quorum.clone()).unwrap_or(Quorum(1));
        let slow_start = service.slow_start.or(defaults.slow_start.clone()).unwrap_or(SlowStart(None));
        let affinity = service.affinity.or(defaults.affinity.clone()).unwrap_or(Affinity(None));
        let synproxy = service.synproxy.or(defaults.synproxy.clone()).unwrap_or(false);
        let document::Service { allow, deny, limits, invalid, .. } = service;
        let asked = guard::Asked { allow, deny, limits, invalid };
        let source_said = service.source.or(defaults.source.clone()).unwrap_or_default();
        // Of a handshake that the host completes, backends get the first packet from the host: it comes in by no interface.
        let source_seen = match source_said {
            Source::Preserve if synproxy => Source::Auto,
            source => source,
        };
        let listeners = listeners(&here, service.listen);
        let told_by = (scheduler, source_said, synproxy);
        let midstream =
            midstream::of(&here, service.midstream, defaults.midstream.clone(), told_by, &listeners);
        let policy = Service {
            enabled: service.enabled.or(defaults.enabled.clone()).unwrap_or(true),
            scheduler,
            source: source_seen,
            synproxy,
            midstream,
            guard: guard::of(&here, asked, defaults),
            health: service.health.or(defaults.health.clone()).unwrap_or(Health(None)).0,
            on_down: service.on_down.or(defaults.on_down.clone()).unwrap_or_default(),
            on_empty: service.on_empty.or(defaults.on_empty.clone()).unwrap_or_default(),
            quorum: quorum.0,
            slow_start: slow_start.0,
            affinity: affinity.0.map(|time| time.as_secs() as u32),
            fixed_grid: matches!(scheduler, Scheduler::LeastConnections | Scheduler::Maglev(..)),
            ..Service::default()
        };
        let interface = service.interface.or(defaults.interface.clone());
        let backends = backends(&here.key("backends"), service.backends, &listeners, policy.fixed_grid);
        if listeners.complete && backends.complete {
            families(&here, &listeners, &backends);
        }
        ports::check(&here, &listeners, &backends, &policy);
        source(&here, &listeners, &backends, policy.source);
        exact::check(&here, &listeners, matches!(interface, Given::Absent), &policy);
        if own_start {
            pool::check_slow_start(&here, policy.scheduler, policy.slow_start);
        }
        let draft = Draft { file, key, nth, name, interface, listeners, backends, policy };
        draft.at(findings, |here| pool::check(here, &draft));
        draft
    }
}

fn scheduler(
    here: &Here<'_>,
    own: Given<Scheduler>,
    own_hash: Given<document::Hash>,
    defaults: &Defaults,
) -> Scheduler {
    let scheduler = own.or(defaults.scheduler.clone());
    let hashes =
        matches!(scheduler, Given::Bad | Given::Good(Scheduler::SourceHash(_) | Scheduler::Maglev(..)));
    if !hashes && !matches!(own_hash, Given::Absent) {
        here.key("hash").error_at_key(Fault::new(
            "`hash` is of no use without the scheduler source-hash or maglev",
            "add `scheduler: source-hash` or `scheduler: maglev`, or remove `hash`",
        ));
    }
    let sized = matches!(&own_hash, Given::Good(hash) if !matches!(hash.table_size, Given::Absent));
    if sized && matches!(scheduler, Given::Good(Scheduler::SourceHash(_))) {
        here.key("hash").key("table_size").error_at_key(Fault::new(
            "`table_size` is of no use without the scheduler maglev",
            "write `scheduler: maglev`, or remove `table_size`",
        ));
    }
    let hash = Hash::check(&here.key("hash"), own_hash).or(defaults.hash.clone()).unwrap_or_default();
    match scheduler.unwrap_or_default() {
        Scheduler::SourceHash(_) => Scheduler::SourceHash(hash.on),
        Scheduler::Maglev(..) => Scheduler::Maglev(hash.on, hash.table_size),
        other => other,
    }
}

fn hash_on(here: &Here<'_>, on: Given<Many<HashPart>>) -> Option<HashOn> {
    let parts = match on {
        Given::Absent => return Some(HashOn::default()),
        Given::Bad => return None,
        Given::Good(Many(parts)) => parts.into_iter().collect::<Option<Vec<_>>>()?,
    };
    let what = match parts[..] {
        [HashPart::Address] => return Some(HashOn::Address),
        [HashPart::Address, HashPart::Port] | [HashPart::Port, HashPart::Address] => {
            return Some(HashOn::AddressAndPort);
        }
        [] => "there is nothing to hash",
        [HashPart::Port] => "source-port alone is not supported",
        _ => "a part of the client is named twice",
    };
    here.key("on").error(Fault::new(what, "write [source-address] or [source-address, source-port]"));
    None
}

fn listeners(here: &Here<'_>, listen: Given<Many<Listener>>) -> Elements<Listener> {
    let elements = match listen {
        Given::Good(Many(elements)) => elements,
        Given::Bad => vec![None],
        Given::Absent => {
            let fix = "add one, such as `listen: 203.0.113.10:80`";
            here.error_at_key(Fault::new("the service has no `listen`", fix));
            vec![None]
        }
    };
    let here = here.key("listen");
    if elements.is_empty() {
        here.error(Fault::new("the list is empty", "add a listener, such as 203.0.113.10:80"));
    }
    Elements::of(elements)
}

fn backends(
    here: &Here<'_>,
    backends: Given<Many<document::Backend>>,
    listeners: &Elements<Listener>,
    fixed_grid: bool,
) -> Elements<Backend> {
    let elements = match backends {
        Given::Good(Many(elements)) => elements,
        Given::Bad => vec![None],
        Given::Absent => vec![],
    };
    let common = common_ports(listeners);
    let mut targets: BTreeMap<(IpAddr, BackendPort), usize> = BTreeMap::new();
    let mut names: HashMap<BackendName, usize> = HashMap::with_capacity(elements.len());
    let mut weights_known = true;
    let elements = elements.into_iter().enumerate().map(|(index, element)| {
        let document::Backend { target, name, weight, backup, max_connections } = element?;
        let here = here.index(index);
        let port = common.map_or(target.port, |ports| spelled_out(target.port, ports));
        if let Some(earlier) = targets.insert((target.address, port), index) {
            let fault = Fault::new(
                format!("{target} is already a backend of this service"),
                "remove one of them; for a larger share use `weight`",
            );
            here.error_because_of(fault, here.sibling(earlier).place());
            return None;
        }
        let name = match name {
            Given::Good(name) => name,
            Given::Absent => default_name(target),
            Given::Bad => return None,
        };
        if let Some(earlier) = names.insert(name.clone(), index) {
            let fault = Fault::new(
                format!("{} already names a backend of this service", quoted(&name)),
                "choose another name",
            );
            here.key("name").error_because_of(fault, here.sibling(earlier).place());
        }
        weights_known &= !matches!(weight, Given::Bad);
        let Weight(weight) = weight.unwrap_or(Weight(1));
        Some(Backend {
            name,
            address: target.address,
            port: target.port,
            weight,
            backup: backup.or_value(false)?,
            max_connections: max_connections.map_or_else(|| None, |Connections(most)| Some(most)),
        })
    });
    let backends = Elements::of(elements);
    if backends.complete && weights_known {
        weights(here, &backends, fixed_grid);
    }
    backends
}

/// The ports of the listeners, if they all have the same.
fn common_ports(listeners: &Elements<Listener>) -> Option<Ports> {
    let first = listeners.iter().next()?.ports;
    (listeners.complete && listeners.iter().all(|listener| listener.ports == first)).then_some(first)
}

/// The port with nothing left to the listener, so that `10.0.2.11` and `10.0.2.11:80` behind port 80 are equal.
fn spelled_out(port: BackendPort, listener: Ports) -> BackendPort {
    match (port, listener.as_single()) {
        (BackendPort::Keep, Some(port)) => BackendPort::One(port),
        (BackendPort::Keep, None) => BackendPort::Range(listener),
        _ => port,
    }
}

fn default_name(target: Target) -> BackendName {
    BackendName::new(&target.to_string())
        .expect("an address and two ports are printable and have at most 53 characters")
}

fn weights(here: &Here<'_>, backends: &Elements<Backend>, fixed_grid: bool) {
    if !backends.good.is_empty() && backends.iter().all(|backend| backend.weight == 0) {
        let fix = "give one of them a weight, or say `enabled: false`";
        here.error_at_key(Fault::new("every backend has weight 0", fix));
    }
    if fixed_grid {
        return;
    }
    for ip in Ip::ALL {
        let of_version = backends.iter().filter(|backend| Ip::of(backend.address) == ip);
        let slots = period(of_version.map(|backend| backend.weight));
        if slots > MAX_SLOTS {
            here.error_at_key(Fault::new(
                format!("these weights need {slots} slots, more than {MAX_SLOTS}"),
                "use weights with a common divisor",
            ));
        }
    }
}

/// A source has an IP version, and so have the flows that get it.
fn source(here: &Here<'_>, listeners: &Elements<Listener>, backends: &Elements<Backend>, source: Source) {
    let Source::Addresses(first, _) = source else { return };
    let ip = Ip::of(first);
    let listener = listeners
        .iter()
        .find(|listener| matches!(listener.address, Address::Exact(address) if Ip::of(address) != ip));
    let backend = backends.iter().find(|backend| Ip::of(backend.address) != ip);
    let other = listener.map(ToString::to_string).or_else(|| Some(backend?.name.to_string()));
    if let Some(other) = other {
        here.key("source").error(Fault::new(
            format!("the source {source} is of another IP version than {other}"),
            "make two services, one for each version",
        ));
    }
}

/// Listeners need backends of their IP version, and the other way round; `*` takes the backends' versions.
fn families(here: &Here<'_>, listeners: &Elements<Listener>, backends: &Elements<Backend>) {
    if listeners.good.is_empty() || backends.good.is_empty() {
        return;
    }
    let any = listeners.iter().any(|listener| listener.address == Address::Any);
    for ip in Ip::ALL {
        let listener = listeners.good.iter().find(|(_, listener)| match listener.address {
            Address::Any => false,
            Address::Exact(address) => Ip::of(address) == ip,
        });
        let backend = backends.good.iter().find(|(_, backend)| Ip::of(backend.address) == ip);
        let version = match ip {
            Ip::V4 => "IPv4",
            Ip::V6 => "IPv6",
        };
        match (listener, backend) {
            (Some((index, listener)), None) => {
                let what = format!("{listener} is {version}, and no backend is");
                let fix = format!("add an {version} backend, or remove the listener");
                here.key("listen").index(*index).error(Fault::new(what, fix));
            }
            (None, Some((index, backend))) if !any => {
                let what = format!("backend {} is {version}, and no listener is", backend.name);
                let fix = format!("add an {version} listener, or remove the backend");
                here.key("backends").index(*index).error(Fault::new(what, fix));
            }
            _ => {}
        }
    }
}
