//! Who may come in.

use std::sync::Arc;

use ipnet::IpNet;
use sluice_core::model::{Guard, Limits};

use super::service::Defaults;
use crate::amount::{Clients, Connections, PerTime};
use crate::choice::Invalid;
use crate::document;
use crate::place::Here;
use crate::problem::Fault;
use crate::read::{Given, Many};
use crate::word::Prefix;

/// What a file says of those who come in.
pub(super) struct Asked {
    pub(super) allow: Given<Many<Prefix>>,
    pub(super) deny: Given<Many<Prefix>>,
    pub(super) limits: Given<document::Limits>,
    pub(super) invalid: Given<Invalid>,
}

/// What a service asks of new flows, `None` if nothing.
pub(super) fn of(here: &Here<'_>, asked: Asked, defaults: &Defaults) -> Option<Arc<Guard>> {
    let Asked { allow, deny, limits, invalid } = asked;
    let allow = networks(&here.key("allow"), allow).or(defaults.allow.clone());
    let deny = networks(&here.key("deny"), deny).or(defaults.deny.clone());
    let limits = self::limits(&here.key("limits"), limits).or(defaults.limits.clone());
    let guard = Guard {
        allow: allow.unwrap_or_default(),
        deny: deny.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
        drop_invalid: false,
    };
    let Limits { new_connections, new_connections_per_client, connections_per_client, .. } = guard.limits;
    let limited =
        new_connections.or(new_connections_per_client).is_some() || connections_per_client.is_some();
    let asks = limited || !guard.allow.is_empty() || !guard.deny.is_empty();
    let invalid =
        invalid.or(defaults.invalid.clone()).map_or_else(|| asks, |invalid| invalid == Invalid::Drop);
    (asks || invalid).then(|| Arc::new(Guard { drop_invalid: invalid, ..guard }))
}

/// Networks none of which lies within another, nor beside one that it makes a larger one with.
pub(super) fn networks(here: &Here<'_>, networks: Given<Many<Prefix>>) -> Given<Vec<IpNet>> {
    if let Given::Good(Many(list)) = &networks
        && list.is_empty()
    {
        here.error(Fault::new("the list is empty", "name networks, or remove the key"));
        return Given::Bad;
    }
    match networks
        .map(|Many(list)| list.into_iter().map(|net| net.map(|Prefix(net)| net)).collect::<Option<Vec<_>>>())
    {
        Given::Good(Some(nets)) => Given::Good(IpNet::aggregate(&nets)),
        Given::Good(None) | Given::Bad => Given::Bad,
        Given::Absent => Given::Absent,
    }
}

pub(super) fn limits(here: &Here<'_>, limits: Given<document::Limits>) -> Given<Limits> {
    limits.map(|limits| {
        let document::Limits {
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
                    format!("`{key}` is of no use without a limit for each client"),
                    "add new_connections_per_client or connections_per_client",
                ));
            }
        }
        let rate = |given: Given<PerTime>| given.map_or_else(|| None, |PerTime(rate)| Some(rate));
        let Clients(clients) = clients.unwrap_or(Clients(Limits::default().clients));
        Limits {
            new_connections: rate(new_connections),
            new_connections_per_client: rate(new_connections_per_client),
            connections_per_client: connections_per_client
                .map_or_else(|| None, |Connections(most)| Some(most)),
            clients,
            on_full: on_full.unwrap_or_default(),
        }
    })
}
