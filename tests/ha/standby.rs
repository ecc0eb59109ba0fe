//! The node that has no addresses, and the addresses themselves.

use serde_json::Value;
use sluice_testkit::{Daemon, Node, eventually};

use crate::pair::{Pair, VIP, shipped};

fn status(node: &Node) -> Value {
    node.sluice(&["status", "--json"]).expect(0).json()
}

/// Waits until all backends have been probed and are healthy.
fn wait_for_health(node: &Node) {
    eventually("all backends are healthy", || {
        let status = status(node);
        let backends = status["services"][0]["backends"].as_array()?.clone();
        backends.iter().all(|backend| backend["health"] == "healthy").then_some(())
    });
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn standby_probes_and_reconciles_without_errors_and_serves_at_once() {
    let pair = Pair::new();
    let [a, b] = pair.run(&shipped("maglev.yaml"));
    wait_for_health(b.node);
    pair.backends[0].silence();
    eventually("the standby notices", || {
        (status(b.node)["services"][0]["backends"][0]["eligible"] == false).then_some(())
    });
    pair.backends[0].serve(8080);
    wait_for_health(b.node);
    // Its interfaces come and go.
    b.node.ip("link set eth0 down");
    b.node.ip("link set eth0 up\nroute add default via 203.0.113.1");
    b.node.sluice(&["reload"]).expect(0);
    assert_eq!(b.sluiced.logged("ERROR"), 0, "{}", b.sluiced.log());
    eventually("keepalived is ready again", || {
        b.keepalived.log().matches("Entering BACKUP STATE").nth(1).map(|_| ())
    });
    pair.active_and_standby();

    a.keepalived.stop();
    pair.wait_for_move(b.node);
    pair.client.tcp_times(40, VIP);
    assert_eq!(b.sluiced.logged("ERROR"), 0, "{}", b.sluiced.log());
}

#[test]
#[ignore = "takes keepalived, conntrackd and BIRD: make ha"]
fn addresses_of_keepalived_stay_whatever_sluice_does() {
    let pair = Pair::new();
    let file = shipped("maglev.yaml");
    // Without the script: it would move them.
    let [a, b] = &pair.nodes;
    let _keepalived = pair.keepalived_without_script(a);
    eventually("the address is there", || pair.holders("203.0.113.10").first().map(|_| ()));
    let addresses = || a.sh("ip -oneline -4 address show scope global");
    let before = addresses();
    let mut sluiced = a.start(&file);
    sluiced.reload(&file.replace("10.0.2.14:8080", "10.0.2.14:8081"));
    sluiced.crash();
    assert!(Daemon::start(a).hand_over().success());
    assert!(Daemon::start(a).stop().success());
    a.sluice(&["cleanup"]).expect(0);
    assert_eq!(addresses(), before);
    assert!(pair.holders("203.0.113.10").iter().all(|node| node.name() != b.name()));
}
