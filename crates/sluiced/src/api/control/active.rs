//! Active flows of backends, for the answers to overrides. Pure; runs on a blocking thread.

use std::collections::BTreeSet;

use sluice_api::BackendPath;
use sluice_core::flows::flow_counts::FlowCounts;
use sluice_core::model::{BackendKey, ServiceName, Services};

use crate::lookup;

/// Number of these flows of each backend; `None` for one that does not exist.
pub(super) fn active(services: &Services, backends: &[BackendPath], flows: &FlowCounts) -> Vec<Option<u64>> {
    let keys: Vec<Option<BackendKey>> =
        backends.iter().map(|it| lookup::key(services, &it.service, &it.backend).ok()).collect();
    let named: BTreeSet<&ServiceName> = keys.iter().flatten().map(|key| &key.service).collect();
    let loads = flows.by_backend(services, |service| named.contains(service));
    let active =
        |key: BackendKey| loads.get(&(&key.service, &key.backend)).map_or(0, |load| load.active.into());
    keys.into_iter().map(|key| key.map(active)).collect()
}
