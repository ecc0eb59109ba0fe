//! Status says the same as the model, and so the kernel.

use sluice_api::{Admin as Wanted, Health, Status};
use sluice_core::health::Admin;
use sluice_core::model::{BackendKey, BackendName, Scheduler, ServiceName};
use tokio::time::Instant;

use crate::history::{History, Verdict};

pub fn is_true(history: &mut History<'_>, status: &Status) -> Verdict {
    let (now, local) = (Instant::now(), History::local());
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
        let pool = model.pool(&name, file, &flows, &local, now);
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
                Admin::Enabled => Wanted::Enabled,
                Admin::Drain => Wanted::Drain,
                Admin::Disabled => Wanted::Disabled,
            };
            if backend.admin != admin {
                return wrong("another admin state than the operator's");
            }
            if file.enabled && backend.eligible != (is_up && admin == Wanted::Enabled) {
                return wrong("eligible is not healthy and enabled");
            }
            if !file.enabled || model.moves(now) {
                continue;
            }
            let weight = pool.iter().find(|(b, _)| b.name == key.backend).map_or(0, |(_, weight)| *weight);
            let share = if whole == 0 { 0.0 } else { f64::from(weight) / f64::from(whole) };
            let fuzzy = matches!(file.scheduler, Scheduler::Maglev(..)) || whole > 256;
            let allowed = if fuzzy { 0.15 } else { 0.001 };
            if (share > 0.0) != (backend.share > 0.0) || (share - backend.share).abs() > allowed {
                return wrong(&format!("its share should be {share}"));
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
