//! The files in `config/` and the examples of docs/configuration.md and docs/operations.md load, and leave no key out.

use std::fs;
use std::path::{Path, PathBuf};

use sluice_config::{MAX_SIZE, SourceFile, load, parse};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn reference() -> String {
    fs::read_to_string(root().join("docs/configuration.md")).unwrap()
}

fn operations() -> String {
    fs::read_to_string(root().join("docs/operations.md")).unwrap()
}

#[test]
fn shipped_files_load_without_a_warning() {
    let folders =
        ["config", "config/high-availability"].map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let files = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    files.sort();
    for file in &files {
        match load(file) {
            Ok(loaded) => assert_eq!(loaded.warnings, [], "{}", file.display()),
            Err(problems) => panic!("{problems:#?}"),
        }
    }
    for name in ["sluice.yaml", "high-availability/maglev.yaml"] {
        assert!(files.iter().any(|file| file.ends_with(name)), "{files:?}");
    }
}

#[test]
fn file_of_the_package_loads_and_enables_nothing() {
    let loaded = load(&root().join("systemd/debian/sluice.yaml")).unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(|warning| warning.what.as_str()).collect();
    assert_eq!(warnings, ["no service is enabled"]);
    assert!(!loaded.config.services.is_empty());
    assert!(loaded.config.services.values().all(|service| !service.enabled));
}

#[test]
fn examples_of_the_pages_load() {
    for page in [reference(), operations()] {
        let examples: Vec<_> =
            page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(examples.len() > 3);
        for example in examples {
            let main = SourceFile { path: "example.yaml".into(), text: example.to_owned() };
            if let Err(problems) = parse(main, |_| Ok(vec![])) {
                panic!("{problems:#?}\n{example}");
            }
        }
    }
}

#[test]
fn every_key_is_in_the_example_and_in_the_reference() {
    let example = fs::read_to_string(root().join("config/sluice.yaml")).unwrap();
    let reference = reference();
    let places = [
        "???: 1",
        "control: { ???: 1 }",
        "http: { ???: 1 }",
        "services: { a: { ???: 1 } }",
        "services: { a: { hash: { ???: 1 } } }",
        "services: { a: { health: { ???: 1 } } }",
        "services: { a: { health: { http: { ???: 1 } } } }",
        "services: { a: { health: { udp: { ???: 1 } } } }",
        "services: { a: { health: { exec: { ???: 1 } } } }",
        "services: { a: { backends: { ???: 1 } } }",
    ];
    for place in places {
        // A key like no other makes the message list those there are.
        let text = place.replace("???", "qqqqqqqqqqqq");
        let problems = parse(SourceFile { path: "x".into(), text }, |_| Ok(vec![])).unwrap_err();
        let known = problems.iter().find_map(|problem| problem.fix.strip_prefix("known: ")).unwrap();
        for key in known.split(", ") {
            assert!(example.contains(&format!("{key}:")), "{key} is not in config/sluice.yaml");
            assert!(reference.contains(&format!("| `{key}` |")), "{key} is not in docs/configuration.md");
        }
    }
}

#[test]
fn file_size_limit_is_the_documented_one() {
    assert_eq!(MAX_SIZE, 64 << 20);
    assert!(reference().contains("at most 64 MB"));
}
