//! [`ByteCounter`]: a thread that sums up the bytes of backends, if `http.accounting` is set.
//!
//! Conntrack counts the bytes of each flow. The thread owns two conntrack sockets and the `Ledger`: it receives destroy events, and
//! reads all flows about once a second, less often if reading takes more than a twentieth of the time. It saves new
//! totals to `bytes.json` before it publishes them in [`ByteTotals`], so that after a kill no total is smaller than before.

mod ledger;
mod store;

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluice_core::flows::flow_index::FlowIndex;
use sluice_core::model::Services;
use sluice_netlink::conntrack::{Conntrack, DestroyEvents, Received};
use tokio::sync::oneshot;
use tracing::warn;

pub use self::ledger::BackendBytes;
use self::ledger::Ledger;
use self::store::BytesFile;
use crate::conntrack::dump;
use crate::conntrack::tuple::nat_tuple;
use crate::fatal::chain;
use crate::host::threads;
use crate::state::Files;

/// Minimum time between two reads of all flows.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reading takes at most this fraction (1 / N) of the time.
const REST: u32 = 20;

/// Number of flows that are read before destroy events are received.
const PIECE: usize = 1024;

/// Maximum number of datagrams of events that are received at once.
const MAX_EVENTS: usize = 1 << 16;

/// Published totals of bytes. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct ByteTotals(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The published totals; `None`: bytes are not counted, or their file is not read yet.
    published: Mutex<Option<Arc<BackendBytes>>>,
    /// Number of overflows of the event socket; each lost some destroy events.
    lost: AtomicU64,
}

/// The handle of the thread. Dropping it ends the thread, after a last read of all flows.
#[derive(Debug)]
pub struct ByteCounter {
    followed: Arc<Followed>,
    /// Closing it ends the thread.
    wake: Option<UnixStream>,
    /// Closed when the totals of an earlier daemon are published; `None`: [`ByteCounter::loaded`] has it.
    loaded: Option<oneshot::Receiver<()>>,
    /// Closed when the thread ends.
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

/// The services in force.
#[derive(Debug)]
struct Followed {
    services: Mutex<Arc<Services>>,
    /// Number of changes of `services`.
    changes: AtomicU64,
}

impl ByteTotals {
    /// Bytes of each backend as of the last read, without backends with no bytes. `None`: bytes are not counted.
    pub fn by_backend(&self) -> Option<Arc<BackendBytes>> {
        locked(&self.0.published).clone()
    }

    /// Number of times that destroy events were lost because they arrived too fast. The bytes of such flows since their last
    /// read are missing.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Starts the thread in the network namespace of the caller, which reads the saved totals when `previous`, if any, has
    /// ended. `ignore_preexisting`: flows may exist whose bytes were counted before.
    ///
    /// # Errors
    /// If the system cannot open the sockets or start the thread.
    pub fn start(
        &self,
        previous: &mut Option<ByteCounter>,
        services: Arc<Services>,
        files: Files,
        boot: &str,
        ignore_preexisting: bool,
    ) -> io::Result<ByteCounter> {
        let file = BytesFile::at(files, boot);
        let (conntrack, events) = (Conntrack::open()?, DestroyEvents::open()?);
        let (wake, woken) = UnixStream::pair()?;
        let followed =
            Arc::new(Followed { services: Mutex::new(services.clone()), changes: AtomicU64::new(0) });
        let ((loading, loaded), (ending, ended)) = (oneshot::channel(), oneshot::channel());
        let (totals, follows, previous) = (self.clone(), followed.clone(), previous.take());
        let thread = threads::start_yielding("count bytes", move || {
            let _ending: oneshot::Sender<()> = ending;
            if let Some(mut previous) = previous {
                previous.end();
                // A panic would have aborted the process.
                let _ = previous.thread.join();
            }
            let (saved, of_this_boot) = file.load(&services);
            *locked(&totals.0.published) = Some(Arc::new(saved.clone()));
            drop::<oneshot::Sender<()>>(loading);
            let ledger = Ledger::new(saved, ignore_preexisting || of_this_boot);
            Worker { totals, followed: follows, conntrack, events, ledger, file, warned: false }.run(&woken);
        })?;
        Ok(ByteCounter { followed, wake: Some(wake), loaded: Some(loaded), ended, thread })
    }
}

impl ByteCounter {
    /// Attributes flows to these services from now on.
    pub(crate) fn follow(&self, services: Arc<Services>) {
        *locked(&self.followed.services) = services;
        self.followed.changes.fetch_add(1, Ordering::Release);
    }

    /// Whether the thread has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the totals of an earlier daemon are published.
    pub(crate) fn loaded(&mut self) -> impl Future<Output = ()> + use<> {
        let loaded = self.loaded.take();
        async {
            if let Some(loaded) = loaded {
                let _ = loaded.await;
            }
        }
    }

    /// Lets the thread end after a last read of all flows, without waiting for it.
    pub(crate) fn end(&mut self) {
        self.wake = None;
    }

    /// The same, and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        self.end();
        let _ = (&mut self.ended).await;
    }
}

/// The state of the thread.
struct Worker {
    totals: ByteTotals,
    followed: Arc<Followed>,
    conntrack: Conntrack,
    events: DestroyEvents,
    ledger: Ledger,
    file: BytesFile,
    warned: bool,
}

impl Worker {
    fn run(mut self, woken: &UnixStream) {
        if let Err(error) = self.count(woken) {
            warn!("count bytes: {error} (counting starts again at the next refresh)");
        }
    }

    fn count(&mut self, woken: &UnixStream) -> io::Result<()> {
        woken.set_nonblocking(true)?;
        let mut due = Instant::now();
        loop {
            let changes = self.followed.changes.load(Ordering::Acquire);
            let services = locked(&self.followed.services).clone();
            let index = FlowIndex::of(&services);
            // Until the services change.
            while self.followed.changes.load(Ordering::Acquire) == changes {
                let wait = due.saturating_duration_since(Instant::now()).min(INTERVAL);
                self.events.wait(woken.as_fd(), wait.as_millis().try_into().unwrap_or(u16::MAX))?;
                self.receive_events(&index)?;
                // Nothing is ever sent; the end of the stream means that the other end was closed.
                let stops = matches!((&*woken).read(&mut [0]), Ok(0));
                if stops || Instant::now() >= due {
                    let began = Instant::now();
                    self.read_flows(&index)?;
                    due = began + INTERVAL.max(REST * began.elapsed());
                }
                if stops {
                    return Ok(());
                }
            }
        }
    }

    /// Receives the waiting destroy events.
    fn receive_events(&mut self, index: &FlowIndex<'_>) -> io::Result<()> {
        receive_events(&mut self.events, &mut self.ledger, index, &self.totals)
    }

    /// Reads all flows, saves the totals, and publishes them.
    fn read_flows(&mut self, index: &FlowIndex<'_>) -> io::Result<()> {
        let Worker { totals, conntrack, events, ledger, file, warned, .. } = self;
        ledger.begin_pass();
        let mut received = Ok(());
        let mut piece = 0;
        let read = dump::each_translated(conntrack, |flow| {
            ledger.observe(&flow, index.backends(&nat_tuple(&flow)));
            piece += 1;
            if piece % PIECE == 0 && received.is_ok() {
                received = receive_events(events, ledger, index, totals);
            }
        });
        received?;
        // Flows that ended during the pass may not have been read, but their last counters have arrived.
        receive_events(events, ledger, index, totals)?;
        match read {
            Ok(()) => ledger.end_pass(),
            // Some flows may not have been read; the next pass reads them.
            Err(error) => {
                if !std::mem::replace(warned, true) {
                    warn!("read flows: {error} (bytes of backends are delayed)");
                }
                return Ok(());
            }
        }
        let is_same = locked(&totals.0.published).as_deref() == Some(ledger.totals());
        if !is_same {
            let bytes = Arc::new(ledger.totals().clone());
            if let Err(error) = file.save(&bytes)
                && !std::mem::replace(warned, true)
            {
                warn!("{} (after a restart bytes of backends may be smaller)", chain(&error));
            }
            *locked(&totals.0.published) = Some(bytes);
        }
        Ok(())
    }
}

fn receive_events(
    events: &mut DestroyEvents,
    ledger: &mut Ledger,
    index: &FlowIndex<'_>,
    totals: &ByteTotals,
) -> io::Result<()> {
    for _ in 0..MAX_EVENTS {
        match events.take(|flow| ledger.end_flow(&flow, index.backends(&nat_tuple(&flow))))? {
            Received::Events => {}
            Received::Nothing => return Ok(()),
            Received::Lost => {
                if totals.0.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                    warn!("destroy events of conntrack were lost: some bytes are not counted");
                }
            }
        }
    }
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
