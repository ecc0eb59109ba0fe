//! The keys `allow`, `deny` and `limits`.

use ipnet::IpNet;
use sluice_core::model::{self, OnFull};

use crate::mapping::mapping;
use crate::problem::Fault;
use crate::read::{Check, Given, Many};
use crate::values::Prefix;
use crate::values::{ClientCount, ConnectionCount, LimitRate};
use crate::yaml_path::Here;

/// `allow` or `deny`: disjoint networks, adjacent ones joined.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks(pub(crate) Vec<IpNet>);

impl Check for Networks {
    type Unchecked = Many<Prefix>;

    fn check(here: &Here<'_>, Many(list): Many<Prefix>) -> Option<Self> {
        if list.is_empty() {
            here.error(Fault::new("the list is empty", "add networks, or remove the key"));
            return None;
        }
        let networks: Option<Vec<_>> =
            list.into_iter().map(|network| network.map(|Prefix(network)| network)).collect();
        Some(Networks(IpNet::aggregate(&networks?)))
    }
}

mapping! {
    LimitSettings, "a mapping of limits", refused: |_| None, required: [], {
        /// New connections of all clients together: N/second, /minute, /hour or /day, and `burst N`.
        new_connections: LimitRate,
        /// New connections per client.
        new_connections_per_client: LimitRate,
        /// Live connections per client.
        connections_per_client: ConnectionCount,
        /// How many clients are tracked at a time for the limits per client.
        clients: ClientCount,
        /// What happens to further clients: accepted without a limit, or dropped.
        on_full: OnFull,
    }
}

impl Check for model::Limits {
    type Unchecked = LimitSettings;

    fn check(here: &Here<'_>, limits: LimitSettings) -> Option<Self> {
        let LimitSettings {
            new_connections,
            new_connections_per_client,
            connections_per_client,
            clients,
            on_full,
        } = limits;
        let per_client =
            !matches!((&new_connections_per_client, &connections_per_client), (Given::Absent, Given::Absent));
        for (key, given) in
            [("clients", matches!(clients, Given::Good(_))), ("on_full", matches!(on_full, Given::Good(_)))]
        {
            if given && !per_client {
                here.key(key).error_at_key(Fault::new(
                    format!("`{key}` requires a limit per client"),
                    "add new_connections_per_client or connections_per_client",
                ));
            }
        }
        let rate = |given: Given<LimitRate>| given.map_or_else(|| None, |LimitRate(rate)| Some(rate));
        let ClientCount(clients) = clients.unwrap_or(ClientCount(model::Limits::default().clients));
        Some(model::Limits {
            new_connections: rate(new_connections),
            new_connections_per_client: rate(new_connections_per_client),
            connections_per_client: connections_per_client
                .map_or_else(|| None, |ConnectionCount(most)| Some(most)),
            clients,
            on_full: on_full.unwrap_or_default(),
        })
    }
}
