//! The change from IPVS and back, as docs/operations.md describes it, with ipvsadm in the place of keepalived. Kernels without
//! IPVS cannot run this test; `make kernels` runs it where possible.

use sluice_testkit::{Conversation, Lab, Shares, eventually};

const VIP: &str = "203.0.113.10:80";

fn talk(open: &mut Conversation) {
    assert_eq!(open.echo("still here").expect("the connection lives on"), "still here");
}

/// Has IPVS translate new connections, by round robin between the first two backends.
fn serve_by_ipvs(lab: &Lab) {
    lab.balancer.sh(&format!(
        "ipvsadm -A -t {VIP} -s rr; for n in 1 2; do ipvsadm -a -t {VIP} -r 10.0.2.1$n:8080 -m; done"
    ));
}

#[test]
#[ignore = "takes a kernel with IPVS"]
fn connections_of_ipvs_live_on_while_sluice_takes_over_and_gives_back() {
    let lab = Lab::new();
    lab.balancer.sh("modprobe ip_vs_rr");
    lab.balancer.ip("address add 203.0.113.10/32 dev lo");
    lab.balancer.set_sysctl("net/ipv4/ip_forward", "1");
    serve_by_ipvs(&lab);
    let mut of_ipvs: Vec<_> = (0..4).map(|_| lab.client.open(VIP).expect("a connection by IPVS")).collect();
    of_ipvs.iter_mut().for_each(talk);
    assert!(of_ipvs.iter().all(|one| ["b1", "b2"].contains(&one.answer.backend.as_str())));

    let daemon = lab.start(
        "on_stop: remove
services: {web: {listen: '203.0.113.10:80', source: preserve, backends: ['10.0.2.13:8080', '10.0.2.14:8080']}}",
    );
    of_ipvs.iter_mut().for_each(talk);
    assert_eq!(
        lab.client.tcp_shares(10, VIP),
        Shares::from([("b3", 5), ("b4", 5)]),
        "sluice has the new ones"
    );
    of_ipvs.iter_mut().for_each(talk);

    // The block of the virtual server goes when IPVS has no connection any more.
    drop(of_ipvs);
    let established = || lab.balancer.sh("ipvsadm -Lnc").contains("ESTABLISHED");
    eventually("IPVS has no connection", || (!established()).then_some(()));
    lab.balancer.sh("ipvsadm -C");
    let mut of_sluice = lab.client.open(VIP).expect("a connection by sluice");
    talk(&mut of_sluice);

    // Back: IPVS has the service again before sluice stops.
    drop(of_sluice);
    serve_by_ipvs(&lab);
    assert_eq!(lab.client.tcp_shares(4, VIP), Shares::from([("b3", 2), ("b4", 2)]));
    assert!(daemon.stop().success());
    assert_eq!(lab.client.tcp_shares(4, VIP), Shares::from([("b1", 2), ("b2", 2)]), "IPVS has the new ones");
}
