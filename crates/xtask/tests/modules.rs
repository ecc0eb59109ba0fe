//! Modules at the top of a crate import each other in one direction only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules at the top of a crate each of them imports, by the files that do.
type Imports = BTreeMap<String, BTreeMap<String, BTreeSet<PathBuf>>>;

#[test]
fn modules_of_each_crate_form_no_circle() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut circles, mut seen) = (vec![], 0);
    for package in fs::read_dir(crates).unwrap() {
        let imports = imports(&package.unwrap().path().join("src"));
        seen += imports.len();
        let reached = |from| {
            let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
            while let Some(module) = next.pop() {
                let imported = imports.get(module).into_iter().flat_map(BTreeMap::keys);
                next.extend(imported.filter(|other| reached.insert(*other)));
            }
            reached
        };
        for (module, imported) in &imports {
            let back = imported.iter().filter(|(other, _)| reached(other).contains(module));
            circles.extend(back.map(|(other, files)| format!("{module} imports {other} in {files:?}")));
        }
    }
    assert!(seen > 50, "only {seen} modules were found");
    assert!(circles.is_empty(), "these lead back to where they begin:\n{}", circles.join("\n"));
}

fn imports(source: &Path) -> Imports {
    let files = files(source);
    let top = |file: &Path| {
        let first = file.strip_prefix(source).unwrap().components().next().unwrap();
        first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    let modules: BTreeSet<String> = files.iter().map(|file| top(file)).collect();
    let mut imports = Imports::new();
    for file in files.iter().filter(|file| !["lib", "main"].contains(&&*top(file))) {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let from = top(file);
        for named in named(&code.join("\n")).into_iter().filter(|named| *named != from) {
            if modules.contains(&named) {
                imports.entry(from.clone()).or_default().entry(named).or_default().insert(file.clone());
            }
        }
    }
    imports
}

/// What stands behind `crate::`, alone or in braces.
fn named(code: &str) -> BTreeSet<String> {
    let word = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_owned()
    };
    let mut named = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            named.insert(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, character) in list.split(';').next().unwrap().char_indices() {
            if begins && depth == 0 && character.is_alphabetic() {
                named.insert(word(&list[at..]));
            }
            depth += i32::from(character == '{') - i32::from(character == '}');
            begins = character == ',' || begins && character.is_whitespace();
        }
    }
    named
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    found.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}
