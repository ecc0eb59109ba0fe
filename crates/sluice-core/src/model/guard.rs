//! Guards: which clients a service accepts, and how often.

use ipnet::IpNet;
use sluice_nft::Rate;

/// The conditions for new flows of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Allowed clients; empty: all. No network contains another.
    pub allow: Vec<IpNet>,
    /// Denied clients. No network contains another.
    pub deny: Vec<IpNet>,
    /// Limits of rates and numbers.
    pub limits: Limits,
    /// Whether invalid packets are dropped, both from clients and from backends.
    pub drop_invalid: bool,
}

impl Guard {
    /// Whether it accepts only some clients.
    pub fn selects_clients(&self) -> bool {
        !self.allow.is_empty() || !self.deny.is_empty()
    }

    /// Whether it drops, or at least counts, packets for this reason.
    pub fn has(&self, reason: DropReason) -> bool {
        let Limits { new_connections, new_connections_per_client, connections_per_client, .. } = self.limits;
        match reason {
            DropReason::Denied => !self.deny.is_empty(),
            DropReason::NotAllowed => !self.allow.is_empty(),
            DropReason::ClientRate => new_connections_per_client.is_some(),
            DropReason::ClientConnections => connections_per_client.is_some(),
            DropReason::Rate => new_connections.is_some(),
            DropReason::Invalid => self.drop_invalid,
            DropReason::ClientsFull => {
                new_connections_per_client.is_some() || connections_per_client.is_some()
            }
        }
    }
}

/// Limits of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rate of new flows of all clients together.
    pub new_connections: Option<Rate>,
    /// Rate of new flows of each client.
    pub new_connections_per_client: Option<Rate>,
    /// Number of live flows of each client.
    pub connections_per_client: Option<u32>,
    /// Maximum number of clients in the sets of limits.
    pub clients: u32,
    /// What happens to further clients.
    pub on_full: OnFull,
}

impl Default for Limits {
    /// No limits.
    fn default() -> Self {
        Limits {
            new_connections: None,
            new_connections_per_client: None,
            connections_per_client: None,
            clients: 65_536,
            on_full: OnFull::default(),
        }
    }
}

/// What happens to a new flow if the set has no room for its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// It is accepted without a limit.
    #[default]
    Accept,
    /// It is dropped.
    Drop,
}

impl OnFull {
    /// As written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            OnFull::Accept => "accept",
            OnFull::Drop => "drop",
        }
    }
}

/// The reason for which a guard drops a packet, or counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The client is denied.
    Denied,
    /// The client is not allowed.
    NotAllowed,
    /// The rate of the client exceeds its limit.
    ClientRate,
    /// The client has too many live flows.
    ClientConnections,
    /// The rate of all clients exceeds its limit.
    Rate,
    /// The packet is invalid: it belongs to no connection and cannot begin one.
    Invalid,
    /// The set has no room for the client; dropped only if so configured.
    ClientsFull,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [DropReason; 7] = [
        DropReason::Denied,
        DropReason::NotAllowed,
        DropReason::ClientRate,
        DropReason::ClientConnections,
        DropReason::Rate,
        DropReason::Invalid,
        DropReason::ClientsFull,
    ];

    /// The reason as one word, as in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::Denied => "denied",
            DropReason::NotAllowed => "not-allowed",
            DropReason::ClientRate => "client-rate",
            DropReason::ClientConnections => "client-connections",
            DropReason::Rate => "rate",
            DropReason::Invalid => "invalid",
            DropReason::ClientsFull => "clients-full",
        }
    }
}
