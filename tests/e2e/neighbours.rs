//! Rules of other tables.

use sluice_testkit::Lab;

use crate::web;

/// A foreign NAT table on the same hooks and priorities, with counters and comments.
const FOREIGN: &str = r#"
table ip other {
    map ports {
        type inet_service : ipv4_addr
        elements = { 80 : 10.0.2.14 }
    }
    chain prerouting {
        type nat hook prerouting priority dstnat
        ip daddr 203.0.113.99 tcp dport 80 counter dnat to 10.0.2.14:8080 comment "not yours"
    }
    chain output {
        type nat hook output priority -100
        ip daddr 203.0.113.99 tcp dport 80 dnat to 10.0.2.14:8080
    }
    chain postrouting {
        type nat hook postrouting priority srcnat
        ip saddr 10.0.2.12 oifname eth0 masquerade
    }
}
table inet filter {
    chain forward {
        type filter hook forward priority filter
        ct state invalid drop
    }
}
"#;

#[test]
fn foreign_table_on_the_same_hooks_is_untouched_and_both_work() {
    let lab = Lab::new();
    lab.client.serve(9999);
    lab.balancer.nft(FOREIGN);
    let foreign = || lab.balancer.sh("nft --stateless list table ip other; nft list table inet filter");
    let before = foreign();

    let mut daemon = lab.start(&web());
    daemon.reload(&format!("{}\nrefresh: 30s", web()));
    assert_eq!(lab.client.tcp_shares(40, "203.0.113.10:80"), lab.even(10));
    assert_eq!(lab.client.tcp("203.0.113.99:80").unwrap().backend, "b4");
    assert_eq!(lab.balancer.tcp("203.0.113.99:80").unwrap().backend, "b4");
    assert_eq!(lab.backends[1].tcp("10.0.1.2:9999").unwrap().peer.ip().to_string(), "10.0.1.1");
    assert_eq!(lab.backends[2].tcp("10.0.1.2:9999").unwrap().peer.ip().to_string(), "10.0.2.13");
    assert_eq!(foreign(), before);

    assert!(daemon.stop().success());
    assert_eq!(foreign(), before);
}
