//! A thread that has conntrack forget flows, so that the reconcile task never waits for that.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use sluice_core::flows::{Forget, Whither};
use sluice_core::model::{Address, Listener, Ports, Protocol};
use sluice_netlink::conntrack::{Conntrack, Filter, Flow, Reset};
use sluice_nft::Ip;
use tracing::{debug, info, warn};

/// When flows are looked for a second time: a packet that was under way during the commit may have made one.
const AGAIN: Duration = Duration::from_secs(1);

/// How long flows that are being reset still answer.
const LINGER: Duration = Duration::from_secs(10);

/// Up to so many kinds of flows the kernel is asked for each; for more it is asked for all flows once.
const EACH: usize = 16;

/// Where to say which flows are to be forgotten. Who listens may be gone.
#[derive(Clone, Debug)]
pub struct Flows(Sender<Order>);

/// What to do about flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Have them forgotten, at once and once more a little later.
    Forget(Vec<Forget>),
    /// Have them forgotten a little later: their backends were taken out of the file, still answer, and may be back.
    Retire(Vec<Forget>),
    /// Do not look for them again: their backends are back.
    Spare(Vec<Forget>),
}

impl Flows {
    /// Starts the thread in the network namespace of the caller. It ends with the last handle.
    pub fn start() -> Self {
        let (sender, orders) = channel();
        match Conntrack::open() {
            Ok(conntrack) => drop(thread::spawn(move || serve(conntrack, &orders))),
            Err(error) => {
                warn!("open conntrack: {error} (flows of backends that are down stay where they are)")
            }
        }
        Flows(sender)
    }

    /// Hands all orders to somebody else.
    pub fn to(listener: Sender<Order>) -> Self {
        Flows(listener)
    }

    /// Has these flows forgotten soon.
    pub(crate) fn forget(&self, flows: Vec<Forget>) {
        if !flows.is_empty() {
            let _ = self.0.send(Order::Forget(flows));
        }
    }

    /// Has these flows forgotten unless they are spared meanwhile.
    pub(crate) fn retire(&self, flows: Vec<Forget>) {
        if !flows.is_empty() {
            let _ = self.0.send(Order::Retire(flows));
        }
    }

    /// Leaves those that are not forgotten yet as they are.
    pub(crate) fn spare(&self, flows: Vec<Forget>) {
        if !flows.is_empty() {
            let _ = self.0.send(Order::Spare(flows));
        }
    }
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
}

/// Carries out orders. Pure but for its table: the caller says what time it is.
#[derive(Debug)]
pub struct Cleaner<T> {
    table: T,
    again: VecDeque<(Instant, Vec<Forget>)>,
}

impl<T: FlowTable> Cleaner<T> {
    /// Nothing is ordered yet.
    pub fn new(table: T) -> Self {
        Cleaner { table, again: VecDeque::new() }
    }

    /// Does what an order says, as far as that is due at once.
    pub fn order(&mut self, order: Order, now: Instant) {
        match order {
            Order::Forget(order) => {
                sweep(&mut self.table, &order);
                self.again.push_back((now + AGAIN, order));
            }
            Order::Retire(order) => self.again.push_back((now + AGAIN, order)),
            Order::Spare(spared) => {
                self.again.iter_mut().for_each(|(_, order)| order.retain(|flows| !spared.contains(flows)));
            }
        }
    }

    /// When [`Cleaner::run`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.again.front().map(|(due, _)| *due)
    }

    /// Does what is due.
    pub fn run(&mut self, now: Instant) {
        while self.due().is_some_and(|due| due <= now)
            && let Some((_, order)) = self.again.pop_front()
        {
            sweep(&mut self.table, &order);
        }
    }
}

fn serve(conntrack: Conntrack, orders: &Receiver<Order>) {
    let mut cleaner = Cleaner::new(conntrack);
    loop {
        cleaner.run(Instant::now());
        let order = match cleaner.due() {
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => orders.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        match order {
            Ok(order) => cleaner.order(order, Instant::now()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Finds flows and ends them.
fn sweep(table: &mut impl FlowTable, order: &[Forget]) {
    match try_sweep(table, order) {
        Ok((0, 0)) => debug!("no flows to forget"),
        Ok((forgotten, 0)) => info!("forgot {forgotten} flows"),
        Ok((forgotten, reset)) => info!("forgot {forgotten} flows, reset {reset}"),
        Err(error) => warn!("forget flows: {error}"),
    }
}

fn try_sweep(table: &mut impl FlowTable, order: &[Forget]) -> io::Result<(usize, usize)> {
    let index = Index::of(order);
    let (mut forgotten, mut reset) = (Vec::new(), Vec::new());
    let filters: Vec<Filter> = match order.len() <= EACH {
        true => order.iter().map(filter).collect(),
        false => {
            Ip::ALL.into_iter().filter(|ip| order.iter().any(|o| o.ip == *ip)).map(Filter::all).collect()
        }
    };
    let mut failed = Ok(());
    for filter in filters {
        let found = table.each(&filter, &mut |flow| match index.end_of(&flow) {
            Some(End::Forget) => forgotten.push(flow),
            Some(End::Reset) => reset.push(flow),
            None => {}
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

/// What the kernel can tell apart.
fn filter(forget: &Forget) -> Filter {
    let Forget { listener, ip, to } = forget;
    let mut filter = Filter::all(*ip);
    filter.protocol = Some(listener.protocol.number());
    if let Address::Exact(address) = listener.address {
        filter.to = Some(address);
    }
    filter.to_port = listener.ports.as_single();
    if let Whither::Backend { address, ports, .. } = to {
        filter.backend = Some(*address);
        filter.backend_port = ports.as_single();
        filter.translated = true;
    }
    filter
}

/// How a flow ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Forget,
    Reset,
}

/// An order, by what flows are looked up with.
struct Index<'a> {
    exact: HashMap<(u8, SocketAddr), Vec<&'a Forget>>,
    others: Vec<&'a Forget>,
}

impl<'a> Index<'a> {
    fn of(order: &'a [Forget]) -> Self {
        let mut index = Index { exact: HashMap::new(), others: vec![] };
        for forget in order {
            let Listener { address, ports, protocol } = forget.listener;
            match (address, ports.as_single()) {
                (Address::Exact(address), Some(port)) => {
                    let at = (protocol.number(), SocketAddr::new(address, port));
                    index.exact.entry(at).or_default().push(forget);
                }
                _ => index.others.push(forget),
            }
        }
        index
    }

    fn end_of(&self, flow: &Flow) -> Option<End> {
        let exact = self.exact.get(&(flow.protocol, flow.to)).into_iter().flatten();
        exact.chain(&self.others).find_map(|forget| end(forget, flow))
    }
}

fn end(forget: &Forget, flow: &Flow) -> Option<End> {
    let Listener { address, ports, protocol } = forget.listener;
    let within = |ports: Ports, port: u16| (ports.first..=ports.last).contains(&port);
    let came_in = flow.protocol == protocol.number()
        && Ip::of(flow.to.ip()) == forget.ip
        && [Address::Any, Address::Exact(flow.to.ip())].contains(&address)
        && within(ports, flow.to.port());
    match forget.to {
        _ if !came_in => None,
        Whither::Backend { address, ports, reset } => {
            let goes_there =
                flow.is_translated() && flow.backend.ip() == address && within(ports, flow.backend.port());
            match protocol {
                _ if !goes_there => None,
                Protocol::Udp => Some(End::Forget),
                Protocol::Tcp if flow.is_opening() => Some(End::Forget),
                Protocol::Tcp => (reset && flow.is_active()).then_some(End::Reset),
            }
        }
        // What only passes through may go to any address.
        Whither::Untranslated => {
            let is_ours = protocol == Protocol::Udp && address != Address::Any && !flow.is_translated();
            is_ours.then_some(End::Forget)
        }
    }
}
