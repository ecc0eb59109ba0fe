//! The validated configuration. Vocabulary: docs/architecture.md.

mod announce;
mod backend;
mod canonical;
mod discovery;
mod effective;
mod guard;
mod health;
mod hooks;
mod listener;
mod name;
mod networks;
mod quorum;
mod service;
mod transition;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use announce::Announce;
pub use backend::{Backend, BackendKey, BackendPort, MAX_WEIGHT};
pub use canonical::write_canonical;
pub use discovery::{Answer, Found, HostName, Lookup, Resolver};
pub use effective::{EffectiveServices, OwnedEffectiveServices};
pub use guard::{DropReason, Guard, Limits, OnFull};
pub use health::{ExecProbe, HealthCheck, HttpProbe, Initial, Probe, ProbeTarget, UdpProbe};
pub use hooks::Hooks;
pub use listener::{Address, Listener, Ports};
pub use name::{BackendName, InterfaceName, InvalidName, ServiceName};
pub use networks::Networks;
pub use quorum::Quorum;
pub use service::{HashOn, Midstream, Mode, OnDeny, OnDown, OnEmpty, Scheduler, Service, Source};
pub use sluice_nft::{Protocol, SourcePorts};
pub use transition::{Difference, Transition};

/// Services by name.
pub type Services = BTreeMap<ServiceName, Service>;

/// The validated configuration, with includes merged and defaults applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What to do about IP forwarding.
    pub forwarding: Forwarding,
    /// What `SIGTERM` leaves in the kernel.
    pub on_stop: OnStop,
    /// Directory of persistent state.
    pub state: PathBuf,
    /// Interval of refreshes, which read the whole table; `None`: never.
    pub refresh: Option<Duration>,
    /// How addresses are announced.
    pub announce: Announce,
    /// The control socket.
    pub control: Control,
    /// Status page and metrics; `None`: disabled.
    pub http: Option<Http>,
    /// Services by name; shared with readers.
    pub services: Arc<Services>,
}

/// Whether sluice enables IP forwarding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// Enable it for the IP versions in use, and save the old value.
    #[default]
    Manage,
    /// Refuse to start if it is disabled for an IP version in use.
    Require,
    /// Do not change it.
    Ignore,
}

/// What remains in the kernel after an orderly stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// Nothing: the table is deleted and forwarding is restored.
    #[default]
    Remove,
    /// Everything, so that traffic continues.
    Keep,
}

/// The control socket, on which the daemon serves `sluice`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// Group that may use it; `None`: root only.
    pub group: Option<String>,
}

/// The HTTP listener for the status page and Prometheus; read only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http {
    /// Address and port.
    pub listen: SocketAddr,
    /// Whether bytes are counted.
    pub accounting: bool,
}
