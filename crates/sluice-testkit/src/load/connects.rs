//! New TCP connections at a pace.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle as Task;

use super::{greet, socket};
use crate::Host;
use crate::server::RUNTIME;

/// A connection that takes longer lost its SYN, which is sent again after a second.
const DELAYED: Duration = Duration::from_millis(800);

/// A client that opens a connection each time a pace has passed, without waiting for earlier ones.
#[derive(Debug)]
pub struct Connects {
    greetings: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    opener: JoinHandle<Vec<Task<Attempt>>>,
}

/// The end of [`Connects`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connected {
    /// Connections that were begun.
    pub attempts: usize,
    /// Connections without a greeting, and why.
    pub failed: Vec<String>,
    /// Connections that were greeted after a lost SYN or more.
    pub delayed: usize,
    /// Longest time until a greeting.
    pub longest: Duration,
}

/// Time until the greeting or the error.
type Attempt = (Duration, io::Result<()>);

impl Host {
    /// Opens a connection per `pace`, waits for its greeting and closes it.
    pub fn connect_steadily(&self, pace: Duration, to: &str) -> Connects {
        let to = to.parse().unwrap_or_else(|e| panic!("{to}: {e}"));
        let stop = Arc::new(AtomicBool::new(false));
        let greetings = Arc::<AtomicUsize>::default();
        let (stopped, greeted) = (stop.clone(), greetings.clone());
        let open = move || {
            let mut attempts = vec![];
            while !stopped.load(Ordering::Relaxed) {
                let _runtime = RUNTIME.enter();
                let begun = Instant::now();
                let (socket, count) = (socket(to).expect("a socket"), greeted.clone());
                attempts.push(RUNTIME.spawn(async move {
                    let greeting = greet(socket, to).await.map(drop);
                    count.fetch_add(usize::from(greeting.is_ok()), Ordering::Relaxed);
                    (begun.elapsed(), greeting)
                }));
                thread::sleep(pace);
            }
            attempts
        };
        // A thread begins in the namespace of its parent.
        Connects { greetings, stop, opener: self.run(|| thread::spawn(open)) }
    }
}

impl Connects {
    /// Number of greetings so far.
    pub fn greetings(&self) -> usize {
        self.greetings.load(Ordering::Relaxed)
    }

    /// Stops, waits for the last connections, and counts.
    pub fn finish(self) -> Connected {
        self.stop.store(true, Ordering::Relaxed);
        let attempts = self.opener.join().expect("no panic");
        let mut connected = Connected { attempts: attempts.len(), ..Connected::default() };
        for attempt in attempts {
            let (time, greeted) = RUNTIME.block_on(attempt).expect("no panic");
            match greeted {
                Ok(()) => {
                    connected.delayed += usize::from(time > DELAYED);
                    connected.longest = connected.longest.max(time);
                }
                Err(error) => connected.failed.push(error.to_string()),
            }
        }
        connected
    }
}
