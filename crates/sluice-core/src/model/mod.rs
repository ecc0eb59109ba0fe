//! What the administrator asked for, after validation. Vocabulary: docs/architecture.md.

mod backend;
mod effective;
mod guard;
mod health;
mod listener;
mod name;
mod networks;
mod service;
mod transition;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use backend::{Backend, BackendKey, BackendPort, MAX_WEIGHT};
pub use effective::{EffectiveServices, OwnedEffectiveServices};
pub use guard::{DropReason, Guard, Limits, OnFull};
pub use health::{HealthCheck, HttpProbe, Initial, Probe, ProbeTarget, UdpProbe};
pub use listener::{Address, Listener, Ports};
pub use name::{BackendName, InterfaceName, InvalidName, ServiceName};
pub use networks::Networks;
pub use service::{HashOn, Midstream, OnDeny, OnDown, OnEmpty, Scheduler, Service, Source};
pub use sluice_nft::Protocol;
pub use transition::{Difference, Transition};

/// Services by name.
pub type Services = BTreeMap<ServiceName, Service>;

/// A whole validated configuration file, includes merged and defaults applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What to do about IP forwarding.
    pub forwarding: Forwarding,
    /// What `SIGTERM` leaves behind.
    pub on_stop: OnStop,
    /// Directory for what must survive the daemon: old sysctl values.
    pub state: PathBuf,
    /// Full read-back even without a trigger; `None`: never.
    pub refresh: Option<Duration>,
    /// The control socket.
    pub control: Control,
    /// Status page and metrics; `None`: there are none.
    pub http: Option<Http>,
    /// Services by name; shared with those who show them.
    pub services: Arc<Services>,
}

/// Whether sluice switches IP forwarding on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// Switch on the families in use and remember the old value.
    #[default]
    Manage,
    /// Refuse to start if a family in use has it off.
    Require,
    /// Leave it alone.
    Ignore,
}

/// What stays in the kernel after an orderly stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// Remove the table and put forwarding back.
    #[default]
    Remove,
    /// Leave everything; traffic goes on.
    Keep,
}

/// Where the daemon listens for `sluice`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// Group that may use it; `None`: root only.
    pub group: Option<String>,
}

/// Where the daemon shows itself to browsers and to Prometheus. Read only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http {
    /// Address and port.
    pub listen: SocketAddr,
    /// Whether bytes are counted.
    pub accounting: bool,
}
