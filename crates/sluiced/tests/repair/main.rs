//! One round repairs any foreign change of the table: random services and random
//! foreign edits, made with `nft`, on the real kernel. Needs root and nft; `make test` runs it.

#![forbid(unsafe_code)]

mod edit;
mod kernel;
mod layouts;
#[path = "../../../sluice-core/tests/common/mod.rs"]
mod services;

use std::cell::Cell;
use std::fmt::Debug;

use edit::any_edit;
use kernel::Kernel;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use services::Services;
use services::strategy::any_services;
use sluice_core::model::Transition;
use sluice_core::model::{Listener, Ports};
use sluice_core::render::render;
use sluice_nft::Ip;
use sluiced::reconcile::{Outcome, Reconciler, Trigger};
use tokio::runtime::Runtime;

/// A change has at most this many commits: prepare, switch and retire.
const COMMITS: u64 = 3;

#[test]
fn foreign_edits_of_any_kind_are_repaired_in_one_round_and_the_next_sends_nothing() {
    let kernel = Kernel::new();
    let [cases, edits, refused] = [const { Cell::new(0) }; 3];
    let add = |count: &Cell<usize>, more: usize| count.set(count.get() + more);
    // Half of the time the file changes, too.
    let strategy = (
        any_small_services(),
        prop::option::of(any_small_services()),
        prop::collection::vec(any_edit(), 1..6),
    );
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&strategy, |(held, desired, list)| {
        kernel.clear();
        let mut rounds = Rounds::new(&kernel);
        rounds.round(Trigger::Start, &held, &held)?;
        let made = list.iter().filter(|edit| kernel.edit(edit)).count();
        add(&cases, 1);
        add(&edits, made);
        add(&refused, list.len() - made);
        rounds.repair(&held, desired.as_ref().unwrap_or(&held), &list)
    });
    let [cases, edits, refused] = [cases, edits, refused].map(Cell::into_inner);
    eprintln!("{cases} cases: {edits} foreign edits repaired, {refused} had nothing to edit or were refused");
    result.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(edits > refused, "{edits} edits made, {refused} not");
}

/// Services without what takes an element for every port of a machine: backends that keep the port of a
/// listener on all ports beside backends that do not.
fn any_small_services() -> impl Strategy<Value = Services> {
    any_services().prop_map(|mut services| {
        // nft 1.0.6 lists IPv6 affinity and cannot load it.
        for service in services.values_mut() {
            let is_v6 = |listener: &Listener| service.takes(listener, Ip::V6);
            if service.listeners.iter().any(is_v6) {
                service.affinity = None;
            }
        }
        for service in services.values_mut().filter(|service| service.listeners.iter().any(on_all_ports)) {
            let port = service.backends.first().map(|backend| backend.port);
            service.backends.retain(|backend| Some(backend.port) == port);
        }
        services
    })
}

fn on_all_ports(listener: &Listener) -> bool {
    listener.ports == Ports::ALL
}

/// A reconciler on the kernel, and a clock that does not wait.
struct Rounds<'a> {
    kernel: &'a Kernel,
    reconciler: Reconciler<&'a Kernel>,
    runtime: Runtime,
}

impl<'a> Rounds<'a> {
    fn new(kernel: &'a Kernel) -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("start a runtime");
        Rounds { kernel, reconciler: Reconciler::new(kernel), runtime }
    }

    fn round(
        &mut self,
        trigger: Trigger,
        held: &Services,
        desired: &Services,
    ) -> Result<Outcome, TestCaseError> {
        let transition = Transition::between(held, desired);
        let round = self.reconciler.round(trigger, &transition);
        self.runtime.block_on(round).map_err(|error| TestCaseError::fail(format!("{trigger}: {error:?}")))
    }

    /// One round, after which the kernel is as desired, and one that finds nothing to do.
    fn repair(
        &mut self,
        held: &Services,
        desired: &Services,
        after: &dyn Debug,
    ) -> Result<(), TestCaseError> {
        let commits = self.kernel.commits();
        self.round(Trigger::Refresh, held, desired)?;
        let commits = self.kernel.commits() - commits;
        prop_assert!(commits <= COMMITS, "{} commits to repair {:?}", commits, after);

        let table = self.kernel.table();
        let rendered = render(desired, table.as_ref()).table;
        prop_assert_eq!(table.as_ref(), Some(&rendered), "after {:?}", after);
        // What our own reader overlooks nft would show.
        let (listed, expected) = self.kernel.listings(&rendered);
        prop_assert_eq!(listed, expected, "after {:?}", after);

        let sent = self.kernel.messages_sent();
        prop_assert_eq!(self.round(Trigger::Refresh, desired, desired)?, Outcome::Unchanged);
        prop_assert_eq!(self.kernel.messages_sent(), sent);
        Ok(())
    }
}
