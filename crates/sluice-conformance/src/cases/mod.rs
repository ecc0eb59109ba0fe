//! The cases: one batch each, and the answer of the kernel.

mod ranges;
mod rules;
mod sets;
mod tables;

use sluice_nft::{Errno, Step};

use crate::Case;

/// All cases.
pub(super) fn all() -> Vec<Case> {
    [
        tables::tables(),
        tables::chains(),
        sets::sets(),
        sets::elements(),
        ranges::ranges(),
        rules::rules(),
        rules::reach(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The kernel accepts these steps after those before.
fn accepted(name: &'static str, before: impl Into<Vec<Step>>, steps: impl Into<Vec<Step>>) -> Case {
    Case { name, before: before.into(), steps: steps.into(), refused: None }
}

/// The kernel refuses the step with this index, and changes nothing.
fn refused(
    name: &'static str,
    before: impl Into<Vec<Step>>,
    steps: impl Into<Vec<Step>>,
    index: usize,
    errno: Errno,
) -> Case {
    Case { name, before: before.into(), steps: steps.into(), refused: Some((index, errno)) }
}
