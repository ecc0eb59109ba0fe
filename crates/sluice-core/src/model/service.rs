//! Services: listeners, a policy and backends.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_nft::{Ip, SourcePorts};

use super::{Address, Backend, BackendName, Guard, HealthCheck, Hooks, InterfaceName, Listener, Quorum};

/// A load-balanced service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `false`: the service is not rendered, but status shows it.
    pub enabled: bool,
    /// Listeners; at least one.
    pub listeners: Vec<Listener>,
    /// The interface through which packets must arrive.
    pub interface: Option<InterfaceName>,
    /// Whether the addresses of the listeners are announced while the service is ready.
    pub announce: bool,
    /// How packets reach the backends.
    pub mode: Mode,
    /// How the backend of a new flow is chosen.
    pub scheduler: Scheduler,
    /// The source address that backends see.
    pub source: Source,
    /// The guard; `None`: all clients are accepted.
    pub guard: Option<Arc<Guard>>,
    /// What happens to established TCP connections of clients that the guard no longer accepts.
    pub on_deny: OnDeny,
    /// Whether the host completes the handshake before it keeps state for a client. Only for exact TCP
    /// listeners.
    pub synproxy: bool,
    /// What happens to midstream TCP packets; ignored with `synproxy`.
    pub midstream: Midstream,
    /// The health check; `None`: backends are not probed.
    pub health: Option<Arc<HealthCheck>>,
    /// What happens to established TCP flows of an unhealthy backend.
    pub on_down: OnDown,
    /// What happens to a new flow without an eligible backend.
    pub on_empty: OnEmpty,
    /// Eligible backends of an IP version that it needs; with fewer, the backups serve.
    pub quorum: Quorum,
    /// Programs that run when it becomes ready or not.
    pub hooks: Hooks,
    /// Time in which a recovered backend gets its whole share; `None`: at once.
    pub slow_start: Option<Duration>,
    /// Whether the number of slots is fixed and does not depend on the weights, so that new weights only
    /// change the backends of slots. The number of slots limits the precision of shares.
    pub fixed_grid: bool,
    /// Seconds for which a client keeps its backend after its last new connection; `None`: no affinity.
    pub affinity: Option<u32>,
    /// Backends whose clients lose their affinity, because the backends are down or disabled.
    pub evict_from: Vec<BackendName>,
    /// Backends whose probes fail; [`crate::flows`] decides about their flows.
    pub unhealthy: Vec<BackendName>,
    /// Backends that an operator disabled; [`crate::flows`] decides about their flows.
    pub disabled: Vec<BackendName>,
    /// Nominal weights of [`Scheduler::Maglev`], when all backends serve; empty: those of `backends`.
    pub nominal_weights: Vec<u16>,
    /// Backends in file order; may be empty.
    pub backends: Vec<Backend>,
}

impl Default for Service {
    /// An enabled service with the defaults of the file, without listeners and backends.
    fn default() -> Self {
        Service {
            enabled: true,
            listeners: vec![],
            interface: None,
            announce: false,
            mode: Mode::default(),
            scheduler: Scheduler::default(),
            source: Source::default(),
            guard: None,
            on_deny: OnDeny::default(),
            synproxy: false,
            midstream: Midstream::default(),
            health: None,
            on_down: OnDown::default(),
            on_empty: OnEmpty::default(),
            quorum: Quorum::default(),
            hooks: Hooks::default(),
            slow_start: None,
            fixed_grid: false,
            affinity: None,
            evict_from: vec![],
            unhealthy: vec![],
            disabled: vec![],
            nominal_weights: vec![],
            backends: vec![],
        }
    }
}

impl Service {
    /// Whether a listener accepts packets of an IP version: an exact address its own version, `*` the
    /// versions of the backends, or both without backends.
    pub fn takes(&self, listener: &Listener, ip: Ip) -> bool {
        match listener.address {
            Address::Any => self.backends.is_empty() || self.backends.iter().any(|b| Ip::of(b.address) == ip),
            Address::Exact(address) => Ip::of(address) == ip,
        }
    }

    /// The addresses that are announced while the service is ready.
    pub fn announced(&self) -> impl Iterator<Item = IpAddr> {
        let listeners = self.listeners.iter().filter(|_| self.enabled && self.announce);
        listeners.filter_map(|listener| listener.address.exact())
    }

    /// The port of a backend's probes: that of the check, or the backend's own. `None` without a check, and
    /// if the backend keeps the client's port and there are several.
    pub fn probe_port(&self, backend: &Backend) -> Option<u16> {
        self.health.as_ref()?.port.or_else(|| backend.port_behind(&self.listeners))
    }
}

/// How packets of a service reach its backends: the forwarding method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Their destination is translated, and conntrack remembers the flow.
    #[default]
    Nat,
}

impl Mode {
    /// Whether conntrack has an entry for each flow.
    pub fn uses_conntrack(self) -> bool {
        match self {
            Mode::Nat => true,
        }
    }
}

/// How the backend of a new flow is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduler {
    /// In turn, with a counter per listener.
    #[default]
    RoundRobin,
    /// At random.
    Random,
    /// By a hash of the client modulo the number of slots.
    SourceHash(HashOn),
    /// By a hash of the client in a Maglev table with a prime number of slots, in which few slots change with
    /// the backends.
    Maglev(HashOn, u32),
    /// The backend with the fewest live connections per weight, approximated by shares.
    LeastConnections,
    /// The first backend of the file that takes new flows.
    First,
}

impl Scheduler {
    /// As written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheduler::RoundRobin => "round-robin",
            Scheduler::Random => "random",
            Scheduler::SourceHash(_) => "source-hash",
            Scheduler::Maglev(..) => "maglev",
            Scheduler::LeastConnections => "least-connections",
            Scheduler::First => "first",
        }
    }
}

/// What is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashOn {
    /// The client's address.
    #[default]
    Address,
    /// The client's address and source port.
    AddressAndPort,
}

/// The source address that backends see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// An address of the host.
    #[default]
    Masquerade,
    /// An address from the first to the last; all have one IP version.
    Addresses(IpAddr, IpAddr, SourcePorts),
    /// The client's address, unless the client is in the network of the interface to the backend: the reply
    /// would bypass the host.
    Auto,
    /// The client's address, unless the packet leaves through the interface by which it arrived, to a network
    /// of the client. Backends must route replies through the host.
    Preserve,
}

impl Source {
    /// Whether backends see the client's address.
    pub fn preserves_client(self) -> bool {
        matches!(self, Source::Auto | Source::Preserve)
    }

    /// Whether backends see the client's port at an address of the host.
    pub fn keeps_ports(self) -> bool {
        matches!(self, Source::Addresses(_, _, SourcePorts::Keep))
    }
}

/// As written in the file, without `source_ports`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Masquerade => f.write_str("masquerade"),
            Source::Auto => f.write_str("auto"),
            Source::Preserve => f.write_str("preserve"),
            Source::Addresses(first, last, _) if first == last => write!(f, "{first}"),
            Source::Addresses(first, last, _) => write!(f, "{first}-{last}"),
        }
    }
}

/// What happens to midstream TCP packets, whose connection conntrack does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Midstream {
    /// They are not translated, for example because a program on this host has the connection.
    #[default]
    Ignore,
    /// They are translated like the first packet of a connection, because another node had the connection
    /// before.
    Adopt,
}

impl Midstream {
    /// The default: services adopt connections if every node leads a client to the same backend, and the
    /// backend sees the same client address and port.
    pub fn default_for(scheduler: Scheduler, source: Source) -> Self {
        use Scheduler::*;
        let same_backend = match scheduler {
            SourceHash(_) | Maglev(..) => true,
            RoundRobin | Random | LeastConnections | First => false,
        };
        let same_client = source == Source::Preserve || source.keeps_ports();
        if same_backend && same_client { Midstream::Adopt } else { Midstream::Ignore }
    }
}

/// What happens to established TCP connections of clients that a guard no longer accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeny {
    /// Nothing.
    #[default]
    Keep,
    /// Both ends get a reset.
    Reset,
}

/// What happens to established TCP flows of an unhealthy backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDown {
    /// Nothing.
    #[default]
    Keep,
    /// Both ends get a reset.
    Reset,
}

/// What happens to a new flow without an eligible backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnEmpty {
    /// A TCP reset, or ICMP port unreachable.
    #[default]
    Reject,
    /// It is dropped.
    Drop,
    /// All backends serve that are not disabled or drained, whatever their health.
    UseAll,
}
