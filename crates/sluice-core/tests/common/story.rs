//! A sequence of changes to services, each planned from the committed program and compared with a plan from whole tables.

use std::collections::BTreeMap;

use sluice_core::model::Transition;
use sluice_core::plan::{Plan, diff};
use sluice_core::render::clients::maps;
use sluice_core::render::{Program, render};
use sluice_nft::fake::FakeKernel;
use sluice_nft::{Counter, Counters, Dataplane, Key, Step, Table};

use super::Services;

/// Services that change one after the other, as committed.
pub struct Story {
    pub services: Services,
    pub committed: Program,
    kernel: FakeKernel,
    /// Changes for which only a part was looked at.
    pub parts: usize,
}

impl Story {
    pub fn new(services: Services) -> Self {
        let rendered = render(&services, None);
        let kernel = FakeKernel::with_table(rendered.table.clone());
        Story { committed: rendered.program, services, kernel, parts: 0 }
    }

    /// Goes on with these services and returns the plan that led there.
    pub fn change(&mut self, desired: Services) -> Plan {
        self.change_in_part(desired).0
    }

    /// The same, and the part of the table after it that was looked at.
    pub fn change_in_part(&mut self, desired: Services) -> (Plan, Table) {
        let before = self.committed.table();
        let proposal = self.committed.propose(&Transition::between(&self.services, &desired));
        let (plan, part) = (proposal.plan.clone(), proposal.after.clone());
        let deleted = counters(&before, &plan);
        assert_eq!(
            proposal.connection_counts(&self.committed, &deleted),
            self.committed.fragments.connection_counts(&deleted)
        );
        let whole = render(&desired, Some(&before));
        assert_eq!(plan, diff(Some(&before), Some(&whole.table), &whole.owners));
        for batch in &plan.batches {
            self.kernel.commit(&batch.steps(), None).unwrap();
        }
        self.parts += usize::from(proposal.is_part());
        self.committed.accept(proposal);
        assert_eq!(self.committed.propose_all((&desired).into()).plan, Plan::default());
        let table = self.committed.table();
        assert_eq!(Some(&table), self.kernel.table());
        let elements = table.sets.values().map(|set| set.elements.len()).sum();
        assert_eq!(self.committed.sizes(), (table.sets.len(), table.chains.len(), elements));
        let counting = table.sets.iter().filter(|(_, set)| set.counter);
        let counting: BTreeMap<_, _> =
            counting.map(|(name, set)| (name.clone(), set.declaration_only())).collect();
        assert_eq!(self.committed.counting().into_iter().collect::<BTreeMap<_, _>>(), counting);
        let clients: BTreeMap<_, _> =
            maps(&table).map(|map| (map.name.clone(), table.sets[&map.name].declaration_only())).collect();
        let kept = self.committed.client_maps().into_iter().map(|(map, set)| (map.name, set));
        assert_eq!(kept.collect::<BTreeMap<_, _>>(), clients);
        self.services = desired;
        (plan, part)
    }
}

/// One packet for each counted element that a plan deletes, alone or with its set.
fn counters(before: &Table, plan: &Plan) -> Counters {
    let once = |key: &Key| (*key, Counter { packets: 1, bytes: 60 });
    let mut counters = Counters::new();
    for change in plan.changes() {
        match &change.step {
            Step::DeleteElements(of, elements) if of.declaration.counter => {
                let elements = elements.iter().map(|(key, _)| once(key));
                counters.entry(of.name.clone()).or_default().extend(elements);
            }
            Step::DeleteSet(name) if before.sets[name].counter => {
                counters.entry(name.clone()).or_default().extend(before.sets[name].elements.keys().map(once));
            }
            _ => {}
        }
    }
    counters
}
