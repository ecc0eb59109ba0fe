//! Start, stop and crash, and the state that they leave.

use sluice_testkit::{Daemon, Lab};

use crate::web;

const VIP: &str = "203.0.113.10:80";
const FORWARD4: &str = "net/ipv4/ip_forward";
const FORWARD6: &str = "net/ipv6/conf/all/forwarding";

#[test]
fn stop_removes_the_table_and_puts_forwarding_back() {
    let lab = Lab::new();
    lab.balancer.set_sysctl(FORWARD6, "1");
    let yaml = web() + "\non_stop: remove";
    let daemon = lab.start(&yaml);
    assert_eq!(lab.balancer.sysctl(FORWARD4), "1");
    assert!(lab.ruleset().contains("table inet sluice"));
    assert!(daemon.stop().success());
    assert_eq!(lab.ruleset(), "");
    assert_eq!(lab.balancer.sysctl(FORWARD4), "0", "it was sluice who switched it on");
    assert_eq!(lab.balancer.sysctl(FORWARD6), "1", "it was not");
}

#[test]
fn stop_with_keep_leaves_traffic_flowing() {
    let lab = Lab::new();
    let daemon = lab.start(&(web() + "\non_stop: keep"));
    let mut open = lab.client.open(VIP).unwrap();
    let before = lab.ruleset();
    assert!(daemon.stop().success());
    assert_eq!(lab.ruleset(), before);
    assert_eq!(open.echo("still there?").unwrap(), "still there?");
    assert_eq!(lab.client.tcp_shares(40, VIP), lab.even(10));
}

#[test]
fn handing_over_leaves_everything_to_the_next_daemon() {
    let lab = Lab::new();
    let daemon = lab.start(&(web() + "\non_stop: remove"));
    let mut open = lab.client.open(VIP).unwrap();
    let before = lab.ruleset();
    assert!(daemon.hand_over().success());
    assert_eq!(lab.ruleset(), before);
    assert_eq!(lab.client.tcp_shares(40, VIP), lab.even(10));

    let daemon = Daemon::start(&lab);
    assert_eq!(lab.ruleset(), before);
    assert_eq!(open.echo("still there?").unwrap(), "still there?");
    assert!(daemon.stop().success());
    assert_eq!((lab.ruleset(), lab.balancer.sysctl(FORWARD4)), (String::new(), "0".into()));
}

#[test]
fn crash_leaves_traffic_flowing_and_the_next_start_adopts() {
    let lab = Lab::new();
    let daemon = lab.start(&web());
    let mut open = lab.client.open(VIP).unwrap();
    let before = lab.ruleset();
    daemon.crash();
    let answers = lab.client.tcp_times(5, VIP);
    assert_eq!(lab.ruleset(), before);

    let daemon = Daemon::start(&lab);
    assert_eq!(lab.ruleset(), before);
    // Six connections so far: the counter continued, the table was not created again.
    assert_eq!(lab.client.tcp(VIP).unwrap().backend, answers[1].backend);
    assert_eq!(open.echo("still there?").unwrap(), "still there?");
    assert!(daemon.stop().success());
    assert_eq!(lab.ruleset(), "");
    assert_eq!(lab.balancer.sysctl(FORWARD4), "0", "what was there before the crash is remembered");
}

#[test]
fn start_after_a_crash_makes_the_kernel_equal_to_the_file_of_today() {
    let lab = Lab::new();
    lab.start(&web()).crash();
    let _daemon = lab.start("services: {web: {listen: '203.0.113.10:80', backends: ['10.0.2.13:8080']}}");
    assert_eq!(lab.client.tcp(VIP).unwrap().backend, "b3");
    assert!(!lab.ruleset().contains("10.0.2.11"), "{}", lab.ruleset());
}

#[test]
fn forwarding_is_managed_for_the_families_in_use_only() {
    let lab = Lab::new();
    let mut daemon = lab.start(&web());
    assert_eq!((lab.balancer.sysctl(FORWARD4), lab.balancer.sysctl(FORWARD6)), ("1".into(), "0".into()));
    daemon.reload("services: {web: {listen: '[2001:db8::10]:80', backends: ['[fd00:2::11]:8080']}}");
    assert_eq!(lab.balancer.sysctl(FORWARD6), "1");
    assert_eq!(lab.client.tcp("[2001:db8::10]:80").unwrap().backend, "b1");
}

#[test]
fn forwarding_ignored_stays_as_it_is() {
    let lab = Lab::new();
    let daemon = lab.start(&(web() + "\nforwarding: ignore"));
    assert_eq!(lab.balancer.sysctl(FORWARD4), "0");
    lab.balancer.set_sysctl(FORWARD4, "1");
    assert_eq!(lab.client.tcp_shares(4, VIP), lab.even(1));
    assert!(daemon.stop().success());
    assert_eq!(lab.balancer.sysctl(FORWARD4), "1");
}

#[test]
fn forwarding_required_but_off_refuses_to_start() {
    let lab = Lab::new();
    lab.configure(&(web() + "\nforwarding: require"));
    let refused = lab.sluiced(&["-c", lab.config().to_str().unwrap()]).expect(1);
    assert!(refused.stderr.contains("net.ipv4.ip_forward"), "{}", refused.stderr);
    assert_eq!(lab.ruleset(), "");
    assert_eq!(lab.balancer.sysctl(FORWARD4), "0");

    lab.balancer.set_sysctl(FORWARD4, "1");
    let _daemon = Daemon::start(&lab);
    assert_eq!(lab.client.tcp_shares(4, VIP), lab.even(1));
}

#[test]
fn connection_lives_on_after_a_stop_where_another_table_translates() {
    let lab = Lab::new();
    lab.balancer.set_sysctl("net/ipv4/ip_forward", "1");
    let daemon = lab.start(&web());
    let mut open: Vec<_> = (0..4).map(|_| lab.client.open("203.0.113.10:80").unwrap()).collect();
    // As in docs/operations.md.
    for command in [
        "add table inet keep",
        "'add chain inet keep nat { type nat hook prerouting priority 0; }'",
        "add rule inet keep nat ct state new accept",
    ] {
        lab.balancer.sh(&format!("nft {command}"));
    }
    assert!(daemon.stop().success());
    for conversation in &mut open {
        assert_eq!(conversation.echo("still there?").unwrap(), "still there?");
    }
}
