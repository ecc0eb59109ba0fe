//! The mappings of the file: every key with its type, and why other keys are refused.

use serde::de::MapAccess;
use serde_json::{Value, json};
use sluice_core::model::{
    BackendName, Forwarding, InterfaceName, Limits, Listener, Midstream, OnDeny, OnDown, OnEmpty, OnStop,
    Scheduler, ServiceName, Source, SourcePorts,
};

use crate::endpoint::{BackendAddress, HttpAddress};
use crate::guard::Networks;
use crate::hash::HashSettings;
use crate::health::HealthSetting;
use crate::hook::HookSetting;
use crate::mapping::{Key, Keys, mapping};
use crate::problem::{Fault, quoted};
use crate::quorum::QuorumSetting;
use crate::read::{Checked, FromYaml, Given, Many, Scalar, Seed};
use crate::schema::{Definitions, either, pattern};
use crate::values::Invalid;
use crate::values::{Affinity, ConnectionCount, Hold, Refresh, SlowStart, WithdrawWait};
use crate::values::{DirectoryPath, GroupName, PathPattern, SocketPath, Weight};
use crate::yaml_path::Here;

mapping! {
    /// The main file.
    Main, "a mapping of settings", refused: never, required: [], {
        /// IP forwarding: enable it, refuse to start without it, or ignore it.
        forwarding: Forwarding,
        /// What an orderly stop does with the ruleset: remove it, or keep it so that traffic continues.
        on_stop: OnStop,
        /// The directory for state that outlives the daemon; by default that of the control socket.
        state: DirectoryPath,
        /// How often the ruleset is verified even if nothing changed; 0 is never.
        refresh: Refresh,
        /// Files with more services: paths or patterns, relative to this file.
        include: Many<PathPattern>,
        /// How addresses of listeners are announced, for services with `announce: true`.
        announce: Announce,
        /// The control socket, which `sluice` connects to.
        control: Control,
        /// The listener of the status page and metrics; there is none by default.
        http: Http,
        /// Settings of services that do not set them.
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
    Announce, "a mapping of `interface`, `hold` and `withdraw_wait`", refused: never, required: [], {
        /// The interface that gets the addresses, as /32 and /128.
        interface: InterfaceName,
        /// How long a service must be ready before its addresses are announced; 0 is at once.
        hold: Hold,
        /// How long a stop and `sluice leave` wait after the addresses are withdrawn; 0 is not at all.
        withdraw_wait: WithdrawWait,
    }
}

mapping! {
    Control, "a mapping of `socket` and `group`", refused: never, required: [], {
        /// The absolute path of the socket, at most 107 bytes.
        socket: SocketPath,
        /// A group whose members may use the socket; by default only root may.
        group: GroupName,
    }
}

mapping! {
    Http, "a mapping of `listen` and `accounting`", refused: never, required: [listen], {
        /// ADDRESS:PORT of this host; everybody who can reach it can read the status.
        listen: HttpAddress,
        /// Whether to count the bytes of each backend.
        accounting: bool,
    }
}

mapping! {
    /// The keys that both `defaults` and a service can have: what `defaults` holds.
    Settings, "a mapping of service settings", refused: not_in_defaults, required: [], {
        /// Whether the service is in the ruleset.
        enabled: bool,
        /// Accept only packets that arrive on this interface.
        interface: InterfaceName,
        /// Whether the addresses of its listeners are on an interface of this host while the service is ready.
        announce: bool,
        /// How the backend of a new connection is picked.
        scheduler: Scheduler,
        /// What `source-hash` and `maglev` hash.
        hash: HashSettings,
        /// How long a client stays on its backend after its last new connection; 0 disables affinity.
        affinity: Affinity,
        /// The source address that backends see: the balancer's, the client's, or a given one.
        source: Source,
        /// Which source port backends see if `source` is an address: a random one, or that of the client.
        source_ports: SourcePorts,
        /// Accept only these clients.
        allow: Checked<Networks>,
        /// Drop these clients.
        deny: Checked<Networks>,
        /// What happens to established TCP connections of clients that `allow` and `deny` do not accept.
        on_deny: OnDeny,
        /// Limits of connections, of all clients together and of each.
        limits: Checked<Limits>,
        /// What happens to packets that conntrack calls invalid.
        invalid: Invalid,
        /// Whether this host completes TCP handshakes on behalf of backends, as protection from SYN floods.
        synproxy: bool,
        /// What happens to packets of TCP connections that are not in conntrack.
        midstream: Midstream,
        /// The health check of the backends.
        health: HealthSetting,
        /// What happens to established TCP connections of a backend that becomes unhealthy.
        on_down: OnDown,
        /// What happens to a new connection when no backend is eligible.
        on_empty: OnEmpty,
        /// The least number of eligible backends, backups not counted; with fewer, the backups take over, and without
        /// backups the service is not ready.
        quorum: QuorumSetting,
        /// A program with its arguments that runs when the service becomes ready.
        on_ready: HookSetting,
        /// A program with its arguments that runs when the service is no longer ready.
        on_unready: HookSetting,
        /// How long a returning backend takes to reach its full share; 0 is at once.
        slow_start: SlowStart,
    }
}

mapping! {
    Service, "a mapping of service settings", refused: never, required: [listen], {
        /// ADDRESS:PORT[-PORT][/PROTOCOL], IPv6 in brackets; ADDRESS and PORT may be `*`.
        listen: Many<Listener>,
        /// ADDRESS[:PORT[-PORT]], or a mapping.
        backends: Many<BackendEntry>,
        ..settings: Settings,
    }
}

mapping! {
    BackendMapping, "a backend", refused: never, required: [address], {
        /// ADDRESS[:PORT[-PORT]]; without a port, the destination port of the client is kept.
        address: BackendAddress,
        /// The name, unique in the service; by default the address and port.
        name: BackendName,
        /// The share of new connections, relative to other backends; 0 is none.
        weight: Weight,
        /// Whether it serves only while fewer than `quorum` others are eligible.
        backup: bool,
        /// The number of live connections from which it gets no new ones.
        max_connections: ConnectionCount,
    }
}

/// Services in file order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services(pub(crate) Vec<NamedService>);

/// One entry of `services`.
#[derive(Clone, Debug)]
pub(crate) struct NamedService {
    pub(crate) key: String,
    /// The number of equal keys before this one.
    pub(crate) nth: u32,
    /// `None` if the key is not a valid service name.
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
                    let what = format!("invalid service name {}: {error}", quoted(&key));
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

/// A backend, written as an address or as a mapping.
#[derive(Clone, Debug)]
pub(crate) struct BackendEntry {
    pub(crate) address: BackendAddress,
    pub(crate) name: Given<BackendName>,
    pub(crate) weight: Given<Weight>,
    pub(crate) backup: Given<bool>,
    pub(crate) max_connections: Given<ConnectionCount>,
}

impl FromYaml for BackendEntry {
    const EXPECTED: &'static str = "a backend such as 10.0.2.11:8080";

    fn schema(definitions: &mut Definitions) -> Value {
        either(BackendAddress::schema(definitions), BackendMapping::schema(definitions))
    }

    fn scalar(here: &Here<'_>, scalar: Scalar<'_>) -> Option<Self> {
        let address = BackendAddress::scalar(here, scalar)?;
        Some(BackendEntry {
            address,
            name: Given::Absent,
            weight: Given::Absent,
            backup: Given::Absent,
            max_connections: Given::Absent,
        })
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mapping: A) -> Result<Option<Self>, A::Error> {
        let Some(mapping) = BackendMapping::mapping(here, mapping)? else { return Ok(None) };
        let BackendMapping { address, name, weight, backup, max_connections } = mapping;
        let address = required_address(here, address);
        Ok(address.map(|address| BackendEntry { address, name, weight, backup, max_connections }))
    }
}

/// The address of a backend; a missing one is an error.
pub(crate) fn required_address(here: &Here<'_>, address: Given<BackendAddress>) -> Option<BackendAddress> {
    if let Given::Absent = address {
        here.error(Fault::new("the backend has no `address`", "add one, such as `address: 10.0.2.11:8080`"));
    }
    address.map(Some).unwrap_or(None)
}

/// The JSON Schema of the main file.
pub fn schema() -> Value {
    let mut definitions = Definitions::default();
    Main::schema(&mut definitions);
    definitions.rooted(Main::NAME)
}

fn never(_: &str) -> Option<Fault> {
    None
}

fn not_in_snippet(key: &str) -> Option<Fault> {
    match key {
        "include" => {
            Some(Fault::new("an included file cannot include other files", "move `include` to the main file"))
        }
        "forwarding" | "on_stop" | "state" | "refresh" | "announce" | "control" | "defaults" | "http" => {
            Some(Fault::new(
                format!("`{key}` is not allowed in an included file"),
                format!("move `{key}` to the main file: an included file has only `services`"),
            ))
        }
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
