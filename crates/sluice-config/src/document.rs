//! The file as it is written: every key of every mapping, and why the rest is refused.

use serde::de::MapAccess;
use sluice_core::model::{
    BackendName, Forwarding, InterfaceName, Listener, OnDown, OnEmpty, OnFull, OnStop, Scheduler,
    ServiceName, Source,
};

use crate::amount::{Affinity, Clients, Connections, PerTime, Quorum, Refresh, SlowStart, TableSize};
use crate::endpoint::{HttpAddress, Target};
use crate::place::Here;
use crate::probe::Health;
use crate::problem::{Fault, quoted};
use crate::read::{FromYaml, Given, Key, Keys, Many, Scalar, Seed, mapping};
use crate::word::{GroupName, HashPart, Invalid, Pattern, Prefix, SocketPath, StatePath, Weight};

mapping! {
    /// The file the daemon is given.
    Main, "a mapping of settings", refused: never, {
        forwarding: Forwarding,
        on_stop: OnStop,
        state: StatePath,
        refresh: Refresh,
        include: Many<Pattern>,
        control: Control,
        http: Http,
        defaults: Defaults,
        services: Services,
    }
}

mapping! {
    /// A file named by `include`.
    Snippet, "a mapping with `services`", refused: not_in_snippet, {
        services: Services,
    }
}

mapping! {
    Control, "a mapping of `socket` and `group`", refused: never, {
        socket: SocketPath,
        group: GroupName,
    }
}

mapping! {
    Http, "a mapping of `listen` and `accounting`", refused: never, {
        listen: HttpAddress,
        accounting: bool,
    }
}

mapping! {
    /// What services get that do not say otherwise themselves.
    Defaults, "a mapping of service settings", refused: not_in_defaults, {
        enabled: bool,
        interface: InterfaceName,
        scheduler: Scheduler,
        hash: Hash,
        affinity: Affinity,
        source: Source,
        allow: Many<Prefix>,
        deny: Many<Prefix>,
        limits: Limits,
        invalid: Invalid,
        synproxy: bool,
        health: Health,
        on_down: OnDown,
        on_empty: OnEmpty,
        quorum: Quorum,
        slow_start: SlowStart,
    }
}

mapping! {
    Service, "a mapping of service settings", refused: never, {
        listen: Many<Listener>,
        enabled: bool,
        interface: InterfaceName,
        scheduler: Scheduler,
        hash: Hash,
        affinity: Affinity,
        source: Source,
        allow: Many<Prefix>,
        deny: Many<Prefix>,
        limits: Limits,
        invalid: Invalid,
        synproxy: bool,
        health: Health,
        on_down: OnDown,
        on_empty: OnEmpty,
        quorum: Quorum,
        slow_start: SlowStart,
        backends: Many<Backend>,
    }
}

mapping! {
    Limits, "a mapping of limits", refused: never, {
        new_connections: PerTime,
        new_connections_per_client: PerTime,
        connections_per_client: Connections,
        clients: Clients,
        on_full: OnFull,
    }
}

mapping! {
    Hash, "a mapping of `on` and `table_size`", refused: never, {
        on: Many<HashPart>,
        table_size: TableSize,
    }
}

mapping! {
    BackendMapping, "a backend", refused: never, {
        address: Target,
        name: BackendName,
        weight: Weight,
        backup: bool,
        max_connections: Connections,
    }
}

/// Services in file order.
#[derive(Debug, Default)]
pub(crate) struct Services(pub(crate) Vec<Entry>);

/// One key of `services` and what it holds.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// How many equal keys come before this one.
    pub(crate) nth: u32,
    /// `None` when the key is no service name.
    pub(crate) name: Option<ServiceName>,
    pub(crate) service: Service,
}

impl FromYaml for Services {
    const EXPECTED: &'static str = "a mapping of services by name";

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mut mapping: A) -> Result<Option<Self>, A::Error> {
        let mut entries = Vec::new();
        let mut keys = Keys::default();
        while let Some(key) = mapping.next_key_seed(Key)? {
            let nth = keys.count(&key);
            let here = here.nth_key(&key, nth);
            let name = ServiceName::new(&key)
                .map_err(|error| {
                    let what = format!("{} is no service name: {error}", quoted(&key));
                    here.error_at_key(Fault::new(what, "rename the service"));
                })
                .ok();
            if let Some(service) = mapping.next_value_seed(Seed::new(here))? {
                entries.push(Entry { key: key.into_owned(), nth, name, service });
            }
        }
        Ok(Some(Services(entries)))
    }
}

/// A backend, written as its target or as a mapping.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) target: Target,
    pub(crate) name: Given<BackendName>,
    pub(crate) weight: Given<Weight>,
    pub(crate) backup: Given<bool>,
    pub(crate) max_connections: Given<Connections>,
}

impl FromYaml for Backend {
    const EXPECTED: &'static str = "a backend such as 10.0.2.11:8080";

    fn scalar(here: &Here<'_>, scalar: Scalar<'_>) -> Option<Self> {
        let target = Target::scalar(here, scalar)?;
        Some(Backend {
            target,
            name: Given::Absent,
            weight: Given::Absent,
            backup: Given::Absent,
            max_connections: Given::Absent,
        })
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mapping: A) -> Result<Option<Self>, A::Error> {
        let Some(mapping) = BackendMapping::mapping(here, mapping)? else { return Ok(None) };
        let BackendMapping { address, name, weight, backup, max_connections } = mapping;
        Ok(match address {
            Given::Good(target) => Some(Backend { target, name, weight, backup, max_connections }),
            Given::Bad => None,
            Given::Absent => {
                here.error(Fault::new(
                    "the backend has no `address`",
                    "add one, such as `address: 10.0.2.11:8080`",
                ));
                None
            }
        })
    }
}

fn never(_: &str) -> Option<Fault> {
    None
}

fn not_in_snippet(key: &str) -> Option<Fault> {
    match key {
        "include" => {
            Some(Fault::new("an included file cannot include others", "move `include` to the main file"))
        }
        "forwarding" | "on_stop" | "state" | "refresh" | "control" | "defaults" | "http" => Some(Fault::new(
            format!("`{key}` in an included file"),
            format!("move `{key}` to the main file; an included file holds only `services`"),
        )),
        _ => None,
    }
}

fn not_in_defaults(key: &str) -> Option<Fault> {
    match key {
        "listen" | "backends" => {
            Some(Fault::new(format!("`{key}` cannot have a default"), "write it in each service"))
        }
        _ => None,
    }
}
