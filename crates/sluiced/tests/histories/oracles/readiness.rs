//! A service is ready if the daemon is in sync and the service has its quorum, or backups that serve.

use sluice_api::{ServiceState, Status};
use sluice_core::model::ServiceName;

use crate::history::{History, Verdict};

/// Compares with the model, if nothing is under way; otherwise only with what the status says itself.
pub fn is_right(history: &mut History<'_>, status: &Status, quiet: bool) -> Verdict {
    let (model, mut hits) = (&history.model, vec![]);
    for shown in &status.services {
        let name = ServiceName::new(&shown.name).expect("a name");
        let wrong = |what: &str| Err(format!("{name}: {what}: {shown:?}"));
        if shown.ready == shown.not_ready.is_some() {
            return wrong("ready with a reason against it, or not ready without one");
        }
        if !status.table.synced {
            hits.push("ready: not in sync");
            if shown.ready {
                return wrong("ready although not in sync");
            }
        }
        if !quiet {
            continue;
        }
        let file = &model.services()[&name];
        let is_met = file.enabled && model.quorums.is_met(&name);
        if shown.quorum.met != is_met {
            return wrong("another decision about its quorum");
        }
        let ready = model.is_ready(&name, file);
        if shown.ready != ready {
            return wrong("ready is not what the model says");
        }
        if file.hooks.any() && history.machine.hooks.last(&shown.name) != Some(ready) {
            return wrong("its last hook was not that of its state");
        }
        hits.push(match (ready, is_met, shown.state) {
            (_, _, ServiceState::Disabled) => "ready: disabled",
            _ if model.has_left => "ready: the node has left",
            (true, true, _) if model.is_between(&name, file) => "ready: met with fewer than it took",
            (true, true, _) => "ready: quorum met",
            (true, false, _) => "ready: backups serve",
            (false, ..) if model.is_between(&name, file) => "ready: not met again yet",
            (false, ..) => "ready: quorum lost",
        });
    }
    hits.into_iter().for_each(|hit| history.reach.hit(hit));
    Ok(())
}
