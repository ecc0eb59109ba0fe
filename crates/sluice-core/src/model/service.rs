//! Listeners, a policy and backends.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_nft::Ip;

use super::{Address, Backend, BackendName, Guard, HealthCheck, InterfaceName, Listener};

/// One load-balanced service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `false`: as if absent, but shown.
    pub enabled: bool,
    /// Where it is reached; at least one.
    pub listeners: Vec<Listener>,
    /// Only what arrives here.
    pub interface: Option<InterfaceName>,
    /// How a backend is picked.
    pub scheduler: Scheduler,
    /// Which source address the backends see.
    pub source: Source,
    /// Who may come in, and how often; `None`: everybody, always.
    pub guard: Option<Arc<Guard>>,
    /// What happens to the established TCP connections of clients that the guard's `allow` and `deny` refuse.
    pub on_deny: OnDeny,
    /// Whether clients complete the handshake with the host before anything is kept of them. Of exact TCP listeners.
    pub synproxy: bool,
    /// What happens to TCP packets of connections that conntrack does not know; ignored with `synproxy`.
    pub midstream: Midstream,
    /// How its backends are probed; `None`: not at all.
    pub health: Option<Arc<HealthCheck>>,
    /// What happens to the established TCP flows of a backend that went down.
    pub on_down: OnDown,
    /// What a new flow meets when no backend can take it.
    pub on_empty: OnEmpty,
    /// Fewer backends of an IP version that can take new flows than this count as none; at least 1.
    pub quorum: u16,
    /// How long a backend that comes back takes to get its whole share; `None`: it gets it at once.
    pub slow_start: Option<Duration>,
    /// Whether weights are laid over a number of slots that does not depend on them, so that changing them only
    /// re-points slots. Shares are then as exact as that number allows.
    pub fixed_grid: bool,
    /// Seconds that a client stays on its backend after its last new connection; `None`: it does not.
    pub affinity: Option<u32>,
    /// Backends that clients do not stay on, because they are down or disabled.
    pub left: Vec<BackendName>,
    /// Backends whose probes fail: what becomes of their flows is said in [`crate::flows`].
    pub unhealthy: Vec<BackendName>,
    /// Those that an operator disabled: likewise.
    pub disabled: Vec<BackendName>,
    /// For [`Scheduler::Maglev`], the weight of each backend when everybody serves; empty: those of `backends`.
    pub full_weights: Vec<u16>,
    /// Who serves, in file order; may be empty.
    pub backends: Vec<Backend>,
}

impl Default for Service {
    /// An enabled one without listeners and backends, all else as when the file does not say.
    fn default() -> Self {
        Service {
            enabled: true,
            listeners: vec![],
            interface: None,
            scheduler: Scheduler::default(),
            source: Source::default(),
            guard: None,
            on_deny: OnDeny::default(),
            synproxy: false,
            midstream: Midstream::default(),
            health: None,
            on_down: OnDown::default(),
            on_empty: OnEmpty::default(),
            quorum: 1,
            slow_start: None,
            fixed_grid: false,
            affinity: None,
            left: vec![],
            unhealthy: vec![],
            disabled: vec![],
            full_weights: vec![],
            backends: vec![],
        }
    }
}

impl Service {
    /// Whether one of its listeners takes packets of an IP version: an exact address its own, `*`
    /// those of the backends, both when there are none.
    pub fn takes(&self, listener: &Listener, ip: Ip) -> bool {
        match listener.address {
            Address::Any => self.backends.is_empty() || self.backends.iter().any(|b| Ip::of(b.address) == ip),
            Address::Exact(address) => Ip::of(address) == ip,
        }
    }

    /// The port that probes of a backend go to: that of the check, else the backend's own. `None` without a check,
    /// and where the backend keeps the client's port and that can be several.
    pub fn probe_port(&self, backend: &Backend) -> Option<u16> {
        self.health.as_ref()?.port.or_else(|| backend.port_behind(&self.listeners))
    }
}

/// How a backend is picked for a new flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduler {
    /// One after the other, a counter per listener.
    #[default]
    RoundRobin,
    /// Independently at random.
    Random,
    /// By a hash of the client, modulo the number of slots.
    SourceHash(HashOn),
    /// The same with a prime number of slots, of which only those of backends that come or go lead elsewhere then.
    Maglev(HashOn, u32),
    /// The one with the fewest live connections for its weight, as far as shares can follow that.
    LeastConnections,
    /// All of them to the first of the file that takes new flows.
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

/// What of the client is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashOn {
    /// Its address.
    #[default]
    Address,
    /// Its address and source port.
    AddressAndPort,
}

/// Which source address the backends see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// An address of the balancer, so that replies come back.
    #[default]
    Masquerade,
    /// One of those from the first to the last, of one IP version.
    Addresses(IpAddr, IpAddr),
    /// The client's, but for a client in the network of the backends' interface: an answer to it would bypass the
    /// balancer.
    Auto,
    /// The client's, but for one whose packets leave where they came from, to a network that it is in itself. The
    /// backends must route replies through the balancer.
    Preserve,
}

impl Source {
    /// Whether it is the client's.
    pub fn keeps(self) -> bool {
        matches!(self, Source::Auto | Source::Preserve)
    }
}

/// As written in the file.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Masquerade => f.write_str("masquerade"),
            Source::Auto => f.write_str("auto"),
            Source::Preserve => f.write_str("preserve"),
            Source::Addresses(first, last) if first == last => write!(f, "{first}"),
            Source::Addresses(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

/// What happens to TCP packets that begin no connection and belong to none that conntrack knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Midstream {
    /// They go on untranslated, to a program on this host for example that has the connection.
    #[default]
    Ignore,
    /// They are translated like the first packet of a connection: another node had the connection before.
    Adopt,
}

impl Midstream {
    /// What a service does whose file does not say: it adopts where every node leads a client to the same backend, and
    /// the backend sees the client's address and port whichever node that is.
    pub fn default_for(scheduler: Scheduler, source: Source) -> Self {
        match (scheduler, source) {
            (Scheduler::SourceHash(_) | Scheduler::Maglev(..), Source::Preserve) => Midstream::Adopt,
            (
                Scheduler::SourceHash(_) | Scheduler::Maglev(..),
                Source::Masquerade | Source::Auto | Source::Addresses(..),
            )
            | (
                Scheduler::RoundRobin | Scheduler::Random | Scheduler::LeastConnections | Scheduler::First,
                _,
            ) => Midstream::Ignore,
        }
    }
}

/// What happens to the established TCP connections of clients that a service refuses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeny {
    /// Nothing.
    #[default]
    Keep,
    /// Both ends get a reset.
    Reset,
}

/// What happens to the established TCP flows of a backend that went down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDown {
    /// Nothing.
    #[default]
    Keep,
    /// Both ends get a reset.
    Reset,
}

/// What a new flow meets when no backend can take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnEmpty {
    /// A TCP reset, or ICMP port unreachable.
    #[default]
    Reject,
    /// Silence.
    Drop,
    /// All backends that are not disabled or drained, whatever their health.
    UseAll,
}
