//! Changes under traffic: nothing is lost, nothing goes astray.

use std::{env, thread};

use sluice_testkit::Lab;

/// Reloads in a row; `make soak` asks for more.
fn reloads() -> usize {
    env::var("SLUICE_RELOADS").map_or(25, |n| n.parse().expect("SLUICE_RELOADS is a number"))
}

/// Three services whose backends, weights, schedulers and sources change with `n`; b1 and b2 always serve the
/// first and the IPv6 one, b3 and b4 the second.
fn services(n: usize) -> String {
    let scheduler = ["round-robin", "random", "source-hash"][n / 2 % 3];
    let source = ["masquerade", "preserve"][n / 5 % 2];
    let weight = 1 + n % 4;
    let backends = |first: &str, second: &str| match n % 5 {
        0 => format!("['{first}']"),
        1 => format!("['{second}']"),
        _ => format!("[{{address: '{first}', weight: {weight}}}, '{second}']"),
    };
    let service = |name: &str, listen: &str, first: &str, second: &str| {
        let backends = backends(first, second);
        format!(
            "  {name}: {{listen: {listen}, scheduler: {scheduler}, source: {source}, backends: {backends}}}\n"
        )
    };
    String::from("services:\n")
        + &service("one", "['203.0.113.10:80', '203.0.113.10:53/udp']", "10.0.2.11:8080", "10.0.2.12:8080")
        + &service("two", "203.0.113.10:81", "10.0.2.13:8080", "10.0.2.14:8080")
        + &service("six", "'[2001:db8::10]:80'", "[fd00:2::11]:8080", "[fd00:2::12]:8080")
}

#[test]
fn reloads_under_load_lose_and_misroute_nothing() {
    let lab = Lab::new();
    // Or a long run would fill the table with connections that are over.
    for state in ["tcp_timeout_time_wait", "tcp_timeout_close", "udp_timeout"] {
        lab.balancer.set_sysctl(&format!("net/netfilter/nf_conntrack_{state}"), "2");
    }
    let mut daemon = lab.start(&services(0));
    let mut connections = 0_usize;
    thread::scope(|scope| {
        let changes = scope.spawn(|| (1..=reloads()).for_each(|n| daemon.reload(&services(n))));
        while !changes.is_finished() {
            // Many clients, so that no port comes round again while its last connection is remembered.
            let client = 1 + connections % 250;
            let (v4, v6) = (format!("198.51.100.{client}:0"), format!("[2001:db8:c::{client:x}]:0"));
            for (answer, expected) in [
                (lab.client.tcp_from(&v4, "203.0.113.10:80"), ["b1", "b2"]),
                (lab.client.udp_from(&v4, "203.0.113.10:53"), ["b1", "b2"]),
                (lab.client.tcp_from(&v4, "203.0.113.10:81"), ["b3", "b4"]),
                (lab.client.tcp_from(&v6, "[2001:db8::10]:80"), ["b1", "b2"]),
            ] {
                let answer = answer.unwrap_or_else(|e| panic!("after {connections} connections: {e}"));
                assert!(expected.contains(&answer.backend.as_str()), "astray: {answer:?}, not {expected:?}");
                connections += 1;
            }
        }
    });
    assert_eq!(daemon.logged("reload failed"), 0, "{}", daemon.log());
    eprintln!("{connections} connections over {} reloads", reloads());
    assert!(connections >= 4 * reloads(), "load: {connections} connections");
    // A lost SYN is sent again and connects in the end; here is where it shows.
    assert_eq!(lab.client.statistic("TcpExt", "TCPSynRetrans"), 0, "SYNs lost of {connections} connections");
}
