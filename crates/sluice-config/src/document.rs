//! The file as it is written: every key of every mapping, and why the rest is refused.

use serde::de::MapAccess;
use serde_json::{Value, json};
use sluice_core::model::{
    BackendName, Forwarding, InterfaceName, Limits, Listener, Midstream, OnDown, OnEmpty, OnStop, Scheduler,
    ServiceName, Source,
};

use crate::amount::{Affinity, Connections, Quorum, Refresh, SlowStart};
use crate::choice::Invalid;
use crate::endpoint::{HttpAddress, Target};
use crate::guard::Networks;
use crate::hash::Hash;
use crate::place::Here;
use crate::probe::Health;
use crate::problem::{Fault, quoted};
use crate::read::{Checked, FromYaml, Given, Key, Keys, Many, Scalar, Seed, mapping};
use crate::schema::{Definitions, either, pattern};
use crate::word::{GroupName, Pattern, SocketPath, StatePath, Weight};

mapping! {
    /// The file the daemon is given.
    Main, "a mapping of settings", refused: never, required: [], {
        /// What to do about IP forwarding: switch it on, refuse to start without it, or leave it alone.
        forwarding: Forwarding,
        /// What an orderly stop leaves in the kernel: nothing, or everything, so that traffic goes on.
        on_stop: OnStop,
        /// A folder for what must outlive the daemon; without it the folder of the control socket.
        state: StatePath,
        /// How often the kernel is read back even without a reason; 0 is never.
        refresh: Refresh,
        /// More files with services, by patterns relative to this file.
        include: Many<Pattern>,
        /// The Unix socket that `sluice` talks to.
        control: Control,
        /// Status page and metrics, read only; without it there are none.
        http: Http,
        /// What services get that do not say otherwise.
        defaults: Settings,
        /// Services by name.
        services: Services,
    }
}

mapping! {
    /// A file named by `include`.
    Snippet, "a mapping with `services`", refused: not_in_snippet, required: [], {
        services: Services,
    }
}

mapping! {
    Control, "a mapping of `socket` and `group`", refused: never, required: [], {
        /// Where the socket is: an absolute path of at most 107 bytes.
        socket: SocketPath,
        /// A group whose members may use the socket; without it only root may.
        group: GroupName,
    }
}

mapping! {
    Http, "a mapping of `listen` and `accounting`", refused: never, required: [listen], {
        /// ADDRESS:PORT of this host; everybody who can reach it can read there.
        listen: HttpAddress,
        /// Whether the bytes of each backend are counted, too.
        accounting: bool,
    }
}

mapping! {
    /// The keys that both `defaults` and a service can have: what `defaults` holds.
    Settings, "a mapping of service settings", refused: not_in_defaults, required: [], {
        /// Whether the kernel gets anything of the service.
        enabled: bool,
        /// Only what arrives on this interface.
        interface: InterfaceName,
        /// How a new connection gets its backend.
        scheduler: Scheduler,
        /// What `source-hash` and `maglev` look at.
        hash: Hash,
        /// A client stays on its backend for this long after its last new connection; 0 is not at all.
        affinity: Affinity,
        /// Whom backends see as the client: the balancer, the client, or addresses of the balancer.
        source: Source,
        /// Only these clients.
        allow: Checked<Networks>,
        /// Never these clients.
        deny: Checked<Networks>,
        /// How many connections may come, of all clients and of each.
        limits: Checked<Limits>,
        /// What becomes of packets that belong to no connection and cannot begin one.
        invalid: Invalid,
        /// Whether this host completes TCP handshakes in the place of backends, against floods of SYNs.
        synproxy: bool,
        /// What happens to packets of TCP connections that conntrack does not know.
        midstream: Midstream,
        /// How backends are probed.
        health: Health,
        /// What happens to the established TCP flows of a backend that went down.
        on_down: OnDown,
        /// What a new connection meets when no backend can serve it.
        on_empty: OnEmpty,
        /// So many backends that are no backups must be able to serve; fewer count as none.
        quorum: Quorum,
        /// How long a backend that comes back takes to get its whole share; 0 is at once.
        slow_start: SlowStart,
    }
}

mapping! {
    Service, "a mapping of service settings", refused: never, required: [listen], {
        /// ADDRESS:PORT[-PORT][/tcp|/udp], IPv6 in brackets; ADDRESS and PORT may be `*`.
        listen: Many<Listener>,
        /// Who serves: ADDRESS[:PORT[-PORT]], or a mapping.
        backends: Many<Backend>,
        ..settings: Settings,
    }
}

mapping! {
    BackendMapping, "a backend", refused: never, required: [address], {
        /// ADDRESS[:PORT[-PORT]]; without a port the client's is kept.
        address: Target,
        /// Its name in this service; without one its address and port.
        name: BackendName,
        /// Its share of new connections; 0 is none.
        weight: Weight,
        /// Whether it serves only while too few others can.
        backup: bool,
        /// With so many live connections it gets no new ones.
        max_connections: Connections,
    }
}

/// Services in file order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services(pub(crate) Vec<NamedService>);

/// One key of `services` and what it holds.
#[derive(Clone, Debug)]
pub(crate) struct NamedService {
    pub(crate) key: String,
    /// How many equal keys come before this one.
    pub(crate) nth: u32,
    /// `None` when the key is no service name.
    pub(crate) name: Option<ServiceName>,
    pub(crate) service: Service,
}

impl FromYaml for Services {
    const EXPECTED: &'static str = "a mapping of services by name";

    fn schema(definitions: &mut Definitions) -> Value {
        json!({
            "type": "object",
            "propertyNames": pattern("^[a-z0-9][a-z0-9_.-]{0,62}$", "1 to 63 of a-z, 0-9, _, . and -"),
            "additionalProperties": Service::schema(definitions),
        })
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mut mapping: A) -> Result<Option<Self>, A::Error> {
        let mut services = Vec::new();
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
                services.push(NamedService { key: key.into_owned(), nth, name, service });
            }
        }
        Ok(Some(Services(services)))
    }
}

/// A backend, written as its target or as a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) target: Target,
    pub(crate) name: Given<BackendName>,
    pub(crate) weight: Given<Weight>,
    pub(crate) backup: Given<bool>,
    pub(crate) max_connections: Given<Connections>,
}

impl FromYaml for Backend {
    const EXPECTED: &'static str = "a backend such as 10.0.2.11:8080";

    fn schema(definitions: &mut Definitions) -> Value {
        either(Target::schema(definitions), BackendMapping::schema(definitions))
    }

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
