//! Who may use a service: `allow`, `deny` and `limits`.

use ipnet::IpNet;
use sluice_core::model::{self, OnFull};

use crate::amount::{Clients, Connections, PerTime};
use crate::place::Here;
use crate::problem::Fault;
use crate::read::{Check, Given, Many, mapping};
use crate::word::Prefix;

/// `allow` or `deny`: disjoint networks, adjacent ones joined.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks(pub(crate) Vec<IpNet>);

impl Check for Networks {
    type Unchecked = Many<Prefix>;

    fn check(here: &Here<'_>, Many(list): Many<Prefix>) -> Option<Self> {
        if list.is_empty() {
            here.error(Fault::new("the list is empty", "name networks, or remove the key"));
            return None;
        }
        let networks: Option<Vec<_>> =
            list.into_iter().map(|network| network.map(|Prefix(network)| network)).collect();
        Some(Networks(IpNet::aggregate(&networks?)))
    }
}

mapping! {
    Limits, "a mapping of limits", refused: |_| None, required: [], {
        /// New connections of all clients together, as N/second, /minute, /hour or /day, and `burst N`.
        new_connections: PerTime,
        /// New connections of each client.
        new_connections_per_client: PerTime,
        /// Live connections of each client.
        connections_per_client: Connections,
        /// How many clients are remembered at a time for a limit.
        clients: Clients,
        /// What becomes of clients beyond those.
        on_full: OnFull,
    }
}

impl Check for model::Limits {
    type Unchecked = Limits;

    fn check(here: &Here<'_>, limits: Limits) -> Option<Self> {
        let Limits { new_connections, new_connections_per_client, connections_per_client, clients, on_full } =
            limits;
        let per_client =
            !matches!((&new_connections_per_client, &connections_per_client), (Given::Absent, Given::Absent));
        for (key, given) in
            [("clients", matches!(clients, Given::Good(_))), ("on_full", matches!(on_full, Given::Good(_)))]
        {
            if given && !per_client {
                here.key(key).error_at_key(Fault::new(
                    format!("`{key}` is of no use without a limit for each client"),
                    "add new_connections_per_client or connections_per_client",
                ));
            }
        }
        let rate = |given: Given<PerTime>| given.map_or_else(|| None, |PerTime(rate)| Some(rate));
        let Clients(clients) = clients.unwrap_or(Clients(model::Limits::default().clients));
        Some(model::Limits {
            new_connections: rate(new_connections),
            new_connections_per_client: rate(new_connections_per_client),
            connections_per_client: connections_per_client
                .map_or_else(|| None, |Connections(most)| Some(most)),
            clients,
            on_full: on_full.unwrap_or_default(),
        })
    }
}
