//! `http.accounting`: byte counts of backends.

use sluice_testkit::{Daemon, Lab, eventually};

const ACCOUNTING: &str = "net/netfilter/nf_conntrack_acct";

/// Payload of the client's request in bytes.
const QUESTION: u64 = "who are you?\n".len() as u64;

fn services(more: &str) -> String {
    format!(
        "services:
           dns: {{listen: '203.0.113.10:53/udp', backends: [{{address: '10.0.2.11:8080', name: d1}}]}}
           six: {{listen: '[2001:db8::10]:53/udp', backends: [{{address: '[fd00:2::12]:8080', name: d6}}]}}
           web: {{listen: '203.0.113.10:80', backends: [{{address: '10.0.2.13:8080', name: w1}}]}}\n{more}"
    )
}

fn counting() -> String {
    services("http: {listen: '127.0.0.1:9180', accounting: true}")
}

/// Bytes in and out of the only backend of each service; `None` if they are not counted.
fn bytes(lab: &Lab) -> Vec<Option<[u64; 2]>> {
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    let services = status["services"].as_array().expect("services").iter();
    let one = |service: &serde_json::Value| {
        let backend = &service["backends"][0];
        Some([backend["bytes_in"].as_u64()?, backend["bytes_out"].as_u64()?])
    };
    services.map(one).collect()
}

/// Waits until a service has this many bytes in; the count must not decrease or exceed it.
#[track_caller]
fn expect_in(lab: &Lab, service: usize, expected: u64) {
    let mut last = 0;
    eventually(&format!("{expected} bytes in of service {service}"), || {
        let [now, _] = bytes(lab)[service].expect("bytes are counted");
        assert!(last <= now && now <= expected, "{last}, then {now}, of {expected}");
        last = now;
        (now == expected).then_some(())
    });
}

#[test]
fn bytes_of_each_backend_are_those_of_its_flows_in_both_directions_and_stay_when_flows_end() {
    let lab = Lab::new();
    let _daemon = lab.start(&counting());
    assert_eq!(bytes(&lab), [Some([0, 0]); 3]);
    lab.client.udp_times(10, "203.0.113.10:53");
    lab.client.udp_times(7, "[2001:db8::10]:53");
    expect_in(&lab, 0, 10 * (28 + QUESTION));
    expect_in(&lab, 1, 7 * (48 + QUESTION));
    let out = bytes(&lab)[0].unwrap()[1];
    // The answer is a line about the client, and its text.
    assert!((10 * (28 + QUESTION + 10)..10 * (28 + QUESTION + 60)).contains(&out), "{out}");

    // There are events about destroyed flows, also about flows that were never dumped.
    lab.client.udp_times(5, "203.0.113.10:53");
    lab.balancer.sh("conntrack -F 2>&1");
    expect_in(&lab, 0, 15 * (28 + QUESTION));
    assert_eq!(bytes(&lab)[1], Some([7 * (48 + QUESTION), bytes(&lab)[1].unwrap()[1]]));

    let mut open = lab.client.open("203.0.113.10:80").unwrap();
    let line = "x".repeat(100_000);
    for _ in 0..5 {
        open.echo(&line).unwrap();
    }
    let both = eventually("all that was said is counted", || {
        bytes(&lab)[2].filter(|both| both.iter().all(|bytes| *bytes >= 500_000))
    });
    assert!(both.iter().all(|bytes| *bytes < 600_000), "{both:?}");
    let shown = lab.sluice(&["status", "--json"]).expect(0).json();
    assert_eq!(shown["services"][2]["backends"][0]["active"], 1);
}

#[test]
fn bytes_never_go_backwards_over_reloads_crashes_and_stops() {
    let lab = Lab::new();
    // Without NAT rules of anybody else a stop ends connections that send meanwhile, be it a late ACK.
    lab.balancer.nft("table ip other { chain prerouting { type nat hook prerouting priority dstnat; }; }");
    let mut daemon = lab.start(&counting());
    let mut open = lab.client.open("203.0.113.10:80").unwrap();
    let mut last = vec![[0, 0]; 3];
    let mut grows = |what: &str, say: &mut dyn FnMut()| {
        eventually(&format!("bytes grow after {what}"), || {
            say();
            // A start does not wait longer than a second for the bytes of the daemon before.
            let now: Vec<_> = bytes(&lab).into_iter().collect::<Option<_>>()?;
            let pairs = || now.iter().zip(&last);
            let is_behind = pairs().any(|(now, last)| now[0] < last[0] || now[1] < last[1]);
            assert!(!is_behind, "after {what}: {last:?} became {now:?}");
            let grows = [0, 2].iter().all(|n| now[*n][0] > last[*n][0]);
            if grows {
                last = now;
            }
            grows.then_some(())
        });
    };
    let mut say = || {
        lab.client.udp("203.0.113.10:53").unwrap();
        open.echo("hello").unwrap();
    };
    grows("the start", &mut say);
    for round in 0..4 {
        daemon.reload(
            &counting().replace("203.0.113.10:53", ["203.0.113.10:53", "203.0.113.10:53-54"][round % 2]),
        );
        grows("a reload", &mut say);
        daemon.crash();
        say();
        daemon = Daemon::start(&lab);
        grows("a crash", &mut say);
    }
    assert!(daemon.stop().success());
    assert_eq!(lab.balancer.sysctl(ACCOUNTING), "0");
    let _daemon = Daemon::start(&lab);
    grows("a stop", &mut say);
}

#[test]
fn bytes_of_an_old_flow_count_from_the_start_on_and_not_twice() {
    let lab = Lab::new();
    let daemon = lab.start(&counting());
    let mut open = lab.client.open("203.0.113.10:80").unwrap();
    let line = "x".repeat(100_000);
    open.echo(&line).unwrap();
    let before = eventually("it is counted", || bytes(&lab)[2].filter(|both| both[0] >= 100_000));
    daemon.crash();
    let _daemon = Daemon::start(&lab);
    assert_eq!(bytes(&lab)[2], Some(before));
    // When this is counted, the first dump is complete.
    eventually("another flow is counted", || {
        lab.client.udp("203.0.113.10:53").unwrap();
        bytes(&lab)[0].filter(|both| both[0] > 0)
    });
    open.echo(&line).unwrap();
    drop(open);
    lab.balancer.sh("conntrack -F 2>&1");
    let after = eventually("the rest is counted", || bytes(&lab)[2].filter(|both| both[0] >= 200_000));
    assert!(after[0] < 230_000, "{after:?}");
}

#[test]
fn accounting_is_switched_on_if_it_is_configured_and_put_back() {
    let lab = Lab::new();
    let mut daemon = lab.start(&services(""));
    assert_eq!((lab.balancer.sysctl(ACCOUNTING).as_str(), &bytes(&lab)[..]), ("0", &[None; 3][..]));
    daemon.reload(&counting());
    assert_eq!((lab.balancer.sysctl(ACCOUNTING).as_str(), &bytes(&lab)[..]), ("1", &[Some([0, 0]); 3][..]));
    daemon.reload(&services(""));
    assert_eq!((lab.balancer.sysctl(ACCOUNTING).as_str(), &bytes(&lab)[..]), ("0", &[None; 3][..]));
    assert_eq!(lab.balancer.sysctl("net/ipv4/ip_forward"), "1", "that stays");

    daemon.reload(&counting());
    daemon.crash();
    assert_eq!(lab.balancer.sysctl(ACCOUNTING), "1");
    assert!(Daemon::start(&lab).stop().success());
    assert_eq!(lab.balancer.sysctl(ACCOUNTING), "0", "what was before the crash is remembered");

    lab.balancer.set_sysctl(ACCOUNTING, "1");
    assert!(Daemon::start(&lab).stop().success());
    assert_eq!(lab.balancer.sysctl(ACCOUNTING), "1", "it was not sluice who switched it on");
    let daemon = lab.start(&services(""));
    assert_eq!(bytes(&lab), [None; 3]);
    assert!(daemon.stop().success());
    assert_eq!(lab.balancer.sysctl(ACCOUNTING), "1");
}
