//! Tests of [`Identity`].

use sluice_core::model::{
    Address, Backend, BackendKey, BackendName, BackendPort, Listener, Ports, Protocol, Service, ServiceName,
    Services,
};

use super::Identity;

fn name(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

/// A key such as `web/a`.
fn key(text: &str) -> BackendKey {
    let (service, backend) = text.split_once('/').unwrap();
    BackendKey { service: name(service), backend: BackendName::new(backend).unwrap() }
}

/// A backend from its name, the last octet of its address and its port; port 0 keeps the port of the client.
fn backend((name, host, port): (&str, u8, u16)) -> Backend {
    let port = if port == 0 { BackendPort::Keep } else { BackendPort::One(port) };
    let (name, address) = (BackendName::new(name).unwrap(), [10, 0, 2, host].into());
    Backend { name, address, port, weight: 1, backup: false, max_connections: None }
}

/// A service with listeners on these ports.
fn service<const N: usize>(ports: &[u16], backends: [(&str, u8, u16); N]) -> Service {
    let listener = |port: &u16| Listener {
        address: Address::Exact([203, 0, 113, 10].into()),
        ports: Ports { first: *port, last: *port },
        protocol: Protocol::Tcp,
    };
    Service {
        listeners: ports.iter().map(listener).collect(),
        backends: backends.map(backend).into(),
        ..Service::default()
    }
}

fn services<const N: usize>(services: [(&str, Service); N]) -> Services {
    services.map(|(key, service)| (name(key), service)).into()
}

/// The old backends whose health and whose settings a new backend continues; empty if there is none.
fn from(old: &Services, new: &Services, of: &str) -> [String; 2] {
    let (identity, of) = (Identity::between(old, new), key(of));
    let backend = new[&of.service].backends.iter().find(|backend| backend.name == of.backend).unwrap();
    let text = |key: Option<BackendKey>| {
        key.map(|key| format!("{}/{}", key.service, key.backend)).unwrap_or_default()
    };
    [text(identity.health(&of.service, backend)), text(identity.settings(&of.service, backend))]
}

fn web<const N: usize>(backends: [(&str, u8, u16); N]) -> Services {
    services([("web", service(&[80], backends))])
}

#[test]
fn backend_that_stays_unchanged_continues_itself() {
    let old = web([("a", 1, 80), ("b", 2, 80)]);
    assert_eq!(from(&old, &old, "web/b"), ["web/b", "web/b"]);
    assert_eq!(Identity::between(&old, &Services::new()).files(), (&old, &Services::new()));
    let weighed = {
        let mut new = old.clone();
        new.get_mut(&name("web")).unwrap().backends[1].weight = 5;
        new
    };
    assert_eq!(from(&old, &weighed, "web/b"), ["web/b", "web/b"]);
}

#[test]
fn backend_with_a_new_name_continues_the_one_at_its_address() {
    let old = web([("a", 1, 80), ("b", 2, 80)]);
    assert_eq!(from(&old, &web([("c", 2, 80)]), "web/c"), ["web/b", "web/b"]);
    assert_eq!(from(&old, &web([("c", 2, 81)]), "web/c"), ["", ""], "another port is another backend");
    assert_eq!(from(&old, &web([("c", 3, 80)]), "web/c"), ["", ""]);
}

#[test]
fn backend_with_a_new_address_continues_the_settings_of_its_name_but_not_the_health() {
    let old = web([("a", 1, 80), ("b", 2, 80)]);
    assert_eq!(from(&old, &web([("b", 3, 80)]), "web/b"), ["", "web/b"]);
}

#[test]
fn backend_with_a_new_port_continues_the_one_with_its_name_and_address() {
    let old = web([("a", 1, 80), ("b", 1, 81)]);
    assert_eq!(from(&old, &web([("b", 1, 82)]), "web/b"), ["web/b", "web/b"]);
}

#[test]
fn backends_that_swap_addresses_swap_their_health_and_keep_their_settings() {
    let old = web([("a", 1, 80), ("b", 2, 80)]);
    let new = web([("a", 2, 80), ("b", 1, 80)]);
    assert_eq!(from(&old, &new, "web/a"), ["web/b", "web/a"]);
    assert_eq!(from(&old, &new, "web/b"), ["web/a", "web/b"]);
}

#[test]
fn backend_with_and_without_the_port_of_the_only_listener_is_the_same() {
    let old = web([("a", 1, 0)]);
    assert_eq!(from(&old, &web([("b", 1, 80)]), "web/b"), ["web/a", "web/a"]);
    assert_eq!(from(&old, &web([("b", 1, 81)]), "web/b"), ["", ""]);
    let many = services([("web", service(&[80, 81], [("a", 1, 0)]))]);
    assert_eq!(from(&many, &web([("b", 1, 80)]), "web/b"), ["", ""], "the port is ambiguous");
    let others = services([("web", service(&[80, 81], [("b", 1, 0)]))]);
    assert_eq!(from(&old, &others, "web/b"), ["web/a", "web/a"], "both have the port of the client");
}

#[test]
fn backends_of_a_service_with_a_new_name_continue_those_of_a_removed_service_that_shared_a_listener() {
    let old = services([
        ("one", service(&[80, 81], [("a", 1, 80), ("b", 2, 80)])),
        ("two", service(&[82], [("a", 3, 80)])),
    ]);
    let shared = services([("new", service(&[81, 83], [("a", 2, 80), ("c", 1, 80), ("b", 9, 80)]))]);
    assert_eq!(from(&old, &shared, "new/a"), ["one/b", "one/a"]);
    assert_eq!(from(&old, &shared, "new/c"), ["one/a", "one/a"]);
    assert_eq!(from(&old, &shared, "new/b"), ["", "one/b"]);
    let both = services([("new", service(&[80, 82], [("c", 3, 80)]))]);
    assert_eq!(from(&old, &both, "new/c"), ["two/a", "two/a"], "among two removed services");
    let none = services([("new", service(&[83], [("a", 1, 80)]))]);
    assert_eq!(from(&old, &none, "new/a"), ["", ""]);
    assert_eq!(Identity::between(&old, &shared).service(&name("new")), Some(&name("one")));
    assert_eq!(Identity::between(&old, &none).service(&name("new")), None);
}

#[test]
fn service_with_an_existing_name_continues_itself_whatever_it_listens_on() {
    let old = services([("one", service(&[80], [("a", 1, 80)])), ("two", service(&[81], [("a", 2, 80)]))]);
    // `one` took over the listener of `two`, which was removed.
    let new = services([("one", service(&[81], [("a", 2, 80)]))]);
    assert_eq!(from(&old, &new, "one/a"), ["", "one/a"]);
    assert_eq!(Identity::between(&old, &new).service(&name("one")), Some(&name("one")));
    // `three` took over the listener of `two`, which still exists.
    let new = services([("two", service(&[82], [("a", 2, 80)])), ("three", service(&[81], [("a", 2, 80)]))]);
    assert_eq!(from(&old, &new, "three/a"), ["", ""]);
    assert_eq!(from(&old, &new, "two/a"), ["two/a", "two/a"]);
}
