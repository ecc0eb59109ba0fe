//! One round converts a table with the layout of an older version or of another program.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sluice_core::render::render;

use crate::kernel::Kernel;
use crate::services::older::{Older, any_older};
use crate::{Rounds, any_small_services};

#[test]
fn tables_of_any_older_layout_are_taken_over_in_one_round_and_the_next_sends_nothing() {
    let kernel = Kernel::new();
    let older = prop_oneof![any_older(), any_older().prop_map(Older::under_our_names)];
    let strategy = (any_small_services(), older, prop::option::of(any_small_services()));
    let cases = ProptestConfig::default().cases / 2;
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&strategy, |(held, older, desired)| {
        kernel.clear();
        kernel.make(&older.layout(&render(&held, None).table));
        Rounds::new(&kernel).repair(&held, desired.as_ref().unwrap_or(&held), &older)
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
