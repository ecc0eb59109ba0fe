//! The JSON Schema takes every good file, and refuses what a schema can see.

use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use serde_json::Value;

/// The cases of `bad` that are YAML and that an editor marks. What is wrong with the others, only `load` can tell.
const REFUSED: &[&str] = &[
    "all-in-file-order",
    "announce",
    "backend-syntax",
    "byte-order-mark",
    "choices",
    "defaults-listen",
    "escapes",
    "guard",
    "hash",
    "health",
    "health-http",
    "health-udp-exec",
    "hooks",
    "http",
    "http-any",
    "http-name",
    "http-no-listen",
    "http-port",
    "include-not-yaml",
    "include-pattern",
    "key-twice",
    "key-unknown",
    "key-without-value",
    "listener-ipv6-syntax",
    "listener-missing",
    "listener-network",
    "listener-ports",
    "listener-syntax",
    "long-value",
    "maglev",
    "midstream",
    "names",
    "pool-bounds",
    "quorum",
    "refresh-negative",
    "sctp",
    "service-twice",
    "services-list",
    "settings",
    "socket-folder",
    "source",
    "source-ports",
    "synproxy",
    "template",
    "windows-lines",
    "wrong-kinds",
    "yaml-deep",
    "yaml-empty",
    "yaml-list",
    "yaml-merge-key",
    "yaml-text",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn validator() -> Validator {
    jsonschema::draft7::new(&sluice_config::schema()).unwrap()
}

/// As an editor reads it: keys are text. `None` when it is no YAML.
fn read(path: &Path) -> Option<Value> {
    serde_yaml::from_slice(&fs::read(path).ok()?).ok()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// As the pattern of the case has it.
fn is_hidden(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

#[test]
fn schema_by_its_own_rules_is_valid() {
    let schema = sluice_config::schema();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    jsonschema::draft7::meta::validate(&schema).unwrap();
}

#[test]
fn schema_takes_shipped_and_good_files_and_what_they_include() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let good = files(&tests.join("good")).into_iter().map(|case| case.join("config.yaml"));
    let folders =
        [root().join("config"), root().join("config/high-availability"), tests.join("good/include/conf.d")];
    let others = folders.iter().flat_map(|folder| files(folder));
    let others = others.filter(|file| file.extension().is_some_and(|end| end == "yaml") && !is_hidden(file));
    let validator = validator();
    for file in good.chain(others) {
        let value = read(&file).unwrap_or_else(|| panic!("{} is no YAML", file.display()));
        let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
    }
}

#[test]
fn schema_takes_the_examples_of_the_reference() {
    let reference = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let validator = validator();
    for example in reference.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let value: Value = serde_yaml::from_str(example).unwrap();
        assert!(validator.is_valid(&value), "{example}");
    }
}

#[test]
fn schema_refuses_the_bad_files_that_a_schema_can_tell() {
    let validator = validator();
    let cases = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad"));
    let refused = cases
        .iter()
        .filter(|case| read(&case.join("config.yaml")).is_some_and(|value| !validator.is_valid(&value)));
    let names: Vec<_> = refused.map(|case| case.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, REFUSED);
}

#[test]
fn schema_with_one_thing_wrong_refuses_that() {
    let cases = [
        // Unknown keys, of every mapping.
        ("qqq: 1", ""),
        ("announce: { qqq: 1 }", "/announce"),
        ("control: { qqq: 1 }", "/control"),
        ("http: { listen: 127.0.0.1:9180, qqq: 1 }", "/http"),
        ("defaults: { qqq: 1 }", "/defaults"),
        ("defaults: { listen: 203.0.113.10:80 }", "/defaults"),
        ("services: { a: { listen: 203.0.113.10:80, qqq: 1 } }", "/services/a"),
        ("defaults: { hash: { qqq: 1 } }", "/defaults/hash"),
        ("defaults: { limits: { qqq: 1 } }", "/defaults/limits"),
        ("defaults: { health: { tcp: {}, qqq: 1 } }", "/defaults/health"),
        ("defaults: { health: { tcp: { qqq: 1 } } }", "/defaults/health"),
        ("defaults: { health: { http: { qqq: 1 } } }", "/defaults/health"),
        (
            "services: { a: { listen: 203.0.113.10:80, backends: { address: 10.0.2.11, qqq: 1 } } }",
            "/services/a/backends",
        ),
        // Words, numbers and forms.
        ("forwarding: mange", "/forwarding"),
        ("defaults: { scheduler: roundrobin }", "/defaults/scheduler"),
        ("defaults: { source: nobody }", "/defaults/source"),
        ("defaults: { enabled: \"true\" }", "/defaults/enabled"),
        ("defaults: { quorum: 0 }", "/defaults/quorum"),
        ("defaults: { quorum: 65536 }", "/defaults/quorum"),
        ("defaults: { quorum: { up: 3 } }", "/defaults/quorum"),
        ("defaults: { quorum: { up: 3, down: 0 } }", "/defaults/quorum"),
        ("defaults: { quorum: { up: 3, down: 2, qqq: 1 } }", "/defaults/quorum"),
        ("defaults: { affinity: 10 }", "/defaults/affinity"),
        ("announce: { hold: 2 }", "/announce/hold"),
        ("defaults: { announce: lo }", "/defaults/announce"),
        ("defaults: { health: { tcp: {}, interval: 0 } }", "/defaults/health"),
        ("defaults: { limits: { new_connections: 20/fortnight } }", "/defaults/limits/new_connections"),
        ("defaults: { allow: [example.org] }", "/defaults/allow"),
        ("services: { Web: { listen: 203.0.113.10:80 } }", "/services"),
        ("services: { a: { listen: 203.0.113.10 } }", "/services/a/listen"),
        (
            "services: { a: { listen: 203.0.113.10:80, backends: [10.0.2.11:80/tcp] } }",
            "/services/a/backends",
        ),
        ("state: run/sluice", "/state"),
        // What is missing, or too much.
        ("http: {}", "/http"),
        ("services: { a: {} }", "/services/a"),
        ("services: { a: { listen: 203.0.113.10:80, backends: { weight: 1 } } }", "/services/a/backends"),
        ("defaults: { health: { rise: 2 } }", "/defaults/health"),
        ("defaults: { health: { tcp: {}, udp: {} } }", "/defaults/health"),
        ("defaults: { health: { exec: {} } }", "/defaults/health"),
        ("services:", "/services"),
    ];
    let validator = validator();
    for (text, place) in cases {
        let value: Value = serde_yaml::from_str(text).unwrap();
        let places: Vec<_> =
            validator.iter_errors(&value).map(|error| error.instance_path().to_string()).collect();
        assert_eq!(places, [place], "{text}");
    }
}

#[test]
fn every_key_has_a_description() {
    let schema = sluice_config::schema();
    let mappings = schema["definitions"].as_object().unwrap().values().chain([&schema]);
    for mapping in mappings {
        for (key, value) in mapping["properties"].as_object().unwrap() {
            assert!(value["description"].is_string(), "{key} has no doc comment: {value}");
        }
    }
}
