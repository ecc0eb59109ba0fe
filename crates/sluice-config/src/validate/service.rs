//! Checks of one service.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use sluice_core::model::{
    Address, Backend, BackendName, BackendPort, HashOn, Hooks, Listener, OnDeny, OnDown, Ports, Protocol,
    Scheduler, Service, Source,
};
use sluice_core::render::bounds::Excess;
use sluice_core::render::maglev::DEFAULT_TABLE_SIZE;
use sluice_nft::Ip;

use super::{Draft, Elements, announce, exact, guard, midstream, pool, ports, source};
use crate::document::{self, NamedService, Settings};
use crate::endpoint::BackendAddress;
use crate::hash::HashSettings;
use crate::health::HealthSetting;
use crate::mapping::Mapping;
use crate::problem::{Fault, quoted};
use crate::read::{Checked, Given, Many};
use crate::values::Weight;
use crate::values::{Affinity, ConnectionCount, SlowStart, TableSize};
use crate::yaml_path::{Findings, Here};

/// Checks the combination of keys in `defaults`. Services do not report these again.
pub(super) fn check_defaults(here: &Here<'_>, defaults: &Settings) {
    let Settings { scheduler, slow_start, midstream, synproxy, source, source_ports, .. } = defaults;
    if let (Given::Good(scheduler), Given::Good(SlowStart(slow_start))) = (scheduler, slow_start) {
        pool::check_slow_start(here, *scheduler, *slow_start);
    }
    midstream::check(here, midstream, matches!(synproxy, Given::Good(true)));
    if !matches!(source, Given::Absent) {
        source::check_ports(here, source_ports, source);
    }
}

impl Draft {
    pub(super) fn new(findings: &Findings, file: usize, service: NamedService, defaults: &Settings) -> Self {
        let NamedService { key, nth, name, service } = service;
        let document::Service { listen, backends, settings: own } = service;
        let root = Here::root(findings, file);
        let services = root.key("services");
        let here = services.nth_key(&key, nth);
        let listeners = listeners(&here, listen);

        // `check_defaults` checks the combinations within `defaults`.
        let has_own_slow_start = !matches!((&own.scheduler, &own.slow_start), (Given::Absent, Given::Absent));
        let (own_hash, own_midstream, own_on_deny, own_source_ports) =
            (own.hash.clone(), own.midstream.clone(), own.on_deny.clone(), own.source_ports.clone());
        let settings = own.or(defaults.clone());
        check_hash(&here, &own_hash, &settings.scheduler);
        let synproxy = settings.synproxy.clone().unwrap_or(false);
        midstream::check(&here, &own_midstream, synproxy);
        check_protocol(&here, "midstream", &own_midstream, &listeners, Protocol::has_midstream);
        check_protocol(&here, "on_deny", &own_on_deny, &listeners, Protocol::has_connections);

        let guard = guard::guard(&settings);
        let scheduler = scheduler(settings.scheduler, settings.hash);
        source::check_ports(&here, &own_source_ports, &settings.source);
        let written_source = source::source(settings.source, settings.source_ports);
        // With synproxy this host sends the first packet to the backend: it has no input interface.
        let source = match written_source {
            Source::Preserve if synproxy => Source::Auto,
            source => source,
        };
        let policy = Service {
            enabled: settings.enabled.unwrap_or(true),
            announce: settings.announce.unwrap_or(false),
            scheduler,
            source,
            synproxy,
            midstream: midstream::midstream(settings.midstream, scheduler, written_source, synproxy),
            guard,
            on_deny: settings.on_deny.unwrap_or_default(),
            health: settings.health.unwrap_or(HealthSetting(None)).0,
            on_down: settings.on_down.unwrap_or_default(),
            on_empty: settings.on_empty.unwrap_or_default(),
            quorum: settings.quorum.unwrap_or_default().0,
            hooks: Hooks {
                on_ready: settings.on_ready.unwrap_or_default().0,
                on_unready: settings.on_unready.unwrap_or_default().0,
            },
            slow_start: settings.slow_start.unwrap_or(SlowStart(None)).0,
            affinity: settings.affinity.unwrap_or(Affinity(None)).0.map(|time| time.as_secs() as u32),
            fixed_grid: matches!(scheduler, Scheduler::LeastConnections | Scheduler::Maglev(..)),
            ..Service::default()
        };
        let interface = settings.interface;
        let backends = self::backends(&here.key("backends"), backends, &listeners, policy.fixed_grid);
        if listeners.complete && backends.complete {
            families(&here, &listeners, &backends);
        }
        ports::check(&here, &listeners, &backends, &policy);
        source::check_version(&here, &listeners, &backends, policy.source);
        check_reset(&here, &listeners, &policy);
        exact::check(&here, &listeners, matches!(interface, Given::Absent), &policy);
        if policy.announce {
            announce::check(&here, &listeners);
        }
        if has_own_slow_start {
            pool::check_slow_start(&here, policy.scheduler, policy.slow_start);
        }
        let draft = Draft { file, key, nth, name, interface, listeners, backends, policy };
        draft.at(findings, |here| pool::check(here, &draft));
        draft
    }
}

/// Warns about a key for TCP if it does not concern the protocol of any listener.
fn check_protocol<T>(
    here: &Here<'_>,
    key: &str,
    own: &Given<T>,
    listeners: &Elements<Listener>,
    concerns: impl Fn(Protocol) -> bool,
) {
    let is_concerned = |listener: &Listener| concerns(listener.protocol);
    if !matches!(own, Given::Absent) && listeners.complete && !listeners.iter().any(is_concerned) {
        here.key(key).warning(Fault::new(
            format!("`{key}` applies to TCP, but no listener is TCP"),
            format!("remove `{key}`"),
        ));
    }
}

/// Refuses `on_down: reset` and `on_deny: reset` for listeners whose connections only their ends can reset.
fn check_reset(here: &Here<'_>, listeners: &Elements<Listener>, policy: &Service) {
    let has_none =
        |listener: &&Listener| listener.protocol.has_connections() && !listener.protocol.has_reset();
    let Some(listener) = listeners.iter().find(has_none) else { return };
    for (key, resets) in
        [("on_down", policy.on_down == OnDown::Reset), ("on_deny", policy.on_deny == OnDeny::Reset)]
    {
        if resets {
            here.key(key).error_at_key(Fault::new(
                format!(
                    "`{key}: reset` cannot be used with {listener}: only TCP connections can be reset from between their ends"
                ),
                format!("write `{key}: keep`, or move the listener to a service of its own"),
            ));
        }
    }
}

/// Refuses a `hash` that the scheduler ignores.
fn check_hash(here: &Here<'_>, own: &Given<HashSettings>, scheduler: &Given<Scheduler>) {
    let hashes =
        matches!(scheduler, Given::Bad | Given::Good(Scheduler::SourceHash(_) | Scheduler::Maglev(..)));
    if !hashes && !matches!(own, Given::Absent) {
        here.key("hash").error_at_key(Fault::new(
            "`hash` requires the scheduler source-hash or maglev",
            "add `scheduler: source-hash` or `scheduler: maglev`, or remove `hash`",
        ));
    }
    let has_table_size = matches!(own, Given::Good(hash) if !matches!(hash.table_size, Given::Absent));
    if has_table_size && matches!(scheduler, Given::Good(Scheduler::SourceHash(_))) {
        here.key("hash").key("table_size").error_at_key(Fault::new(
            "`table_size` requires the scheduler maglev",
            "write `scheduler: maglev`, or remove `table_size`",
        ));
    }
}

fn scheduler(scheduler: Given<Scheduler>, hash: Given<HashSettings>) -> Scheduler {
    let HashSettings { on, table_size } = hash.unwrap_or_default();
    let on = on.map_or_else(HashOn::default, |Checked(on)| on);
    match scheduler.unwrap_or_default() {
        Scheduler::SourceHash(_) => Scheduler::SourceHash(on),
        Scheduler::Maglev(..) => Scheduler::Maglev(on, table_size.unwrap_or(TableSize(DEFAULT_TABLE_SIZE)).0),
        other => other,
    }
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
    backends: Given<Many<document::BackendEntry>>,
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
        let document::BackendEntry { address: target, name, weight, backup, max_connections } = element?;
        let here = here.index(index);
        let port = common.map_or(target.port, |ports| spelled_out(target.port, ports));
        if let Some(earlier) = targets.insert((target.address, port), index) {
            let fault = Fault::new(
                format!("{target} is already a backend of this service"),
                "remove one of them; for a larger share use `weight`",
            );
            here.error_because_of(fault, here.sibling(earlier).path());
            return None;
        }
        let name = match name {
            Given::Good(name) => name,
            Given::Absent => default_name(target),
            Given::Bad => return None,
        };
        if let Some(earlier) = names.insert(name.clone(), index) {
            let fault = Fault::new(
                format!("backend name {} is already used in this service", quoted(&name)),
                "use another name",
            );
            here.key("name").error_because_of(fault, here.sibling(earlier).path());
        }
        weights_known &= !matches!(weight, Given::Bad);
        let Weight(weight) = weight.unwrap_or(Weight(1));
        Some(Backend {
            name,
            address: target.address,
            port: target.port,
            weight,
            backup: backup.or_value(false)?,
            max_connections: max_connections.map_or_else(|| None, |ConnectionCount(most)| Some(most)),
        })
    });
    let backends = Elements::of(elements);
    if backends.complete && weights_known {
        weights(here, &backends, fixed_grid);
    }
    backends
}

/// The ports of the listeners, if all have the same.
fn common_ports(listeners: &Elements<Listener>) -> Option<Ports> {
    let first = listeners.iter().next()?.ports;
    (listeners.complete && listeners.iter().all(|listener| listener.ports == first)).then_some(first)
}

/// The port with the default filled in, so that `10.0.2.11` and `10.0.2.11:80` behind port 80 are equal.
fn spelled_out(port: BackendPort, listener: Ports) -> BackendPort {
    match (port, listener.as_single()) {
        (BackendPort::Keep, Some(port)) => BackendPort::One(port),
        (BackendPort::Keep, None) => BackendPort::Range(listener),
        _ => port,
    }
}

fn default_name(target: BackendAddress) -> BackendName {
    BackendName::new(&target.to_string())
        .expect("an address and two ports are printable and have at most 53 characters")
}

fn weights(here: &Here<'_>, backends: &Elements<Backend>, fixed_grid: bool) {
    if !backends.good.is_empty() && backends.iter().all(|backend| backend.weight == 0) {
        let fix = "raise one of the weights, or set `enabled: false`";
        here.error_at_key(Fault::new("every backend has weight 0", fix));
    }
    for ip in Ip::ALL {
        let of_version = backends.iter().filter(|backend| Ip::of(backend.address) == ip);
        if let Some(excess) = Excess::of_slots(fixed_grid, of_version) {
            here.error_at_key(Fault::new(excess.to_string(), excess.fix()));
        }
    }
}

/// Checks that each listener has a backend of its IP version, and each backend a listener. `*` takes the versions of
/// the backends.
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
                let what = format!("{listener} is {version}, but no backend is");
                let fix = format!("add an {version} backend, or remove the listener");
                here.key("listen").index(*index).error(Fault::new(what, fix));
            }
            (None, Some((index, backend))) if !any => {
                let what = format!("backend {} is {version}, but no listener is", backend.name);
                let fix = format!("add an {version} listener, or remove the backend");
                here.key("backends").index(*index).error(Fault::new(what, fix));
            }
            _ => {}
        }
    }
}
