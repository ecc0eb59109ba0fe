//! A thread that ends flows in conntrack, so that the reconcile task never waits for that.
//!
//! Orders say where to look, and which services are in force. Flows are judged by the newest services at the time of
//! the sweep, so orders cannot overtake each other; what is to be looked at is merged and does not queue up.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sluice_core::flows::{self, Affected, Judge, Look, Scope, Target, Verdict};
use sluice_core::model::{Address, Services, ServicesInForce};
use sluice_netlink::conntrack::{Conntrack, Filter, Flow, Reset};
use sluice_netlink::networks;
use sluice_nft::Ip;
use tracing::{debug, info, warn};

use crate::host::threads;

/// When flows are looked at for a second time: a packet that was under way during the commit may have made one.
const AGAIN: Duration = Duration::from_secs(1);

/// The same, when there is no time to wait.
const AGAIN_AT_THE_END: Duration = Duration::from_millis(100);

/// How long flows that are being reset still answer.
const LINGER: Duration = Duration::from_secs(10);

/// Up to so many kinds of flows the kernel is asked for each; for more it is asked for all flows once.
const EACH: usize = 16;

/// How often a sweep is tried.
const ATTEMPTS: u8 = 3;

/// Where to say which flows are to be looked at. Who listens may be gone.
#[derive(Debug)]
pub struct Flows {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

/// What changed for flows.
#[derive(Clone, Debug)]
pub struct Order {
    /// Flows to look at.
    pub affected: Affected,
    /// The services that the kernel has.
    pub services: Arc<ServicesInForce>,
}

impl Flows {
    /// Starts the thread in the network namespace of the caller.
    pub fn start() -> Self {
        let (sender, orders) = channel();
        let thread = Conntrack::open()
            .and_then(|conntrack| threads::start("clean flows", move || serve(conntrack, &orders)))
            .inspect_err(|error| {
                warn!("open conntrack: {error} (flows of backends that are down stay where they are)");
            })
            .ok();
        Flows { orders: sender, thread }
    }

    /// Hands all orders to somebody else.
    pub fn to(listener: Sender<Order>) -> Self {
        Flows { orders: listener, thread: None }
    }

    pub(crate) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// Waits until everything ordered has been done.
    pub(crate) fn finish(self) {
        drop(self.orders);
        // It ends by itself; a panic would have ended the process.
        self.thread.map(JoinHandle::join);
    }
}

/// Looks at flows now that the kernel has these services, without a daemon. What goes wrong is logged.
pub fn settle(affected: Affected, services: Arc<Services>) {
    let services = Arc::new(ServicesInForce::from(services));
    let flows = Flows::start();
    flows.order(Order { affected, services });
    flows.finish();
}

/// The flows of a network namespace: conntrack, or a model of it.
pub trait FlowTable {
    /// Hands each flow that fits to `f`.
    ///
    /// # Errors
    /// Of the system calls; `f` may have seen some flows.
    fn each(&mut self, filter: &Filter, f: &mut dyn FnMut(Flow)) -> io::Result<()>;

    /// Deletes flows, and returns how many there still were.
    ///
    /// # Errors
    /// The first one, after all were tried.
    fn delete(&mut self, flows: &[Flow]) -> io::Result<usize>;

    /// Resets established TCP flows.
    ///
    /// # Errors
    /// The first one, after all were tried.
    fn reset(&mut self, flows: &[Flow], linger: Duration) -> io::Result<Reset>;

    /// Addresses that this host has, as far as that is known.
    fn local(&mut self) -> HashSet<IpAddr> {
        HashSet::new()
    }
}

impl FlowTable for Conntrack {
    fn each(&mut self, filter: &Filter, f: &mut dyn FnMut(Flow)) -> io::Result<()> {
        Conntrack::each(self, filter, f)
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
                warn!("look at interfaces: {error} (flows to `*` that began before its service stay)");
                HashSet::new()
            }
        }
    }
}

/// Carries out orders. Pure but for its table: the caller says what time it is.
#[derive(Debug)]
pub struct Cleaner<T> {
    table: T,
    /// The newest that are known.
    services: Arc<ServicesInForce>,
    /// Sweeps by when they are due.
    sweeps: VecDeque<Sweep>,
}

#[derive(Debug)]
struct Sweep {
    due: Instant,
    scope: Scope,
    /// Whether its flows are to be looked at once more.
    again: bool,
    /// Whether answers are under way to its flows: nobody looks at them before it is due.
    waits: bool,
    attempts: u8,
}

impl<T: FlowTable> Cleaner<T> {
    /// Nothing is ordered yet.
    pub fn new(table: T) -> Self {
        Cleaner { table, services: Arc::default(), sweeps: VecDeque::new() }
    }

    /// Takes an order; [`Cleaner::run`] carries it out.
    pub fn order(&mut self, Order { affected, services }: Order, now: Instant) {
        self.services = services;
        let Affected { soon, later, .. } = affected;
        match self.sweeps.front_mut() {
            _ if soon.is_empty() => {}
            Some(first) if first.again => first.scope.merge(soon),
            _ => {
                let sweep = Sweep { due: now, scope: soon, again: true, waits: false, attempts: ATTEMPTS };
                self.sweeps.push_front(sweep);
            }
        }
        self.plan(now + AGAIN, later, true, ATTEMPTS);
        self.forget_services();
    }

    /// When [`Cleaner::run`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.sweeps.front().map(|sweep| sweep.due)
    }

    /// Does what is due.
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
        // What left, came back and left again since is looked at when it has been away for long enough.
        let mut waiting = Scope::default();
        let later = self.sweeps.iter().filter(|sweep| sweep.waits);
        later.for_each(|sweep| waiting.merge(sweep.scope.clone()));
        let done = all.is_empty() || sweep(&mut self.table, (&all, &waiting), &self.services);
        match done {
            true => self.plan(now + AGAIN, again, false, ATTEMPTS),
            false if attempts > 1 => self.plan(now + AGAIN, all, false, attempts - 1),
            false => {}
        }
        self.forget_services();
    }

    /// They may be many, and nobody asks for them until another order comes.
    fn forget_services(&mut self) {
        if self.sweeps.is_empty() {
            self.services = Arc::default();
        }
    }

    fn plan(&mut self, due: Instant, scope: Scope, waits: bool, attempts: u8) {
        if !scope.is_empty() {
            self.sweeps.push_back(Sweep { due, scope, again: false, waits, attempts });
        }
    }
}

/// Carries out orders until nobody can give any, and what is left of them then.
fn serve(conntrack: Conntrack, orders: &Receiver<Order>) {
    let mut cleaner = Cleaner::new(conntrack);
    loop {
        let ended = loop {
            match orders.try_recv() {
                Ok(order) => cleaner.order(order, Instant::now()),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        cleaner.run(Instant::now());
        let order = match cleaner.due() {
            None if ended => return,
            Some(_) if ended => {
                thread::sleep(AGAIN_AT_THE_END);
                return cleaner.run(Instant::now() + AGAIN);
            }
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => orders.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        if let Ok(order) = order {
            cleaner.order(order, Instant::now());
        }
    }
}

/// Finds flows of a scope that are not of another one and ends them; `false` if that failed.
fn sweep(table: &mut impl FlowTable, scopes: (&Scope, &Scope), services: &ServicesInForce) -> bool {
    let swept = try_sweep(table, scopes, services);
    match &swept {
        Ok((0, 0)) => debug!("no flows to forget"),
        Ok((forgotten, 0)) => info!("forgot {forgotten} flows"),
        Ok((forgotten, reset)) => info!("forgot {forgotten} flows, reset {reset}"),
        Err(error) => warn!("forget flows: {error}"),
    }
    swept.is_ok()
}

fn try_sweep(
    table: &mut impl FlowTable,
    (scope, waiting): (&Scope, &Scope),
    services: &ServicesInForce,
) -> io::Result<(usize, usize)> {
    let (wanted, waiting, judge, local) = (scope.wanted(), waiting.wanted(), OnceCell::new(), table.local());
    let (mut forgotten, mut reset) = (Vec::new(), Vec::new());
    let mut failed = Ok(());
    for filter in filters(scope) {
        let found = table.each(&filter, &mut |flow| {
            let known = known(&flow);
            let is_local = |address| local.contains(&address);
            if !wanted.contains(&known, is_local) || waiting.contains(&known, is_local) {
                return;
            }
            let judge = judge.get_or_init(|| Judge::new(services));
            match judge.verdict(&known, is_local) {
                Verdict::Keep => {}
                Verdict::Forget => forgotten.push(flow),
                Verdict::Reset => reset.push(flow),
            }
        });
        failed = failed.and(found);
    }
    let forgotten = table.delete(&forgotten);
    let mut ended = Ok(0);
    if !reset.is_empty() {
        ended = table.reset(&reset, LINGER).map(|done| {
            if let Some(error) = done.untold {
                warn!(
                    "tell both ends of flows that are reset: {error} (they hear of it when they next send)"
                );
            }
            done.ended
        });
    }
    failed.and(Ok((forgotten?, ended?)))
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

/// What the kernel is to be asked for: for each listener, or, if there are many, for all flows of an IP version.
fn filters(scope: &Scope) -> Vec<Filter> {
    let mut listeners: BTreeMap<_, Vec<&Look>> = BTreeMap::new();
    for look in &scope.looks {
        listeners.entry((look.listener, look.ip)).or_default().push(look);
    }
    if scope.found.is_none() && listeners.len() <= EACH {
        return listeners.into_values().map(|looks| filter(&looks)).collect();
    }
    let is_in = |ip: Ip| scope.found.is_some() || scope.looks.iter().any(|look| look.ip == ip);
    let translated = scope.looks.iter().all(|look| look.target != Target::Untranslated);
    let all = |ip| Filter { translated, ..Filter::all(ip) };
    Ip::ALL.into_iter().filter(|ip| is_in(*ip)).map(all).collect()
}

/// What the kernel can tell apart of looks at one listener.
fn filter(looks: &[&Look]) -> Filter {
    let Look { listener, ip, .. } = *looks[0];
    let mut filter = Filter::all(ip);
    filter.protocol = Some(listener.protocol);
    if let Address::Exact(address) = listener.address {
        filter.to = Some(address);
    }
    filter.to_port = listener.ports.as_single();
    filter.translated = looks.iter().all(|look| look.target != Target::Untranslated);
    if let [Look { target: Target::Backend { address, ports }, .. }] = looks {
        filter.backend = Some(*address);
        filter.backend_port = ports.as_single();
    }
    filter
}
