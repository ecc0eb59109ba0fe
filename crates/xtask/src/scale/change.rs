//! Measures a change of one backend.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, anyhow, bail};
use comfy_table::Table;
use serde::{Deserialize, Serialize};
use sluice_core::model::Transition;
use sluice_core::model::{Backend, Services};
use sluice_netlink::{Netlink, TableOwnership};
use sluiced::reconcile::{Outcome, Reconciler, Trigger};

use super::figures::{self, median};
use super::generate::Case;

/// Number of changes there and back.
const TURNS: usize = 10;

/// Milliseconds from the request to the commit that switches, and number of all messages.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) committed: f64,
    messages: f64,
}

/// The backend is replaced by another one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Took {
    pub(crate) same_slots: Change,
    pub(crate) other_slots: Change,
}

/// Measurements by case.
#[derive(Default)]
pub(crate) struct Changes(BTreeMap<Case, Took>);

impl Changes {
    pub(crate) fn add(&mut self, case: Case, took: Took) {
        self.0.insert(case, took);
    }

    pub(crate) fn has(&self, case: Case) -> bool {
        self.0.contains_key(&case)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Case, Took)> {
        self.0.iter().map(|(case, took)| (*case, *took))
    }

    pub(crate) fn table(&self) -> Table {
        let heading = ["one backend", "same slots", "messages", "other slots", "messages"];
        let mut table = figures::table(&heading, 1);
        for (case, Took { same_slots, other_slots }) in self.iter() {
            let mut row = vec![case.to_string()];
            for Change { committed, messages } in [same_slots, other_slots] {
                row.extend([format!("{committed:.1} ms"), messages.to_string()]);
            }
            table.add_row(row);
        }
        table
    }
}

/// Changes a backend of one of these services, in the network namespace of this process.
pub(crate) fn measure(mut services: Services) -> anyhow::Result<Took> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut reconciler = Reconciler::new(Netlink::open_to(TableOwnership::Owner)?);
    let nothing = Services::new();
    let first = Transition::between(&nothing, &services);
    let start = reconciler.round(Trigger::Start, &first);
    runtime.block_on(start).map_err(|error| anyhow!("{error:?}"))?;

    let mut change = |edit: fn(&mut Backend)| -> anyhow::Result<Change> {
        let (mut committed, mut messages) = (vec![], vec![]);
        let original = services.clone();
        for turn in 0..2 * TURNS {
            let mut desired = original.clone();
            if turn.is_multiple_of(2) {
                let middle = desired.len() / 2;
                let service = desired.values_mut().nth(middle).context("no services")?;
                edit(service.backends.first_mut().context("no backends")?);
            }
            let before = reconciler.dataplane().messages_sent();
            let transition = Transition::between(&services, &desired);
            let round = reconciler.round(Trigger::Reload, &transition);
            let outcome = runtime.block_on(round).map_err(|error| anyhow!("{error:?}"))?;
            let Outcome::Changed { committed: took, .. } = outcome else { bail!("nothing was changed") };
            committed.push(1000.0 * took.as_secs_f64());
            messages.push((reconciler.dataplane().messages_sent() - before) as f64);
            services = desired;
        }
        Ok(Change { committed: median(committed), messages: median(messages) })
    };
    Ok(Took {
        same_slots: change(|backend| backend.address = IpAddr::from([192, 0, 2, 1]))?,
        other_slots: change(|backend| backend.weight = 0)?,
    })
}
