//! The package contains what its documents link to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The list of the package's files.
const MANIFEST: &str = "../sluiced/Cargo.toml";

#[test]
fn link_in_a_document_of_the_package_leads_to_another_file_of_it() {
    let packaged = packaged();
    let installed: BTreeSet<&PathBuf> = packaged.values().collect();
    let (mut broken, mut count) = (vec![], 0);
    for (source, target) in
        packaged.iter().filter(|(source, _)| source.extension().is_some_and(|it| it == "md"))
    {
        for link in links(&fs::read_to_string(source).unwrap()) {
            count += 1;
            if !installed.contains(&plain(&target.parent().unwrap().join(&link))) {
                broken.push(format!("{}: {link}", source.display()));
            }
        }
    }
    assert!(count > 50, "only {count} links were found");
    assert!(broken.is_empty(), "not in the package:\n{}", broken.join("\n"));
}

/// Files of the package, and where they are installed.
fn packaged() -> BTreeMap<PathBuf, PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(MANIFEST);
    let text = fs::read_to_string(&manifest).unwrap();
    let assets = text.split("assets = [").nth(1).unwrap().split("\n]").next().unwrap();
    let mut files = BTreeMap::new();
    for line in assets.lines() {
        let words: Vec<_> = line.split('"').skip(1).step_by(2).collect();
        let [from, to, _] = words[..] else { continue };
        // Programs are built later.
        if from.starts_with("target/") {
            continue;
        }
        let from = manifest.parent().unwrap().join(from);
        let (folder, pattern) = (from.parent().unwrap(), from.file_name().unwrap().to_str().unwrap());
        let (prefix, suffix) = pattern.split_once('*').unwrap_or((pattern, ""));
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_meant = match pattern.contains('*') {
                true => name.starts_with(prefix) && name.ends_with(suffix),
                false => name == pattern,
            };
            if is_meant && path.is_file() {
                let target = if to.ends_with('/') { Path::new(to).join(name) } else { to.into() };
                files.insert(path.clone(), plain(&target));
            }
        }
    }
    files
}

/// Relative links of a page, without their anchors.
fn links(page: &str) -> Vec<String> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    let files = targets.filter_map(|target| target.split('#').next()).filter(|file| !file.contains("://"));
    files.filter(|file| !file.is_empty()).map(str::to_owned).collect()
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}
