//! The guard of a service: which clients are accepted, and limits.

use std::sync::Arc;

use sluice_core::model::{Guard, Limits};

use crate::document::Settings;
use crate::guard::Networks;
use crate::read::{Checked, Given};
use crate::values::Invalid;

/// `None` if the service restricts nothing.
pub(super) fn guard(settings: &Settings) -> Option<Arc<Guard>> {
    let Settings { allow, deny, limits, invalid, .. } = settings;
    let networks = |given: &Given<Checked<Networks>>| {
        given.clone().map_or_else(Vec::new, |Checked(Networks(networks))| networks)
    };
    let guard = Guard {
        allow: networks(allow),
        deny: networks(deny),
        limits: limits.clone().map_or_else(Limits::default, |Checked(limits)| limits),
        drop_invalid: false,
    };
    let Limits { new_connections, new_connections_per_client, connections_per_client, .. } = guard.limits;
    let limited =
        new_connections.or(new_connections_per_client).is_some() || connections_per_client.is_some();
    let restricts = limited || guard.selects_clients();
    let drop_invalid = invalid.clone().map_or_else(|| restricts, |invalid| invalid == Invalid::Drop);
    (restricts || drop_invalid).then(|| Arc::new(Guard { drop_invalid, ..guard }))
}
