//! The declaration of each kind of set and base chain. A kind whose declaration changes needs another name.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::strategy::any_services;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use sluice_core::render::{ChainId, SetId, render};
use sluice_nft::Step;

const HEADER: &str = "\
# Declarations of sets and base chains, by kind of name; N is part of the name.
# If a line has to change, give its kind another layout number in render/names: docs/adr/0009-layouts.md.
";

#[test]
fn declaration_of_each_kind_of_set_and_base_chain_is_as_listed() {
    let mut runner = TestRunner::deterministic();
    let mut declarations = BTreeSet::new();
    for _ in 0..600 {
        let services = any_services().new_tree(&mut runner).expect("nothing is left out").current();
        let table = render(&services, None).table;
        for (name, set) in &table.sets {
            let kind = format!("{:?}", SetId::parse(name).expect("one of ours"));
            declarations.insert(line(&kind, &Step::AddSet(name.clone(), set.declaration_only()).to_string()));
        }
        for (name, chain) in table.chains.iter().filter(|(_, chain)| chain.base.is_some()) {
            let kind = format!("{:?}", ChainId::parse(name).expect("one of ours"));
            declarations.insert(line(&kind, &Step::AddChain(name.clone(), chain.base).to_string()));
        }
    }
    let text: String = declarations.into_iter().collect();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/declarations.txt");
    sluice_golden::assert_golden(&golden, &format!("{HEADER}{text}"));
}

/// `Slots: typeof numgen random mod N`: the kind without its fields, and the declaration without the name and the numbers that
/// are part of it.
fn line(kind: &str, step: &str) -> String {
    let kind = kind.split('(').next().unwrap_or_default();
    let declaration = step.split_once('{').map_or(step, |(_, declaration)| declaration);
    let words = declaration.trim_end_matches('}').split_whitespace().collect::<Vec<_>>();
    let numbered = |n: usize| n > 0 && ["mod", "size", "timeout"].contains(&words[n - 1]);
    let words = words.iter().enumerate().map(|(n, word)| match numbered(n) {
        true if word.ends_with(';') => "N;",
        true => "N",
        false => word,
    });
    format!("{kind}: {}\n", words.collect::<Vec<_>>().join(" "))
}
