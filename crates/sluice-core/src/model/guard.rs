//! Who may come in, and how often.

use ipnet::IpNet;
use sluice_nft::Rate;

/// What a service asks of new flows before they get a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Only these clients; empty: everybody. None of them lies within another.
    pub allow: Vec<IpNet>,
    /// Never these clients. None of them lies within another.
    pub deny: Vec<IpNet>,
    /// How often, and how many at a time.
    pub limits: Limits,
    /// Whether packets end here that belong to no connection and cannot begin one, from clients and from backends.
    pub drop_invalid: bool,
}

impl Guard {
    /// Whether it lets in only some clients, whatever they do.
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
    /// New flows of all clients together.
    pub new_connections: Option<Rate>,
    /// New flows of each client.
    pub new_connections_per_client: Option<Rate>,
    /// Live flows of each client.
    pub connections_per_client: Option<u32>,
    /// Clients that are remembered at a time.
    pub clients: u32,
    /// What becomes of clients beyond that.
    pub on_full: OnFull,
}

impl Default for Limits {
    /// None.
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

/// What becomes of a new flow whose client there is no room to remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// It comes in, unlimited.
    #[default]
    Accept,
    /// It does not.
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

/// Why the guard drops a packet, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The client is denied.
    Denied,
    /// Others are allowed.
    NotAllowed,
    /// Above the rate of the client.
    ClientRate,
    /// Above the number of live flows of the client.
    ClientConnections,
    /// Above the rate of all clients.
    Rate,
    /// It belongs to no connection and cannot begin one.
    Invalid,
    /// There was no room to remember the client. Dropped only if so configured.
    ClientsFull,
}

impl DropReason {
    /// All.
    pub const ALL: [DropReason; 7] = [
        DropReason::Denied,
        DropReason::NotAllowed,
        DropReason::ClientRate,
        DropReason::ClientConnections,
        DropReason::Rate,
        DropReason::Invalid,
        DropReason::ClientsFull,
    ];

    /// One word for it, as in status and metrics.
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
