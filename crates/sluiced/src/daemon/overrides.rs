//! Applies overrides of operators.

use std::collections::BTreeSet;

use sluice_api::{
    Admin, BackendStatus, ErrorReply, EventKind, Override, OverrideChange, OverrideReply, OverrideRequest,
    Severity,
};
use sluice_nft::Dataplane;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::info;

use crate::daemon::Daemon;
use crate::daemon::saver::{PATIENCE, Saved};
use crate::host::clock::now;
use crate::lookup;
use crate::pool::backend_states::key;
use crate::reconcile::Trigger;
use crate::request::OverrideError;

/// The result of an override.
#[derive(Debug)]
pub(crate) struct PendingOverride {
    name: String,
    /// The status of the backend, or the problems of applying the override to the kernel.
    followed: Result<BackendStatus, Vec<String>>,
    saved: oneshot::Receiver<Saved>,
}

impl<D: Dataplane> Daemon<D> {
    /// Applies an override of a backend.
    pub(crate) async fn set_override(
        &mut self,
        request: OverrideRequest,
        uid: u32,
    ) -> Result<PendingOverride, OverrideError> {
        let OverrideRequest { service, backend, change, reason } = request;
        let (name, found) =
            lookup::service(&self.config.services, &service).map_err(OverrideError::Unknown)?;
        let found = lookup::backend((name, found), &backend).map_err(OverrideError::Unknown)?;
        let (name, key) = (name.clone(), key(name, found));
        let took = self.backend_states.takes_new_flows(&self.config.services[&name], &key);
        let none = Override { admin: None, weight: None, uid, since: now(), reason: None };
        let new = self.backend_states.overrides.remove(&key).unwrap_or(none);
        let new = match change {
            OverrideChange::Admin(admin) => {
                Override { admin: Some(admin).filter(|a| *a != Admin::Enabled), ..new }
            }
            OverrideChange::Weight(weight) => Override { weight, ..new },
            OverrideChange::Reset {} => Override { admin: None, weight: None, ..new },
        };
        if new.admin.is_some() || new.weight.is_some() {
            // A change without a reason leaves the one that was given before.
            let reason = reason.clone().or_else(|| new.reason.clone());
            self.backend_states.overrides.insert(key.clone(), Override { uid, since: now(), reason, ..new });
        }
        let mut text = match change {
            OverrideChange::Admin(admin) => format!("{} by uid {uid}", admin.as_str()),
            OverrideChange::Weight(Some(weight)) => format!("weight {weight} by uid {uid}"),
            OverrideChange::Weight(None) => format!("weight as in the file by uid {uid}"),
            OverrideChange::Reset {} => format!("as in the file by uid {uid}"),
        };
        if let Some(reason) = &reason {
            text += &format!(": {reason}");
        }
        info!("{name}/{backend} set to {text}");
        self.events.of(&key, EventKind::Operator, Severity::Info, text);
        self.since.record(key.clone(), now());
        let service = &self.config.services[&name];
        self.backend_states.update_ramp(service, &key, took);
        let followed = self.apply_effective(Trigger::Operator, &BTreeSet::from([name.clone()])).await;
        let saved = self.order_save(true);
        let status = self.service_status(&name).backends.into_iter().find(|status| status.name == backend);
        let status = status.expect("services change only here");
        Ok(PendingOverride { name: format!("{name}/{backend}"), followed: followed.map(|()| status), saved })
    }
}

impl PendingOverride {
    /// The answer, after the result of the save. The reconcile task does not wait for this.
    pub(crate) async fn answer(self) -> Result<OverrideReply, OverrideError> {
        let not_remembered = match timeout(PATIENCE, self.saved).await {
            Ok(Ok(saved)) => saved.err(),
            Ok(Err(_closed)) => Some("no thread saves the state of backends".to_owned()),
            Err(_elapsed) => {
                Some(format!("the write to the state directory is pending for {} s", PATIENCE.as_secs()))
            }
        };
        let backend = self.followed.map_err(|problems| {
            let lost = not_remembered.as_ref().map(|why| format!("; a restart loses it: {why}"));
            let (problems, lost) = (problems.join("; "), lost.unwrap_or_default());
            let error = format!("{}: stored, but not in the kernel yet: {problems}{lost}", self.name);
            OverrideError::Pending(ErrorReply {
                error,
                hint: "it is tried again: see `sluice status`".to_owned(),
            })
        })?;
        Ok(OverrideReply { backend, not_remembered })
    }
}
