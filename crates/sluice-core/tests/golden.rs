//! Whole rulesets and plans, one folder a case: `before.yaml` (absent: an empty kernel) and
//! `config.yaml` in, `desired.nft` and `plan.txt` out. `cargo xtask golden --update` writes them.

use std::fs;
use std::path::{Path, PathBuf};

use sluice_core::model::EffectiveServices;
use sluice_core::plan::diff;
use sluice_core::plan::report;
use sluice_core::pool;
use sluice_core::render::{Rendered, render};
use sluice_nft::Table;

#[test]
fn every_case_renders_and_plans_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    cases.sort();
    sluice_golden::assert_all(cases.iter().flat_map(|case| texts(case)));
}

fn texts(case: &Path) -> [(PathBuf, String); 2] {
    let before = case.join("before.yaml");
    let current = before.exists().then(|| rendered(&before, None).table);
    let desired = rendered(&case.join("config.yaml"), current.as_ref());
    let plan = diff(current.as_ref(), Some(&desired.table), &desired.owners);
    [("desired.nft", desired.table.to_string()), ("plan.txt", report(&plan).to_string())]
        .map(|(name, text)| (case.join(name), text))
}

fn rendered(file: &Path, current: Option<&Table>) -> Rendered {
    match sluice_config::load(file) {
        Ok(loaded) => {
            let services = &loaded.config.services;
            render(EffectiveServices::new(services, &pool::at_start(services)), current)
        }
        Err(problems) => panic!("{problems:?}"),
    }
}
