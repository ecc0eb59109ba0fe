//! Status says the same as the model, and so the kernel.

use sluice_api::{Admin as ApiAdmin, Health, Status};
use sluice_core::model::{BackendKey, BackendName, ServiceName};
use sluice_core::pool::health::Admin;
use tokio::time::Instant;

use crate::history::{History, Verdict};

pub fn is_true(history: &mut History<'_>, status: &Status) -> Verdict {
    let now = Instant::now();
    let flows: Vec<_> = history.machine.conntrack.flows().iter().map(|known| known.flow).collect();
    let model = &history.model;
    let shown: Vec<_> = status.services.iter().map(|service| service.name.as_str()).collect();
    let known: Vec<_> = model.services().keys().map(|name| name.as_str()).collect();
    if shown != known {
        return Err(format!("status shows the services {shown:?}, not {known:?}"));
    }
    let mut hits = vec![];
    for service in &status.services {
        let name = ServiceName::new(&service.name).expect("a name");
        let file = &model.services()[&name];
        let pool = model.pool(&name, file, &flows, now);
        let whole: u32 = pool.iter().map(|(_, weight)| weight).sum();
        for backend in &service.backends {
            let key = BackendKey {
                service: name.clone(),
                backend: BackendName::new(&backend.name).expect("a name"),
            };
            let wrong = |what: &str| Err(format!("{}/{}: {what}: {backend:?}", service.name, backend.name));
            let is_up = model.is_up(&key);
            match backend.health {
                Health::Healthy if !is_up => return wrong("healthy although probes say otherwise"),
                Health::Unhealthy if is_up => return wrong("unhealthy although probes say otherwise"),
                Health::Unhealthy => hits.push("status: unhealthy backend"),
                Health::Unknown if model.is_known(&key) => return wrong("unknown although it was probed"),
                _ => {}
            }
            let admin = match model.admin(&key) {
                Admin::Enabled => ApiAdmin::Enabled,
                Admin::Drain => ApiAdmin::Drain,
                Admin::Disabled => ApiAdmin::Disabled,
            };
            if backend.admin != admin {
                return wrong("another admin state than the operator's");
            }
            if file.enabled && backend.eligible != (is_up && admin == ApiAdmin::Enabled) {
                return wrong("eligible is not healthy and enabled");
            }
            let known = file.backends.iter().find(|known| known.name == key.backend).expect("it is shown");
            let active = model.active(&name, known, &flows);
            if backend.active != Some(active as u64) {
                return wrong(&format!("it has {active} live connections"));
            }
            if !file.enabled {
                continue;
            }
            if backend.full != model.is_full(&name, known, &flows) {
                return wrong("full is not as many live connections as it may have");
            }
            if backend.full {
                hits.push("status: full");
            }
            if backend.eligible && backend.share == 0.0 {
                hits.push("status: eligible without a share, for a reason");
            }
        }
        if file.enabled && whole == 0 {
            hits.push("status: empty pool");
        }
        if pool.iter().any(|(backend, _)| backend.backup) {
            hits.push("status: backups serve");
        }
    }
    hits.into_iter().for_each(|hit| history.reach.hit(hit));
    Ok(())
}
