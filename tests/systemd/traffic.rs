//! Clients that notice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use sluice_testkit::{Conversation, eventually};

use crate::VIP;
use crate::machine::Machine;

/// Connections that are open all the time.
const OPEN: usize = 8;
/// New connections, at least, during the work and if need be after it.
const FEWEST: usize = 100;
/// Between one connection and the next: the client's ports are to last.
const PACE: Duration = Duration::from_millis(1);

/// Does something while one client connects again and again and others stay connected: none of them may notice.
///
/// # Panics
/// If a connection was refused, a SYN was lost, or an open connection has ended.
pub(crate) fn undisturbed<T>(machine: &Machine, work: impl FnOnce() -> T) -> T {
    let client = &machine.lab.client;
    let connect = || client.open(VIP).expect("connect before anything happens");
    let mut open: Vec<Conversation> = (0..OPEN).map(|_| connect()).collect();
    let lost = || client.statistic("TcpExt", "TCPSynRetrans");
    let (lost_before, over) = (lost(), AtomicBool::new(false));
    let (done, outcomes) = scope(|scope| {
        let connector = scope.spawn(|| {
            let mut outcomes = vec![];
            while outcomes.len() < FEWEST || !over.load(Ordering::Relaxed) {
                outcomes.push(client.tcp(VIP));
                sleep(PACE);
            }
            outcomes
        });
        // Whatever comes of the work, the connector must end.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        (done, connector.join().expect("the connector only notes what it meets"))
    });
    let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let failures: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(failures.is_empty(), "{} of {} connections failed: {failures:?}", failures.len(), outcomes.len());
    assert_eq!(lost() - lost_before, 0, "SYNs were lost");
    for conversation in &mut open {
        assert_eq!(conversation.echo("still there?").expect("a connection from before"), "still there?");
    }
    println!("{} connections meanwhile, {OPEN} from before", outcomes.len());
    done
}

/// Waits until systemd has started the daemon again by itself, once, and it is ready.
pub(crate) fn started_again(machine: &Machine) {
    eventually("systemd has started the daemon again", || {
        let runs = machine.property("ActiveState") == "active" && machine.property("NRestarts") == "1";
        runs.then_some(())
    });
    assert_eq!(machine.property("StatusText"), "1 service with 4 backends, in sync");
}
