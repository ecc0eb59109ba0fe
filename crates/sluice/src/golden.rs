//! Reviewed output, kept in `tests/golden/`.

use std::path::Path;

/// Compares with the reviewed text, or replaces it when `SLUICE_UPDATE_GOLDENS` is set.
#[track_caller]
pub(crate) fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("SLUICE_UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs (cargo xtask golden --update)", path.display());
}
