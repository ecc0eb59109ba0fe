//! Backends that send first on connections that conntrack does not know, as after a failover.

use std::io::ErrorKind;

use sluice_testkit::{Conversation, Lab, eventually};

use crate::{FOUR, FOUR6};

const VIPS: [&str; 2] = ["203.0.113.10:80", "[2001:db8::10]:80"];
const MAGLEV: &str = "scheduler: maglev, hash: {on: [source-address, source-port]}";

fn lab() -> Lab {
    let lab = Lab::new();
    lab.balancer.ip("address add 203.0.113.10/32 dev lo\naddress add 2001:db8::10/128 dev lo nodad");
    lab
}

/// Lets the balancer treat data of backends like this, before conntrack.
fn on_data(lab: &Lab, verdict: &str) {
    let rule = format!("type filter hook prerouting priority raw; tcp sport 8080 tcp flags psh {verdict}");
    lab.balancer.nft(&format!(
        "table inet data\ndelete table inet data\ntable inet data {{\nchain prerouting {{ {rule}; }}\n}}"
    ));
}

/// Backends have sent data that were lost, nobody else has anything to send, and conntrack has forgotten the connections.
fn lose_answers(lab: &Lab, open: &mut [Conversation]) {
    on_data(lab, "drop");
    for one in open {
        assert_eq!(one.echo("lost").expect_err("the answer is lost").kind(), ErrorKind::WouldBlock);
    }
    lab.balancer.sh("conntrack -F 2>&1");
    on_data(lab, "counter");
}

/// Entries of flows that backends began.
fn begun_by_backends(lab: &Lab, family: &str) -> usize {
    let command = format!("conntrack -L -f {family} -p tcp --orig-port-src 8080 2>/dev/null");
    lab.balancer.sh(&command).lines().count()
}

/// The connection goes on: first with what was lost.
fn goes_on(one: &mut Conversation) {
    let answer = eventually("the backend sends again", || one.listen().ok());
    assert_eq!(answer, "lost\n");
    assert_eq!(one.echo("more").expect("the connection lives on"), "more");
}

#[test]
fn backend_that_sends_first_sends_in_the_name_of_the_listener() {
    let lab = lab();
    let _daemon = lab.start(&format!(
        "services: {{v4: {{listen: '{}', backends: {FOUR}, {MAGLEV}, source: preserve}}, \
         v6: {{listen: '{}', backends: {FOUR6}, {MAGLEV}, source: preserve}}}}",
        VIPS[0], VIPS[1]
    ));
    let mut open = VIPS.map(|vip| lab.client.open(vip).expect("a connection"));
    lose_answers(&lab, &mut open);
    open.iter_mut().for_each(goes_on);
    assert_eq!(["ipv4", "ipv6"].map(|family| begun_by_backends(&lab, family)), [1, 1]);
}

#[test]
fn backend_that_sends_first_waits_for_the_client_where_it_is_not_known() {
    for (listen, source) in [
        ("'203.0.113.10:80'", "source: 10.0.2.1, source_ports: keep"),
        ("['203.0.113.10:80', '203.0.113.10:81']", "source: preserve"),
        ("'*:80'", "source: preserve"),
    ] {
        let lab = lab();
        let _daemon = lab
            .start(&format!("services: {{web: {{listen: {listen}, backends: {FOUR}, {MAGLEV}, {source}}}}}"));
        let mut open = [lab.client.open(VIPS[0]).expect("a connection")];
        lose_answers(&lab, &mut open);
        eventually("the backend has sent again", || {
            (!lab.balancer.sh("nft list table inet data").contains("packets 0")).then_some(())
        });
        assert_eq!(begun_by_backends(&lab, "ipv4"), 0, "{source}");
        let [one] = &mut open;
        // The backend may wait for some seconds before it sends once more.
        let first = one.echo("here I am").ok();
        let first = first.unwrap_or_else(|| eventually("the backend sends again", || one.listen().ok()));
        assert_eq!(first.trim_end(), "lost", "{source}");
        assert_eq!(eventually("the next answer", || one.listen().ok()), "here I am\n");
    }
}

/// A proxy on this host, for example, whose connections conntrack does not know when sluice starts.
#[test]
fn backend_that_sends_first_to_a_program_on_this_host_reaches_it() {
    let lab = lab();
    let mut daemon = lab.start("services: {}");
    for listen in ["'203.0.113.10:80'", "['203.0.113.10:80', '203.0.113.10:81']"] {
        daemon.reload(&format!(
            "services: {{web: {{listen: {listen}, backends: {FOUR}, {MAGLEV}, source: preserve}}}}"
        ));
        let mut open = [lab.balancer.open("10.0.2.11:8080").expect("a connection")];
        lose_answers(&lab, &mut open);
        open.iter_mut().for_each(goes_on);
    }
}

/// Its clients reach it directly.
#[test]
fn backend_that_does_not_serve_an_adopting_service_keeps_its_address() {
    let lab = lab();
    let _daemon = lab.start(&format!(
        "services: {{web: {{listen: '{}', backends: {FOUR}, {MAGLEV}, source: preserve, midstream: ignore}}}}",
        VIPS[0]
    ));
    let mut open = [lab.client.open("10.0.2.11:8080").expect("a connection")];
    lose_answers(&lab, &mut open);
    open.iter_mut().for_each(goes_on);
}
