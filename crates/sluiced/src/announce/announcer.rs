//! [`Announcer`]: adds and deletes addresses of the host on its own thread.
//!
//! The kernel changes addresses under a lock that other programs may hold for long, and a change of health must not wait for it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use tokio::sync::mpsc;
use tracing::error;

use super::changes::{Changes, Order, Presence};
use super::host_addresses::HostAddresses;
use super::queue::{Due, Report, locked};
use crate::fatal::chain;
use crate::host::threads;

/// Starts an [`Announcer`]: on a thread, or in another way in tests.
pub type StartAnnouncer = Box<dyn FnOnce(Announcer)>;

/// Executes orders of addresses.
#[derive(Debug)]
pub struct Announcer {
    pub(super) due: Arc<Mutex<Due>>,
    pub(super) woken: mpsc::UnboundedReceiver<()>,
    pub(super) reports: mpsc::UnboundedSender<Arc<Report>>,
}

/// Starts the thread. Without a thread no address is announced.
pub fn start_thread(announcer: Announcer, addresses: impl HostAddresses + 'static) {
    if let Err(error) = threads::start("announce", move || announcer.serve(addresses)) {
        error!("start a thread: {error} (addresses of services are not announced)");
    }
}

impl Announcer {
    /// Executes orders until all senders are dropped.
    fn serve(mut self, mut addresses: impl HostAddresses) {
        while self.woken.blocking_recv().is_some() {
            self.execute(&mut addresses);
        }
    }

    /// Executes orders on the caller's runtime: for tests whose clock would be paused while a thread works.
    pub async fn serve_here(mut self, mut addresses: impl HostAddresses) {
        while self.woken.recv().await.is_some() {
            self.execute(&mut addresses);
        }
    }

    /// Executes the waiting order, if there is one.
    pub fn execute(&self, addresses: &mut impl HostAddresses) {
        let Due { newest, waiting } = std::mem::take(&mut *locked(&self.due));
        if let Some(order) = newest {
            let report = Arc::new(report(&order, addresses));
            let _ = self.reports.send(report.clone());
            waiting.into_iter().for_each(|done| drop(done.send(report.clone())));
        }
    }
}

/// Executes an order. New addresses come first, so that one that moves to another interface is always there.
fn report(order: &Order, addresses: &mut impl HostAddresses) -> Report {
    let mut report = Report::default();
    let listed = match addresses.list() {
        Ok(listed) => listed,
        Err(error) => {
            report.unread = Some(format!("read addresses: {}", chain(&error)));
            return report;
        }
    };
    let Changes { add, delete, present } = order.changes(&listed);
    report.present = present;
    let interface = order.interface.as_str();
    for address in add {
        match addresses.add(interface, address) {
            Ok(()) => {
                report.added.push(address);
                report.present.insert(address, Presence::Announced);
            }
            // Somebody else was faster.
            Err(error) if is(&error, Errno::EEXIST) => {
                report.present.insert(address, Presence::Foreign);
            }
            Err(error) => report.fail(address, format!("add {address} to {interface}"), &error),
        }
    }
    for (interface, address) in delete {
        match addresses.delete(&interface, address) {
            Ok(()) => report.withdrawn.push(address),
            Err(error) if is(&error, Errno::EADDRNOTAVAIL) || is(&error, Errno::ENODEV) => {}
            Err(error) => report.fail(address, format!("delete {address} from {interface}"), &error),
        }
    }
    report
}

impl Report {
    fn fail(&mut self, address: IpAddr, operation: String, error: &std::io::Error) {
        self.failed.insert(address, format!("{operation}: {}", chain(error)));
    }
}

fn is(error: &std::io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}
