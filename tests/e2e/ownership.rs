//! Who else may be at the ruleset, and what becomes of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use sluice_testkit::Lab;

use crate::web;

const VIP: &str = "203.0.113.10:80";

#[test]
fn reload_while_somebody_hammers_another_table_succeeds_every_time() {
    const RELOADS: u32 = 20;
    let lab = Lab::new();
    let mut daemon = lab.start(&web());
    let (done, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                lab.balancer.nft("add table ip other\ndelete table ip other");
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        for n in 0..RELOADS {
            let weight = 1 + n % 3;
            daemon.reload(&format!(
                "services: {{web: {{listen: '{VIP}', backends: [{{address: '10.0.2.11:8080', weight: {weight}}}, \
                 10.0.2.12:8080]}}}}"
            ));
        }
        daemon.reload(&web());
        done.store(true, Ordering::Relaxed);
    });
    assert!(written.into_inner() > RELOADS as usize, "there was a second writer");
    assert_eq!(daemon.logged("reload failed"), 0, "{}", daemon.log());
    assert_eq!(lab.client.tcp_shares(40, VIP), lab.even(10));
    lab.sluice(&["plan"]).expect(0);
}
