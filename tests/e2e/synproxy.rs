//! `synproxy`: the balancer completes handshakes before it keeps state of a client.

use std::io::ErrorKind;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use sluice_testkit::{Datagram, Flood, Lab, eventually};

const VIPS: [&str; 2] = ["203.0.113.10:80", "[2001:db8::10]:80"];

/// Number of SYNs of a flood.
const SYNS: u32 = 400_000;

/// Backends send first; the addresses are the balancer's own.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.balancer.ip("address add 203.0.113.10/32 dev lo\naddress add 2001:db8::10/128 dev lo nodad");
    lab
}

fn web(keys: &str) -> String {
    let listen = VIPS.map(|vip| format!("'{vip}'")).join(", ");
    format!(
        "services: {{web: {{listen: [{listen}], backends: [10.0.2.11:8080, '[fd00:2::11]:8080'], {keys}}}}}"
    )
}

fn tracked(lab: &Lab) -> u64 {
    lab.balancer.sysctl("net/netfilter/nf_conntrack_count").parse().expect("a number")
}

/// Number of SYNs that were answered with a cookie.
fn answered(lab: &Lab) -> u64 {
    let table = lab.balancer.sh("cat /proc/thread-self/net/stat/synproxy");
    let of_core = |line: &str| {
        let column = line.split_whitespace().nth(1).expect("a second column");
        u64::from_str_radix(column, 16).expect("a number")
    };
    table.lines().skip(1).map(of_core).sum()
}

/// Sends SYNs from sources that do not exist, on two cores if there are two.
fn flood(lab: &Lab, count: u32) {
    let syn = |n: u32| {
        let source = SocketAddrV4::new((0xc612_0000 + (n & 0x1_ffff)).into(), 1024 + (n >> 17) as u16);
        Datagram { source, destination: VIPS[0].parse().expect("an address") }
    };
    let syns: Vec<_> = (0..count).map(syn).collect();
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get().min(2));
    let start = Instant::now();
    thread::scope(|scope| {
        for (core, part) in syns.chunks(syns.len() / cores).enumerate() {
            scope.spawn(move || {
                let gateway = lab.balancer.link_address("eth0");
                Flood::of_syns(&lab.client, "eth0", gateway, core).send(part)
            });
        }
    });
    eprintln!("{:.0} SYNs a second", f64::from(count) / start.elapsed().as_secs_f64());
}

#[test]
fn clients_connect_and_talk_whoever_speaks_first() {
    let lab = lab();
    let _daemon = lab.start(&web("synproxy: true"));
    for loose in ["0", "1"] {
        lab.balancer.set_sysctl("net/netfilter/nf_conntrack_tcp_loose", loose);
        for (vip, balancer) in VIPS.iter().zip(["10.0.2.1", "fd00:2::1"]) {
            for _ in 0..20 {
                let mut open = lab.client.open(vip).expect("a connection");
                assert_eq!((&*open.answer.backend, &*open.answer.peer.ip().to_string()), ("b1", balancer));
                let line = "x".repeat(100_000);
                assert_eq!(open.echo(&line).expect("an echo"), line);
            }
        }
    }
    assert_eq!(answered(&lab), 80, "each of them by a cookie");
    let told = lab.sluice(&["explain", "198.51.100.7", VIPS[0]]).expect(0).stdout;
    assert!(told.contains("after a handshake with this host") && told.contains("10.0.2.11:8080"), "{told}");
}

#[test]
fn client_that_needs_no_cookie_is_served_too() {
    let lab = lab();
    let _daemon = lab.start(&web("synproxy: true"));
    for vip in VIPS {
        assert_eq!(lab.balancer.tcp(vip).expect("an answer").backend, "b1", "on the balancer");
        assert_eq!(lab.backends[0].tcp(vip).expect("an answer").backend, "b1", "the backend itself");
        assert_eq!(lab.backends[1].tcp(vip).expect("an answer").backend, "b1", "beside it");
    }
}

#[test]
fn address_that_is_only_routed_here_is_answered_where_a_route_leads_on() {
    let lab = Lab::new();
    for (family, network, way) in [("-4", "203.0.113.0/24", "10.0.1.2"), ("-6", "2001:db8::/64", "fd00:1::2")]
    {
        // The route of the lab for untranslated packets.
        lab.balancer.sh(&format!("ip {family} rule del iif eth0 to {network} prohibit"));
        lab.balancer.ip(&format!("route replace {network} via {way}"));
    }
    let _daemon = lab.start(&web("synproxy: true"));
    for vip in VIPS {
        assert_eq!(lab.client.tcp(vip).expect("an answer").backend, "b1");
    }
    assert_eq!(answered(&lab), 2);
}

#[test]
fn flood_of_syns_costs_no_conntrack_entries_and_clients_still_connect() {
    let lab = lab();
    let mut daemon = lab.start(&web("synproxy: true"));
    let mut before: Vec<_> = VIPS.iter().map(|vip| lab.client.open(vip).expect("a connection")).collect();
    let done = AtomicBool::new(false);
    let (connected, most) = thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let (mut connected, mut most) = (0, 0);
            while !done.load(Ordering::Relaxed) || connected < 20 {
                VIPS.iter().for_each(|vip| drop(lab.client.tcp(vip).expect("an answer")));
                connected += VIPS.len() as u64;
                most = most.max(tracked(&lab).saturating_sub(connected));
            }
            (connected, most)
        });
        flood(&lab, SYNS);
        done.store(true, Ordering::Relaxed);
        clients.join().expect("every client connects")
    });
    eprintln!("{connected} clients connected, at most {most} other entries, {} cookies", answered(&lab));
    assert!(most <= 10, "{most} entries that are no client's");
    assert!(answered(&lab) > u64::from(SYNS / 2), "{}", answered(&lab));
    before.iter_mut().for_each(|open| assert_eq!(open.echo("still here").expect("an echo"), "still here"));

    // The same flood without synproxy does harm.
    daemon.reload(&web("synproxy: false"));
    flood(&lab, 20_000);
    assert!(tracked(&lab) > 10_000, "{}", tracked(&lab));
}

#[test]
fn client_that_is_denied_gets_no_cookie_and_is_counted() {
    let lab = lab();
    let _daemon = lab.start(&web("synproxy: true, deny: [198.51.100.66], allow: [198.51.100.0/24]"));
    lab.client.tcp_from("198.51.100.7:0", VIPS[0]).expect("an answer");
    let refused = [("198.51.100.66:0", VIPS[0], "denied"), ("[2001:db8:c::7]:0", VIPS[1], "not-allowed")];
    for (from, vip, reason) in refused {
        let kind = lab.client.tcp_from(from, vip).expect_err("no answer").kind();
        assert!(matches!(kind, ErrorKind::TimedOut | ErrorKind::WouldBlock), "{kind}");
        let status = lab.sluice(&["status", "--json"]).expect(0).json();
        assert!(status["services"][0]["dropped"][reason].as_u64() >= Some(1), "{status}");
    }
    assert_eq!(answered(&lab), 1);
}

#[test]
fn limits_count_clients_that_returned_a_cookie() {
    let lab = lab();
    let _daemon = lab.start(&web("synproxy: true, limits: {new_connections_per_client: 1/hour burst 2}"));
    // With the address of the client, which does not expect it.
    let syn = |n: u16| Datagram {
        source: SocketAddrV4::new([198, 51, 100, 7].into(), 2000 + n),
        destination: VIPS[0].parse().expect("an address"),
    };
    let spoofed: Vec<_> = (0..100).map(syn).collect();
    Flood::of_syns(&lab.client, "eth0", lab.balancer.link_address("eth0"), 0).send(&spoofed);
    eventually("all are answered", || (answered(&lab) >= 100).then_some(()));
    let from = |port: u16| lab.client.tcp_from(&format!("198.51.100.7:{port}"), VIPS[0]);
    [4000, 4001].iter().for_each(|port| drop(from(*port).expect("an answer")));
    let kind = from(4002).expect_err("no answer").kind();
    assert!(matches!(kind, ErrorKind::TimedOut | ErrorKind::WouldBlock), "{kind}");
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    assert!(status["services"][0]["dropped"]["client-rate"].as_u64() >= Some(1), "{status}");
}

#[test]
fn service_without_backends_refuses_and_comes_back() {
    let lab = lab();
    let mut daemon = lab.start(&web("synproxy: true"));
    let nobody = web("synproxy: true").replace("10.0.2.11:8080, '[fd00:2::11]:8080'", "");
    daemon.reload(&nobody);
    for vip in VIPS {
        assert_eq!(lab.client.tcp(vip).expect_err("nobody").kind(), ErrorKind::ConnectionRefused);
    }
    daemon.reload(&web("synproxy: true"));
    VIPS.iter().for_each(|vip| drop(lab.client.tcp(vip).expect("an answer")));
}

#[test]
fn connections_live_on_and_none_fails_while_it_is_switched_on_and_off() {
    let lab = lab();
    let mut daemon = lab.start(&web("synproxy: false"));
    let mut open: Vec<_> = VIPS.iter().map(|vip| lab.client.open(vip).expect("a connection")).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                VIPS.iter().for_each(|vip| drop(lab.client.tcp(vip).expect("an answer")));
            }
        });
        for n in 0..20 {
            // With a guard that is added and removed, too.
            let deny = if n % 4 < 2 { ", deny: [192.0.2.1]" } else { "" };
            daemon.reload(&web(&format!("synproxy: {}{deny}", n % 2 == 0)));
            open.push(lab.client.open(VIPS[n % 2]).expect("a connection"));
        }
        done.store(true, Ordering::Relaxed);
        clients.join().expect("every client connects");
    });
    open.iter_mut().for_each(|one| assert_eq!(one.echo("still here").expect("an echo"), "still here"));
}
