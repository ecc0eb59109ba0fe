//! What the goldens cannot show of health checks.

use std::sync::Arc;

use sluice_config::{SourceFile, parse};
use sluice_core::model::{Service, Services};

fn services(text: &str) -> Services {
    let main = SourceFile { path: "sluice.yaml".into(), text: text.to_owned() };
    match parse(main, |_| Ok(vec![])) {
        Ok(loaded) => std::sync::Arc::unwrap_or_clone(loaded.config.services),
        Err(problems) => panic!("{problems:#?}"),
    }
}

#[test]
fn health_of_defaults_when_a_service_has_none_is_shared() {
    let services = services(
        "{defaults: {health: {tcp: {}}}, services: {a: {listen: '*:1'}, b: {listen: '*:2'}, c: {listen: '*:3', health: none}}}",
    );
    let checks: Vec<_> = services.values().map(|service| service.health.as_ref()).collect();
    let [Some(a), Some(b), None] = checks[..] else { panic!("{checks:?}") };
    assert!(Arc::ptr_eq(a, b));
}

#[test]
fn probe_port_of_each_backend_is_the_one_it_serves_on_unless_the_check_names_one() {
    let text = |health: &str| {
        format!(
            "{{services: {{a: {{listen: ['10.1.0.1:8000-8010', '[fd00::1]:80', '[fd00::1]:80/udp'], health: {health}, \
             backends: [10.2.0.1:99, '10.2.0.1:9000-9010', 'fd00::2']}}}}}}"
        )
    };
    let ports = |health: &str| {
        let services = services(&text(health));
        let service: &Service = services.values().next().unwrap();
        service.backends.iter().map(|backend| service.probe_port(backend)).collect::<Vec<_>>()
    };
    assert_eq!(ports("{tcp: {}}"), [Some(99), Some(9000), Some(80)]);
    assert_eq!(ports("{tcp: {}, port: 7}"), [Some(7); 3]);
    assert_eq!(ports("none"), [None; 3]);
}
