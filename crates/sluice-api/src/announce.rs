//! Status of announced addresses.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The announced addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceStatus {
    /// The interface that has them.
    pub interface: String,
    /// The addresses of enabled services with `announce: true`, in order.
    pub addresses: Vec<AnnouncedAddress>,
    /// Why addresses are not as they should be: `add 203.0.113.10 to lo: Operation not permitted (os error 1)`; `null`: they
    /// are. The daemon retries.
    pub error: Option<String>,
}

/// An address of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedAddress {
    /// The address.
    pub address: IpAddr,
    /// Whether the interface has it, or why not.
    pub state: AddressState,
    /// The services that announce it.
    pub services: Vec<String>,
}

/// State of an announced address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressState {
    /// The interface has it, because sluice added it.
    Announced,
    /// The interface has it, and somebody else added it: sluice never removes it.
    Foreign,
    /// The interface does not have it, because a service on it has not been ready for `announce.hold` yet.
    Held,
    /// The interface does not have it, because no service on it is ready.
    Withdrawn,
    /// It could not be added or withdrawn.
    Failed,
}

impl AddressState {
    /// All states.
    pub const ALL: [AddressState; 5] = [
        AddressState::Announced,
        AddressState::Foreign,
        AddressState::Held,
        AddressState::Withdrawn,
        AddressState::Failed,
    ];

    /// The keyword in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            AddressState::Announced => "announced",
            AddressState::Foreign => "foreign",
            AddressState::Held => "held",
            AddressState::Withdrawn => "withdrawn",
            AddressState::Failed => "failed",
        }
    }
}
