//! Applies overrides of operators.

use std::collections::{BTreeMap, BTreeSet};

use sluice_api::{
    ALL_BACKENDS, Admin, BackendPath, BackendStatus, ChangedBackend, ErrorReply, EventKind, Override,
    OverrideChange, OverridesReply, OverridesRequest, Severity,
};
use sluice_core::model::{BackendKey, ServiceName, Services};
use sluice_core::render::bounds::Excess;
use sluice_nft::Dataplane;
use tokio::sync::oneshot;
use tracing::info;

use crate::daemon::Daemon;
use crate::daemon::saver::{Saved, not_remembered};
use crate::host::clock::now;
use crate::lookup;
use crate::pool::backend_states::key;
use crate::reconcile::Trigger;
use crate::request::OverrideError;

/// The result of overrides.
#[derive(Debug)]
pub(crate) struct PendingOverrides {
    keys: Vec<BackendKey>,
    /// The status of the backends, or the problems of applying the overrides to the kernel.
    followed: Result<Vec<ChangedBackend>, Vec<String>>,
    saved: oneshot::Receiver<Saved>,
}

impl<D: Dataplane> Daemon<D> {
    /// Applies overrides of backends in one round. A request with an unknown backend, or with weights that a file may not
    /// have, changes nothing.
    pub(crate) async fn set_overrides(
        &mut self,
        request: OverridesRequest,
        uid: u32,
    ) -> Result<PendingOverrides, OverrideError> {
        let OverridesRequest { backends, change, reason } = request;
        let keys = named(&self.config.services, &backends).map_err(OverrideError::Unknown)?;
        self.check_bounds(&keys, change).map_err(OverrideError::Excessive)?;
        for key in &keys {
            self.record_override(key, change, reason.as_deref(), uid);
        }
        let services: BTreeSet<ServiceName> = keys.iter().map(|key| key.service.clone()).collect();
        let followed = self.apply_effective(Trigger::Operator, &services).await;
        let saved = self.order_save(true);
        let followed = followed.map(|()| self.changed_backends(&keys, &services));
        Ok(PendingOverrides { keys, followed, saved })
    }

    /// Checks that the weights after a change are within the bounds of a file. Weights that exceed them already, since a
    /// reload, can be changed.
    fn check_bounds(&self, keys: &[BackendKey], change: OverrideChange) -> Result<(), ErrorReply> {
        let new = match change {
            OverrideChange::Admin(_) => return Ok(()),
            OverrideChange::Weight(weight) => weight,
            OverrideChange::Reset {} => None,
        };
        let names: BTreeSet<&ServiceName> = keys.iter().map(|key| &key.service).collect();
        let changed: BTreeSet<&BackendKey> = keys.iter().collect();
        for name in names {
            let service = &self.config.services[name];
            let with = |change: bool| {
                let mut service = service.clone();
                for backend in &mut service.backends {
                    let key = key(name, backend);
                    let weight = match change && changed.contains(&key) {
                        true => new,
                        false => self.backend_states.overrides.get(&key).and_then(|set| set.weight),
                    };
                    backend.weight = weight.unwrap_or(backend.weight);
                }
                Excess::of(&service)
            };
            if let (Some(excess), None) = (with(true), with(false)) {
                let others = if keys.len() > 1 { "; no backend was changed" } else { "" };
                let error = format!("service {name}: {excess}{others}");
                return Err(ErrorReply { error, hint: excess.fix().to_owned() });
            }
        }
        Ok(())
    }

    /// Changes the override of a backend, not yet in the kernel.
    fn record_override(&mut self, key: &BackendKey, change: OverrideChange, reason: Option<&str>, uid: u32) {
        let service = &self.config.services[&key.service];
        let took = self.backend_states.takes_new_flows(service, key);
        let none = Override { admin: None, weight: None, uid, since: now(), reason: None };
        let new = self.backend_states.overrides.remove(key).unwrap_or(none);
        let new = match change {
            OverrideChange::Admin(admin) => {
                Override { admin: Some(admin).filter(|a| *a != Admin::Enabled), ..new }
            }
            OverrideChange::Weight(weight) => Override { weight, ..new },
            OverrideChange::Reset {} => Override { admin: None, weight: None, ..new },
        };
        if new.admin.is_some() || new.weight.is_some() {
            // A change without a reason leaves the one that was given before.
            let reason = reason.map(str::to_owned).or_else(|| new.reason.clone());
            self.backend_states.overrides.insert(key.clone(), Override { uid, since: now(), reason, ..new });
        }
        let mut text = match change {
            OverrideChange::Admin(admin) => format!("{} by uid {uid}", admin.as_str()),
            OverrideChange::Weight(Some(weight)) => format!("weight {weight} by uid {uid}"),
            OverrideChange::Weight(None) => format!("weight as in the file by uid {uid}"),
            OverrideChange::Reset {} => format!("as in the file by uid {uid}"),
        };
        if let Some(reason) = reason {
            text += &format!(": {reason}");
        }
        info!("{}/{} set to {text}", key.service, key.backend);
        self.events.of(key, EventKind::Operator, Severity::Info, text);
        self.since.record(key.clone(), now());
        self.backend_states.update_ramp(service, key, took);
    }

    /// The status of backends of these services, in the order of their keys.
    fn changed_backends(&self, keys: &[BackendKey], services: &BTreeSet<ServiceName>) -> Vec<ChangedBackend> {
        let mut statuses: BTreeMap<(&str, String), BackendStatus> = BTreeMap::new();
        for name in services {
            let backends = self.service_status(name).backends;
            statuses
                .extend(backends.into_iter().map(|status| ((name.as_str(), status.name.clone()), status)));
        }
        let changed = keys.iter().map(|key| {
            let status = statuses.remove(&(key.service.as_str(), key.backend.as_str().to_owned()));
            let status = status.expect("services change only here, and each key occurs once");
            ChangedBackend { service: key.service.to_string(), status }
        });
        changed.collect()
    }
}

/// The keys of backends, each once; `*` is all backends of a service.
fn named(services: &Services, backends: &[BackendPath]) -> Result<Vec<BackendKey>, ErrorReply> {
    let (mut keys, mut seen) = (vec![], BTreeSet::new());
    let none_changed = |mut reply: ErrorReply| {
        if backends.len() > 1 {
            reply.error += "; no backend was changed";
        }
        reply
    };
    for BackendPath { service, backend } in backends {
        let all = if backend == ALL_BACKENDS {
            let (name, found) = lookup::service(services, service).map_err(none_changed)?;
            found.backends.iter().map(|backend| key(name, backend)).collect()
        } else {
            vec![lookup::key(services, service, backend).map_err(none_changed)?]
        };
        keys.extend(all.into_iter().filter(|key| seen.insert(key.clone())));
    }
    Ok(keys)
}

impl PendingOverrides {
    /// The answer, after the result of the save. The reconcile task does not wait for this.
    pub(crate) async fn answer(self) -> Result<OverridesReply, OverrideError> {
        let not_remembered = not_remembered(self.saved).await;
        let names =
            || self.keys.iter().map(|key| format!("{}/{}", key.service, key.backend)).collect::<Vec<_>>();
        let backends = self.followed.map_err(|problems| {
            let lost = not_remembered.as_ref().map(|why| format!("; a restart loses it: {why}"));
            let (problems, lost) = (problems.join("; "), lost.unwrap_or_default());
            let error =
                format!("{}: stored, but not in the kernel yet: {problems}{lost}", names().join(", "));
            OverrideError::Pending(ErrorReply {
                error,
                hint: "it is tried again: see `sluice status`".to_owned(),
            })
        })?;
        Ok(OverridesReply { backends, not_remembered })
    }
}
