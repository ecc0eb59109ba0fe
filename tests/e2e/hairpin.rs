//! Clients that a backend could answer directly, bypassing the balancer, or that are the balancer or the backend itself.

use sluice_testkit::{Host, Lab, Shares};

/// Service addresses (routed to the balancer, and its own on the side of the backends), and the source that backends must see.
const ADDRESSES: [(&str, &str); 4] = [
    ("203.0.113.10", "10.0.2.1"),
    ("10.0.2.1", "10.0.2.1"),
    ("[2001:db8::10]", "fd00:2::1"),
    ("[fd00:2::1]", "fd00:2::1"),
];

/// A service of `b1` and `b2` on every address, with exact ports and with ranges; `b3` is in the same network.
fn check(client: impl Fn(&Lab) -> &Host) {
    let lab = Lab::with_backends(3);
    lab.serve(8080);
    let services = ADDRESSES.iter().enumerate().map(|(n, (address, balancer))| {
        let [b1, b2] = match balancer.contains(':') {
            true => ["[fd00:2::11]:8080", "[fd00:2::12]:8080"],
            false => ["10.0.2.11:8080", "10.0.2.12:8080"],
        };
        let listen =
            [":80", ":53/udp", ":1000-1009", ":1000-1009/udp"].map(|port| format!("{address}{port}"));
        format!("  s{n}: {{listen: {listen:?}, backends: ['{b1}', '{b2}']}}\n")
    });
    let _daemon = lab.start(&format!("services:\n{}", services.collect::<String>()));

    let client = client(&lab);
    for (address, balancer) in ADDRESSES {
        let to = |port: u16| format!("{address}:{port}");
        for (what, answers) in [
            ("tcp", client.tcp_times(10, &to(80))),
            ("tcp range", client.tcp_times(10, &to(1003))),
            ("udp", client.udp_times(10, &to(53))),
            ("udp range", client.udp_times(10, &to(1003))),
        ] {
            assert_eq!(Shares::of(&answers), Shares::from([("b1", 5), ("b2", 5)]), "{what} {address}");
            for answer in answers {
                assert_eq!(answer.peer.ip().to_string(), balancer, "{what} {address}: {answer:?}");
            }
        }
    }
}

#[test]
fn backend_that_calls_its_own_service_reaches_the_others_and_itself() {
    check(|lab| &lab.backends[0]);
}

#[test]
fn client_beside_the_backends_is_answered_through_the_balancer() {
    check(|lab| &lab.backends[2]);
}

#[test]
fn client_on_the_balancer_is_seen_with_the_address_next_to_the_backends() {
    check(|lab| &lab.balancer);
}
