//! The kernel's table is a fresh rendering of the file as the model has its backends.

use sluice_core::model::{EffectiveServices, Scheduler};
use sluice_core::plan::diff;
use sluice_core::plan::report;
use sluice_core::render::owner::Owners;
use sluice_core::render::render;
use tokio::time::Instant;

use crate::history::{History, Verdict};

pub fn is_fresh(history: &mut History<'_>, now: Instant) -> Verdict {
    let follows = |s: &sluice_core::model::Service| s.enabled && s.scheduler == Scheduler::LeastConnections;
    if history.model.services().values().any(follows) || history.model.moves(now) {
        history.reach.hit("table: shares depend on the moment");
        return Ok(());
    }
    let flows: Vec<_> = history.machine.conntrack.flows().iter().map(|known| known.flow).collect();
    let services = history.model.effective(&flows, now);
    let networks = history.machine.known_networks();
    let table = history.machine.plane.table();
    let fresh = render(EffectiveServices::from(&services).with_networks(&networks), table.as_ref()).table;
    let plan = diff(table.as_ref(), Some(&fresh), &Owners::default());
    if services != *history.model.services() {
        history.reach.hit("table: serves otherwise than the file says");
    }
    match plan.is_empty() {
        true => Ok(()),
        false => Err(format!("the kernel differs from a fresh rendering:\n{}", report(&plan))),
    }
}
