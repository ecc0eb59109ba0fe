//! IP forwarding that is disabled by others while the daemon runs.

use sluice_testkit::{Daemon, Lab, eventually, program};

use crate::launch::sluiced_on;

const KEYS: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

/// Without a refresh, so that only the event can reveal the change.
fn web(forwarding: &str) -> String {
    format!(
        "forwarding: {forwarding}\nrefresh: 0\nservices: {{web: {{listen: ['203.0.113.10:80', '[2001:db8::10]:80'], \
         backends: ['10.0.2.11:8080', '[fd00:2::11]:8080']}}}}"
    )
}

#[test]
fn forwarding_switched_off_by_others_is_switched_on_at_once() {
    let lab = Lab::new();
    let daemon = lab.start(&web("manage"));
    for key in KEYS {
        for _ in 0..3 {
            lab.balancer.set_sysctl(key, "0");
            eventually("it is on again", || (lab.balancer.sysctl(key) == "1").then_some(()));
        }
    }
    lab.balancer.sh("sysctl -qw net.ipv4.conf.all.forwarding=0");
    eventually("it is on again", || (lab.balancer.sysctl(KEYS[0]) == "1").then_some(()));
    for vip in ["203.0.113.10:80", "[2001:db8::10]:80"] {
        lab.client.tcp(vip).expect("an answer");
    }
    daemon.stop();
    assert_eq!(KEYS.map(|key| lab.balancer.sysctl(key)), ["0", "0"], "as before sluice");
}

#[test]
fn forwarding_that_is_required_and_switched_off_shows_at_once_and_when_it_is_back() {
    let lab = Lab::new();
    KEYS.iter().for_each(|key| lab.balancer.set_sysctl(key, "1"));
    let _daemon = lab.start(&format!("http: {{listen: '127.0.0.1:9180'}}\n{}", web("require")));
    let synced = || synced(&lab);
    assert!(synced().unwrap());
    for key in KEYS {
        lab.balancer.set_sysctl(key, "0");
        eventually("it is not in sync", || (!synced()?).then_some(()));
        let error = lab.sluice(&["status"]).expect(0).stdout;
        assert!(error.contains(&format!("sysctl {} is 0", key.replace('/', "."))), "{error}");
        assert_eq!(lab.balancer.sysctl(key), "0", "others are asked to");
        lab.balancer.set_sysctl(key, "1");
        eventually("it is in sync again", || synced()?.then_some(()));
    }
}

#[test]
fn forwarding_that_cannot_be_switched_on_again_shows_in_status_metrics_and_health_until_it_is_on() {
    let lab = Lab::new();
    KEYS.iter().for_each(|key| lab.balancer.set_sysctl(key, "1"));
    lab.configure(&format!("http: {{listen: '127.0.0.1:9180'}}\n{}", web("manage")));
    let read_only = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys";
    let sluiced = sluiced_on(&lab, read_only, program("sluiced").to_str().unwrap());
    let daemon = Daemon::start_program(&lab, &sluiced, &[]);
    assert!(synced(&lab).unwrap());
    for key in KEYS {
        lab.balancer.set_sysctl(key, "0");
        eventually("it is not in sync", || (!synced(&lab)?).then_some(()));
        let error = format!("write sysctl {}: Read-only file system", key.replace('/', "."));
        assert!(lab.sluice(&["status"]).expect(0).stdout.contains(&error));
        assert!(lab.balancer.sh("curl -s http://127.0.0.1:9180/healthz").contains(&error));
        lab.balancer.set_sysctl(key, "1");
        eventually("it is in sync again", || synced(&lab)?.then_some(()));
    }
    assert!(daemon.stop().success());
}

/// Whether all is in sync, in status, metrics and health alike; `None` if they differ because it changes now.
fn synced(lab: &Lab) -> Option<bool> {
    let page =
        |path: &str| lab.balancer.sh(&format!("curl -s -w ' %{{http_code}}' http://127.0.0.1:9180{path}"));
    let status = lab.sluice(&["status", "--json"]).expect(0).json()["table"]["synced"] == true;
    let metrics = page("/metrics").contains("\nsluice_table_synced 1\n");
    let healthy = page("/healthz").ends_with(" 200");
    (status == metrics && metrics == healthy).then_some(status)
}

#[test]
fn forwarding_left_to_others_is_left_alone() {
    let lab = Lab::new();
    let _daemon = lab.start(&web("ignore"));
    for key in KEYS {
        lab.balancer.set_sysctl(key, "1");
        lab.balancer.set_sysctl(key, "0");
        // A reload also checks forwarding.
        lab.sluice(&["reload"]).expect(0);
        assert_eq!(lab.balancer.sysctl(key), "0");
    }
}
