//! [`FlowCleaner`]: a thread that deletes and resets flows in conntrack, so that the reconcile task never waits for it.
//!
//! The thread owns a conntrack socket and runs a [`Sweeper`]. An order contains a scope of flows and the services in force. A sweep
//! decides about each flow with the services of the newest order, so orders cannot overtake each other. Scopes of waiting
//! sweeps are merged and do not queue up.

use std::cell::OnceCell;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sluice_core::flows::{self, Affected, FlowAction, FlowPolicy, Scope};
use sluice_core::model::{OwnedEffectiveServices, Services};
use sluice_netlink::conntrack::{Conntrack, Flow, Reset};
use sluice_netlink::networks;
use tracing::{debug, info, warn};

use crate::conntrack::dump;
use crate::host::threads;

/// Wait before the second sweep of a scope: a packet that was in flight during the commit may have created a flow.
const AGAIN: Duration = Duration::from_secs(1);

/// Wait before the second sweep when the daemon stops.
const AGAIN_AT_STOP: Duration = Duration::from_millis(100);

/// Timeout of flows that are reset. Until it, a rule answers each of their packets with RST.
const LINGER: Duration = Duration::from_secs(10);

/// Attempts of a sweep.
const ATTEMPTS: u8 = 3;

/// The handle of the thread. Orders are ignored if the thread could not be started.
#[derive(Debug)]
pub struct FlowCleaner {
    orders: Sender<SweepOrder>,
    thread: Option<JoinHandle<()>>,
}

/// An order to sweep flows.
#[derive(Clone, Debug)]
pub struct SweepOrder {
    /// The flows to check.
    pub affected: Affected,
    /// The effective services in the kernel.
    pub services: Arc<OwnedEffectiveServices>,
}

impl FlowCleaner {
    /// Starts the thread in the network namespace of the caller.
    pub fn start() -> Self {
        let (sender, orders) = channel();
        let thread = Conntrack::open()
            .and_then(|conntrack| threads::start_yielding("clean flows", move || serve(conntrack, &orders)))
            .inspect_err(|error| {
                warn!("open conntrack: {error} (flows of backends that are down are not deleted)");
            })
            .ok();
        FlowCleaner { orders: sender, thread }
    }

    /// A handle that sends orders to this channel instead of a thread.
    pub fn to(orders: Sender<SweepOrder>) -> Self {
        FlowCleaner { orders, thread: None }
    }

    pub(crate) fn order(&self, order: SweepOrder) {
        let _ = self.orders.send(order);
    }

    /// Waits until all orders are executed.
    pub(crate) fn finish(self) {
        drop(self.orders);
        // The thread ends without its senders; a panic would have aborted the process.
        self.thread.map(JoinHandle::join);
    }
}

/// Sweeps the affected flows without a daemon, once the kernel has these services. Failures are logged.
pub fn sweep_once(affected: Affected, services: Arc<Services>) {
    let services = Arc::new(OwnedEffectiveServices::from(services));
    let cleaner = FlowCleaner::start();
    cleaner.order(SweepOrder { affected, services });
    cleaner.finish();
}

/// The flows of a network namespace: conntrack, or a model of it in tests.
pub trait FlowTable {
    /// Calls `f` for each flow.
    ///
    /// # Errors
    /// If a system call fails; `f` may have been called for some flows.
    fn each(&mut self, f: &mut dyn FnMut(Flow)) -> io::Result<()>;

    /// Deletes flows. Returns how many of them still existed.
    ///
    /// # Errors
    /// The first error, after an attempt for each flow.
    fn delete(&mut self, flows: &[Flow]) -> io::Result<usize>;

    /// Resets established TCP flows.
    ///
    /// # Errors
    /// The first error, after an attempt for each flow.
    fn reset(&mut self, flows: &[Flow], linger: Duration) -> io::Result<Reset>;

    /// Addresses of this host, as far as they are known.
    fn local(&mut self) -> HashSet<IpAddr> {
        HashSet::new()
    }
}

impl FlowTable for Conntrack {
    fn each(&mut self, f: &mut dyn FnMut(Flow)) -> io::Result<()> {
        dump::each(self, f)
    }

    fn delete(&mut self, flows: &[Flow]) -> io::Result<usize> {
        Conntrack::delete(self, flows)
    }

    fn reset(&mut self, flows: &[Flow], linger: Duration) -> io::Result<Reset> {
        Conntrack::reset(self, flows, linger)
    }

    fn local(&mut self) -> HashSet<IpAddr> {
        match networks() {
            Ok(networks) => networks.into_iter().map(|(_, net)| net.addr()).collect(),
            Err(error) => {
                warn!(
                    "read interfaces: {error} (flows to `*` that began before its service are not deleted)"
                );
                HashSet::new()
            }
        }
    }
}

/// Executes sweep orders on a flow table. The caller passes the time.
#[derive(Debug)]
pub struct Sweeper<T> {
    table: T,
    /// The services of the newest order.
    services: Arc<OwnedEffectiveServices>,
    /// Waiting sweeps in the order of their times.
    sweeps: VecDeque<Sweep>,
}

#[derive(Debug)]
struct Sweep {
    due: Instant,
    scope: Scope,
    /// Whether its scope must be swept a second time.
    again: bool,
    /// Whether its flows must not be ended before it is due, because answers to them are in flight.
    deferred: bool,
    attempts: u8,
}

impl<T: FlowTable> Sweeper<T> {
    /// A sweeper without orders.
    pub fn new(table: T) -> Self {
        Sweeper { table, services: Arc::default(), sweeps: VecDeque::new() }
    }

    /// Adds an order; [`Sweeper::run`] executes it.
    pub fn order(&mut self, SweepOrder { affected, services }: SweepOrder, now: Instant) {
        self.services = services;
        let Affected { soon, later, .. } = affected;
        match self.sweeps.front_mut() {
            _ if soon.is_empty() => {}
            Some(first) if first.again => first.scope.merge(soon),
            _ => {
                let sweep = Sweep { due: now, scope: soon, again: true, deferred: false, attempts: ATTEMPTS };
                self.sweeps.push_front(sweep);
            }
        }
        self.schedule(now + AGAIN, later, true, ATTEMPTS);
        self.release_services();
    }

    /// Time of the next sweep.
    pub fn due(&self) -> Option<Instant> {
        self.sweeps.front().map(|sweep| sweep.due)
    }

    /// Executes the sweeps that are due.
    pub fn run(&mut self, now: Instant) {
        let (mut all, mut again, mut attempts) = (Scope::default(), Scope::default(), 0);
        while self.due().is_some_and(|due| due <= now)
            && let Some(sweep) = self.sweeps.pop_front()
        {
            if sweep.again {
                again.merge(sweep.scope.clone());
            }
            all.merge(sweep.scope);
            attempts = attempts.max(sweep.attempts);
        }
        // A backend that was removed, added and removed again is also in a deferred sweep, which then applies.
        let mut deferred = Scope::default();
        let later = self.sweeps.iter().filter(|sweep| sweep.deferred);
        later.for_each(|sweep| deferred.merge(sweep.scope.clone()));
        let done = all.is_empty() || sweep(&mut self.table, (&all, &deferred), &self.services);
        match done {
            true => self.schedule(now + AGAIN, again, false, ATTEMPTS),
            false if attempts > 1 => self.schedule(now + AGAIN, all, false, attempts - 1),
            false => {}
        }
        self.release_services();
    }

    /// Frees the services, which may be large, until the next order.
    fn release_services(&mut self) {
        if self.sweeps.is_empty() {
            self.services = Arc::default();
        }
    }

    fn schedule(&mut self, due: Instant, scope: Scope, deferred: bool, attempts: u8) {
        if !scope.is_empty() {
            self.sweeps.push_back(Sweep { due, scope, again: false, deferred, attempts });
        }
    }
}

/// Executes orders until all senders are dropped, then the remaining sweeps.
fn serve(conntrack: Conntrack, orders: &Receiver<SweepOrder>) {
    let mut sweeper = Sweeper::new(conntrack);
    loop {
        let ended = loop {
            match orders.try_recv() {
                Ok(order) => sweeper.order(order, Instant::now()),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        sweeper.run(Instant::now());
        let order = match sweeper.due() {
            None if ended => return,
            Some(_) if ended => {
                thread::sleep(AGAIN_AT_STOP);
                return sweeper.run(Instant::now() + AGAIN);
            }
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => orders.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        if let Ok(order) = order {
            sweeper.order(order, Instant::now());
        }
    }
}

/// Ends the flows of a scope that are not also in a deferred one. `false` if that failed.
fn sweep(table: &mut impl FlowTable, scopes: (&Scope, &Scope), services: &OwnedEffectiveServices) -> bool {
    let swept = try_sweep(table, scopes, services);
    match &swept {
        Ok((0, 0)) => debug!("no flows to delete"),
        Ok((deleted, 0)) => info!("deleted {deleted} flows"),
        Ok((deleted, reset)) => info!("deleted {deleted} flows, reset {reset}"),
        Err(error) => warn!("delete flows: {error}"),
    }
    swept.is_ok()
}

fn try_sweep(
    table: &mut impl FlowTable,
    (scope, deferred): (&Scope, &Scope),
    services: &OwnedEffectiveServices,
) -> io::Result<(usize, usize)> {
    let (selected, deferred, policy, local) =
        (scope.index(), deferred.index(), OnceCell::new(), table.local());
    let (mut deleted, mut reset) = (Vec::new(), Vec::new());
    let dumped = table.each(&mut |flow| {
        let known = known(&flow);
        let is_local = |address| local.contains(&address);
        if !selected.contains(&known, is_local) || deferred.contains(&known, is_local) {
            return;
        }
        let policy = policy.get_or_init(|| FlowPolicy::new(services));
        match policy.action(&known, is_local) {
            FlowAction::Keep => {}
            FlowAction::Delete => deleted.push(flow),
            FlowAction::Reset => reset.push(flow),
        }
    });
    let deleted = table.delete(&deleted);
    let mut ended = Ok(0);
    if !reset.is_empty() {
        ended = table.reset(&reset, LINGER).map(|done| {
            if let Some(error) = done.challenge_error {
                warn!("challenge the ends of reset flows: {error} (each end gets a RST when it next sends)");
            }
            done.ended
        });
    }
    dumped.and(Ok((deleted?, ended?)))
}

fn known(flow: &Flow) -> flows::Flow {
    flows::Flow {
        protocol: flow.protocol,
        client: flow.client,
        to: flow.to,
        backend: flow.backend,
        back_to: flow.back_to,
        is_translated: flow.is_translated(),
        is_opening: flow.is_opening(),
        is_active: flow.is_active(),
    }
}
