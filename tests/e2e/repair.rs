//! Time until foreign changes of a table without an owner are repaired. The times are printed, not asserted; set
//! `SLUICE_SERVICES` for more services than a test needs.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;
use std::{env, thread};

use sluice_netlink::{Change, Event, Monitor, Netlink};
use sluice_nft::{Dataplane, SetRef, Step, Table};
use sluice_testkit::{Daemon, Lab, PATIENCE, eventually};

use crate::FOUR;

/// Times of the daemon's commits to the table.
fn repairs(lab: &Lab) -> Receiver<Instant> {
    let mut monitor = lab.balancer.run(|| Monitor::open(0)).expect("listen");
    let (told, repairs) = mpsc::channel();
    // The thread ends with the process.
    thread::spawn(move || {
        while let Ok(event) = monitor.wait() {
            let is_repair = matches!(event, Event::Changed(Change { process, .. }) if process == "sluiced");
            if is_repair && told.send(Instant::now()).is_err() {
                break;
            }
        }
    });
    repairs
}

/// A foreign change: of one element, of the rules of a chain, or of everything.
fn edits(table: &Table) -> [Step; 3] {
    let (name, slots) = table.sets.iter().find(|(name, _)| name.as_str() == "slots4-0").expect("slots");
    let (key, slot) = slots.elements.first_key_value().expect("a slot");
    let of = SetRef { name: name.clone(), declaration: Arc::new(slots.clone()) };
    let postrouting = table.chains.keys().find(|name| name.as_str() == "postrouting").expect("a chain");
    [
        Step::DeleteElements(of, vec![(*key, slot.data.clone())]),
        Step::FlushChain(postrouting.clone()),
        Step::DeleteTable,
    ]
}

#[test]
fn change_by_somebody_else_is_repaired_whatever_the_number_of_services() {
    let services =
        env::var("SLUICE_SERVICES").map_or(10, |n| n.parse().expect("SLUICE_SERVICES is a number"));
    let lab = Lab::new();
    let service = |n: u32| {
        format!("  s{n}: {{listen: '203.0.{}.{}:80', backends: {FOUR}}}\n", 113 + n / 200, 1 + n % 200)
    };
    lab.configure(&format!("refresh: 0\nservices:\n{}", (0..services).map(service).collect::<String>()));
    let _daemon = Daemon::start_with(&lab, &[("SLUICE_UNOWNED", "1")]);
    let mut somebody = lab.balancer.run(Netlink::open).expect("open nf_tables");
    let table = somebody.read().expect("read the table").table.expect("there is one");
    let repairs = repairs(&lab);
    for edit in edits(&table) {
        let began = Instant::now();
        somebody.commit(std::slice::from_ref(&edit), None).expect("anybody may");
        let repaired = repairs.recv_timeout(PATIENCE).expect("it is repaired");
        eprintln!("{services} services, {edit}: done and repaired in {:?}", repaired.duration_since(began));
        eventually("all is well", || (lab.sluice(&["plan"]).code == Some(0)).then_some(()));
        assert_eq!(lab.client.tcp("203.0.113.1:80").unwrap().port, 8080);
        repairs.try_iter().for_each(drop);
    }
}
