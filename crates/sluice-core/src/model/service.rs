//! Listeners, a policy and backends.

use sluice_nft::Ip;

use super::{Address, Backend, InterfaceName, Listener};

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
    /// Who serves, in file order; may be empty.
    pub backends: Vec<Backend>,
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
}

impl Scheduler {
    /// As written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheduler::RoundRobin => "round-robin",
            Scheduler::Random => "random",
            Scheduler::SourceHash(_) => "source-hash",
        }
    }
}

/// What of the client is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HashOn {
    /// Its address.
    #[default]
    Address,
    /// Its address and source port.
    AddressAndPort,
}

/// Which source address the backends see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// An address of the balancer, so that replies come back.
    #[default]
    Masquerade,
    /// The client's; the backends must route replies through the balancer.
    Preserve,
}

impl Source {
    /// As written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Masquerade => "masquerade",
            Source::Preserve => "preserve",
        }
    }
}
