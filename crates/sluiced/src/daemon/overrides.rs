//! What operators say of backends at run time.

use std::collections::BTreeSet;

use sluice_api::{
    Admin, ErrorReply, EventKind, Override, OverrideChange, OverrideReply, OverrideRequest, Severity,
};
use sluice_nft::Dataplane;
use tracing::info;

use crate::daemon::Daemon;
use crate::daemon::names;
use crate::daemon::request::Refused;
use crate::host::clock::now;
use crate::pool::backend_states::key;
use crate::reconcile::Trigger;

impl<D: Dataplane> Daemon<D> {
    /// Does what an operator says of a backend.
    pub(crate) async fn set_override(
        &mut self,
        request: OverrideRequest,
        uid: u32,
    ) -> Result<OverrideReply, Refused> {
        let OverrideRequest { service, backend, change } = request;
        let (name, found) = names::service(&self.config.services, &service).map_err(Refused::Unknown)?;
        let found = names::backend((name, found), &backend).map_err(Refused::Unknown)?;
        let (name, key) = (name.clone(), key(name, found));
        let took = self.standings.takes(&self.config.services[&name], &key);
        let none = Override { admin: None, weight: None, uid, since: now() };
        let said = self.standings.overrides.remove(&key).unwrap_or(none);
        let said = match change {
            OverrideChange::Admin(admin) => {
                Override { admin: Some(admin).filter(|a| *a != Admin::Enabled), ..said }
            }
            OverrideChange::Weight(weight) => Override { weight, ..said },
        };
        if said.admin.is_some() || said.weight.is_some() {
            self.standings.overrides.insert(key.clone(), Override { uid, since: now(), ..said });
        }
        match change {
            OverrideChange::Admin(admin) => info!("{name}/{backend} set to {} by uid {uid}", admin.as_str()),
            OverrideChange::Weight(Some(weight)) => {
                info!("weight of {name}/{backend} set to {weight} by uid {uid}")
            }
            OverrideChange::Weight(None) => {
                info!("weight of {name}/{backend} set as in the file by uid {uid}")
            }
        }
        let text = match change {
            OverrideChange::Admin(admin) => format!("{} by uid {uid}", admin.as_str()),
            OverrideChange::Weight(Some(weight)) => format!("weight {weight} by uid {uid}"),
            OverrideChange::Weight(None) => format!("weight as in the file by uid {uid}"),
        };
        self.events.of(&key, EventKind::Operator, Severity::Info, text);
        self.since.mark(key.clone(), now());
        let service = &self.config.services[&name];
        self.standings.ramp_if_turned(service, &key, took);
        let followed = self.follow(Trigger::Operator, &BTreeSet::from([name.clone()])).await;
        // Before it is answered, but after the kernel has it: a slow disk delays no drain.
        self.memory.retry_now();
        let not_remembered = self.remember().err();
        followed.map_err(|problems| {
            let lost = not_remembered.as_ref().map(|why| format!("; a restart will not know of it: {why}"));
            let (problems, lost) = (problems.join("; "), lost.unwrap_or_default());
            let error = format!("{name}/{backend}: noted, but not in the kernel yet: {problems}{lost}");
            Refused::Pending(ErrorReply { error, hint: "it is tried again: see `sluice status`".to_owned() })
        })?;
        let status = self.service_status(&name).backends.into_iter().find(|status| status.name == backend);
        Ok(OverrideReply { backend: status.expect("services change only here"), not_remembered })
    }
}
