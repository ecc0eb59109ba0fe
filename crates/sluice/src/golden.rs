//! Reviewed output, kept in `tests/golden/`.

use std::path::Path;

/// Compares with `tests/golden/NAME`.
#[track_caller]
pub(crate) fn assert_golden(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    sluice_golden::assert_golden(&folder.join(name), text);
}
