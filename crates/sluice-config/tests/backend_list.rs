//! Files with lists of backends.

use std::path::Path;

use sluice_config::parse_backends;
use sluice_core::model::{BackendName, BackendPort, Found, Ports};

fn parse(text: &str) -> Result<Vec<Found>, Vec<String>> {
    let problems = |problems: Vec<_>| problems.iter().map(ToString::to_string).collect();
    parse_backends(Path::new("web.d/a.yaml"), text).map_err(problems)
}

fn found(address: &str, port: Option<BackendPort>) -> Found {
    let address = address.parse().unwrap();
    Found { address, port, name: None, weight: None, backup: None, max_connections: None }
}

#[test]
fn list_with_addresses_and_mappings_gives_what_each_entry_says() {
    let text = "# rendered\n- 10.0.2.11:8080\n- '[fd00::1]:80'\n- 10.0.2.12\n- 10.0.2.13:7000-7009\n\
                - { address: 10.0.2.14:80, name: web-4, weight: 0, backup: true, max_connections: 5 }\n\
                - { address: 10.0.2.15, weight: 3 }\n";
    let all = BackendPort::Range(Ports { first: 7000, last: 7009 });
    let expected = [
        found("10.0.2.11", Some(BackendPort::One(8080))),
        found("fd00::1", Some(BackendPort::One(80))),
        found("10.0.2.12", None),
        found("10.0.2.13", Some(all)),
        Found {
            name: Some(BackendName::new("web-4").unwrap()),
            weight: Some(0),
            backup: Some(true),
            max_connections: Some(5),
            ..found("10.0.2.14", Some(BackendPort::One(80)))
        },
        Found { weight: Some(3), ..found("10.0.2.15", None) },
    ];
    assert_eq!(parse(text).unwrap(), expected);
}

#[test]
fn empty_list_is_valid_and_has_no_backends() {
    assert_eq!(parse("[]"), Ok(vec![]));
    assert_eq!(parse("# none now\n[]\n"), Ok(vec![]));
}

#[test]
fn list_of_ten_thousand_backends_is_read_whole() {
    let line = |n: u32| {
        let [_, b, c, d] = n.to_be_bytes();
        format!("- {{ address: \"10.{b}.{c}.{d}:8080\", name: web-{n}, weight: {} }}\n", n % 257)
    };
    let text: String = (1..=10_000).map(line).collect();
    assert_eq!(parse(&text).unwrap().len(), 10_000);
}
