//! A thread that adds up the bytes of backends, if they are wanted.
//!
//! Conntrack counts what each flow carries, and tells at its end. The thread hears of the ends, and looks at all flows
//! about once a second, less often where they are so many that it would take more than a twentieth of the time. What
//! it has come to is written down first and shown then: a daemon that is killed never shows less afterwards.

mod ledger;
mod store;

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluice_core::model::Services;
use sluice_core::owners::Owners;
use sluice_core::way::Way;
use sluice_netlink::conntrack::{Arrived, Conntrack, Endings, Filter, Flow};
use sluice_nft::Ip;
use tracing::warn;

pub use self::ledger::Carried;
use self::ledger::Ledger;
use self::store::Written;
use crate::fatal::chain;
use crate::host::threads;
use crate::state::Files;

/// Shortest time from one look at all flows to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looking takes at most one part in so many of the time.
const REST: u32 = 20;

/// So many flows are looked at before it is heard whether others have ended meanwhile.
const PIECE: usize = 1024;

/// So many ends are heard before anything else is done.
const MOST: usize = 1 << 16;

/// What backends carried. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Accounts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// What is shown; `None`: nobody counts.
    shown: Mutex<Option<Arc<Carried>>>,
    /// Ends of flows that were not heard: so often something was lost.
    lost: AtomicU64,
    /// How often `services` changed.
    changes: AtomicU64,
    /// In force; `None`: the thread is to end.
    services: Mutex<Option<Arc<Services>>>,
}

/// The thread that does it.
#[derive(Debug)]
pub struct Accounting {
    accounts: Accounts,
    /// It ends when this is closed.
    wake: UnixStream,
    thread: JoinHandle<()>,
}

impl Accounts {
    /// Bytes of each backend as of the last look; backends that carried nothing are left out. `None`: nobody counts.
    pub fn by_backend(&self) -> Option<Arc<Carried>> {
        locked(&self.0.shown).clone()
    }

    /// How often ends of flows came faster than they could be heard. What such flows carried since they were last
    /// looked at is missing.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Has a thread count in the network namespace of the caller. `old`: flows may be there whose bytes were counted
    /// before.
    ///
    /// # Errors
    /// Of the system calls that sockets and a thread take.
    pub fn start(
        &self,
        services: Arc<Services>,
        files: Files,
        boot: &str,
        old: bool,
    ) -> io::Result<Accounting> {
        let written = Written::at(files, boot);
        let (carried, before) = written.load(&services);
        let (conntrack, endings) = (Conntrack::open()?, Endings::open()?);
        let (wake, woken) = UnixStream::pair()?;
        self.follow(services);
        *locked(&self.0.shown) = Some(Arc::new(carried.clone()));
        let ledger = Ledger::new(carried, old || before);
        let counter =
            Counter { accounts: self.clone(), conntrack, endings, ledger, written, complained: false };
        let thread = threads::start("count bytes", move || counter.run(&woken))?;
        Ok(Accounting { accounts: self.clone(), wake, thread })
    }

    fn follow(&self, services: Arc<Services>) {
        *locked(&self.0.services) = Some(services);
        self.0.changes.fetch_add(1, Ordering::Release);
    }
}

impl Accounting {
    /// Flows are of these services from now on.
    pub(crate) fn follow(&self, services: Arc<Services>) {
        self.accounts.follow(services);
    }

    /// Whether the thread has given up.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Has a last look at all flows, and ends the thread.
    pub fn stop(self) {
        let Accounting { accounts, wake, thread } = self;
        drop(wake);
        // It ends by itself; a panic would have ended the process.
        let _ = thread.join();
        *locked(&accounts.0.services) = None;
        *locked(&accounts.0.shown) = None;
    }
}

/// What the thread works with.
struct Counter {
    accounts: Accounts,
    conntrack: Conntrack,
    endings: Endings,
    ledger: Ledger,
    written: Written,
    complained: bool,
}

impl Counter {
    fn run(mut self, woken: &UnixStream) {
        if let Err(error) = self.count(woken) {
            warn!("count bytes: {error} (they are counted again at the next refresh)");
        }
    }

    fn count(&mut self, woken: &UnixStream) -> io::Result<()> {
        woken.set_nonblocking(true)?;
        let mut due = Instant::now();
        loop {
            let changes = self.accounts.0.changes.load(Ordering::Acquire);
            let Some(services) = locked(&self.accounts.0.services).clone() else { return Ok(()) };
            let owners = Owners::of(&services);
            // Until other services are in force.
            while self.accounts.0.changes.load(Ordering::Acquire) == changes {
                let wait = due.saturating_duration_since(Instant::now()).min(INTERVAL);
                self.endings.wait(woken.as_fd(), wait.as_millis().try_into().unwrap_or(u16::MAX))?;
                self.hear(&owners)?;
                // Nothing is ever sent: it is closed.
                let stops = matches!((&*woken).read(&mut [0]), Ok(0));
                if stops || Instant::now() >= due {
                    let began = Instant::now();
                    self.look(&owners)?;
                    due = began + INTERVAL.max(REST * began.elapsed());
                }
                if stops {
                    return Ok(());
                }
            }
        }
    }

    /// Takes the ends of flows that were told.
    fn hear(&mut self, owners: &Owners<'_>) -> io::Result<()> {
        hear(&mut self.endings, &mut self.ledger, owners, &self.accounts)
    }

    /// Looks at all flows, writes down what has come together, and shows it.
    fn look(&mut self, owners: &Owners<'_>) -> io::Result<()> {
        let Counter { accounts, conntrack, endings, ledger, written, complained } = self;
        ledger.begin();
        let mut heard = Ok(());
        let mut piece = 0;
        let mut looked = Ok(());
        for ip in Ip::ALL {
            looked = looked.and(conntrack.each(&Filter { translated: true, ..Filter::all(ip) }, |flow| {
                ledger.see(&flow, owners.backends(&way(&flow)));
                piece += 1;
                if piece % PIECE == 0 && heard.is_ok() {
                    heard = hear(endings, ledger, owners, accounts);
                }
            }));
        }
        heard?;
        match looked {
            Ok(()) => ledger.finish(),
            // Some may not have come up. They do next time.
            Err(error) => {
                if !std::mem::replace(complained, true) {
                    warn!("look at flows: {error} (bytes of backends are late)");
                }
                return Ok(());
            }
        }
        let is_same = locked(&accounts.0.shown).as_deref() == Some(ledger.carried());
        if !is_same {
            let carried = Arc::new(ledger.carried().clone());
            if let Err(error) = written.save(&carried)
                && !std::mem::replace(complained, true)
            {
                warn!("{} (after a restart bytes of backends may be fewer)", chain(&error));
            }
            *locked(&accounts.0.shown) = Some(carried);
        }
        Ok(())
    }
}

fn hear(
    endings: &mut Endings,
    ledger: &mut Ledger,
    owners: &Owners<'_>,
    accounts: &Accounts,
) -> io::Result<()> {
    for _ in 0..MOST {
        match endings.take(|flow| ledger.end(&flow, owners.backends(&way(&flow))))? {
            Arrived::Something => {}
            Arrived::Nothing => return Ok(()),
            Arrived::Lost => {
                if accounts.0.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                    warn!("flows end faster than bytes can be counted: some are missing");
                }
            }
        }
    }
    Ok(())
}

fn way(flow: &Flow) -> Way {
    Way { protocol: flow.protocol, to: flow.to, backend: flow.backend }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
