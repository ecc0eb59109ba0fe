//! Follower threads: they pass events about interfaces, addresses, forwarding and foreign commits to the reconcile task.
//!
//! A follower that cannot read its socket (for example without free descriptors or memory) reports this to the reconcile
//! task and opens another socket, with a longer wait after each failure. Then it requests a full check, because it may have
//! missed events.

use std::io;
use std::thread;
use std::time::Duration;

use sluice_core::model::Networks;
use sluice_netlink::{Changes, Event, Interfaces, Monitor};
use tokio::sync::mpsc::Sender;
use tracing::{info, warn};

use crate::fatal::chain;
use crate::host::threads;
use crate::request::{Follower, Request};

/// Wait after the first failure, and the longest wait.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// A source of events.
trait Source: Sized + Send {
    /// Its name in log, status and metrics.
    const FOLLOWER: Follower;
    /// Name of its thread.
    const THREAD: &str;

    /// Opens it again after a failure.
    fn reopen(&self) -> io::Result<Self>;
    /// The request after events may have been missed.
    fn everything(&mut self) -> io::Result<Vec<Request>>;
    /// Waits for the next event.
    fn next(&mut self) -> io::Result<Vec<Request>>;
}

/// Reads the networks of the host, and starts a thread that reports changes of networks and forwarding.
pub fn follow_interfaces(sender: Sender<Request>) -> io::Result<Networks> {
    // Subscribed before the first read, so that no change is missed.
    let mut interfaces = Interfaces::open()?;
    let now = interfaces.networks().map(Networks::of)?;
    start(interfaces, sender)?;
    Ok(now)
}

/// Starts a thread that reports foreign commits; those from netlink port `us` are ours.
pub fn follow_commits(us: u32, sender: Sender<Request>) -> io::Result<()> {
    start(Commits { us, monitor: Monitor::open(us)? }, sender)
}

fn start<S: Source + 'static>(source: S, sender: Sender<Request>) -> io::Result<()> {
    threads::start(S::THREAD, move || follow(source, &sender, thread::sleep)).map(drop)
}

/// Sends events and failures to the reconcile task until that ends.
fn follow<S: Source>(mut source: S, sender: &Sender<Request>, pause: impl Fn(Duration)) {
    let (mut failure, mut delay) = (None::<String>, FIRST);
    let tell = |result| sender.blocking_send(Request::Follower(S::FOLLOWER, result));
    if tell(Ok(())).is_err() {
        return;
    }
    loop {
        let result = if failure.is_some() {
            source.reopen().and_then(|opened| {
                source = opened;
                source.everything()
            })
        } else {
            source.next().inspect(|_| delay = FIRST)
        };
        match result {
            Ok(requests) => {
                if failure.take().is_some() {
                    info!("following {} again", S::FOLLOWER.as_str());
                    if tell(Ok(())).is_err() {
                        return;
                    }
                }
                for request in requests {
                    if sender.blocking_send(request).is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                let error = chain(&error);
                if failure.is_none() {
                    let what = S::FOLLOWER.as_str();
                    warn!(
                        "follow {what}: {error} (retrying; until then changes are found only at a refresh)"
                    );
                }
                if failure.as_ref() != Some(&error) && tell(Err(error.clone())).is_err() {
                    return;
                }
                failure = Some(error);
                pause(delay);
                delay = (2 * delay).min(LONGEST);
                if sender.is_closed() {
                    return;
                }
            }
        }
    }
}

impl Source for Interfaces {
    const FOLLOWER: Follower = Follower::Addresses;
    const THREAD: &str = "interfaces";

    fn reopen(&self) -> io::Result<Self> {
        Interfaces::open()
    }

    fn everything(&mut self) -> io::Result<Vec<Request>> {
        let networks = self.networks().map(Networks::of)?;
        Ok(vec![Request::Networks(networks), Request::Forwarding])
    }

    fn next(&mut self) -> io::Result<Vec<Request>> {
        let Changes { networks, forwarding } = self.wait()?;
        let networks = if networks { Some(Networks::of(self.networks()?)) } else { None };
        let forwarding = forwarding.then_some(Request::Forwarding);
        Ok(networks.map(Request::Networks).into_iter().chain(forwarding).collect())
    }
}

/// Commits to our table, except those from netlink port `us`.
struct Commits {
    us: u32,
    monitor: Monitor,
}

impl Source for Commits {
    const FOLLOWER: Follower = Follower::Ruleset;
    const THREAD: &str = "monitor";

    fn reopen(&self) -> io::Result<Self> {
        Ok(Commits { us: self.us, monitor: Monitor::open(self.us)? })
    }

    fn everything(&mut self) -> io::Result<Vec<Request>> {
        Ok(vec![Request::Foreign(Event::Lost)])
    }

    fn next(&mut self) -> io::Result<Vec<Request>> {
        Ok(vec![Request::Foreign(self.monitor.wait()?)])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::ErrorKind;
    use std::sync::{Arc, Mutex};

    use tokio::sync::mpsc;

    use super::*;

    /// Its events, in order: an error, or a request.
    #[derive(Clone)]
    struct Scripted(Arc<Mutex<VecDeque<Result<&'static str, ErrorKind>>>>);

    impl Scripted {
        fn take(&self, call: &'static str) -> io::Result<()> {
            match self.0.lock().unwrap().pop_front() {
                Some(Ok(expected)) if expected == call => Ok(()),
                Some(Ok(expected)) => panic!("{call} instead of {expected}"),
                Some(Err(kind)) => Err(kind.into()),
                None => Err(ErrorKind::Other.into()),
            }
        }
    }

    impl Source for Scripted {
        const FOLLOWER: Follower = Follower::Ruleset;
        const THREAD: &str = "script";

        fn reopen(&self) -> io::Result<Self> {
            self.take("reopen").map(|()| self.clone())
        }

        fn everything(&mut self) -> io::Result<Vec<Request>> {
            self.take("everything").map(|()| vec![Request::Forwarding, Request::Foreign(Event::Lost)])
        }

        fn next(&mut self) -> io::Result<Vec<Request>> {
            self.take("next").map(|()| vec![Request::Forwarding])
        }
    }

    /// Runs the script; returns the requests and the pauses.
    fn run(script: impl IntoIterator<Item = Result<&'static str, ErrorKind>>) -> (Vec<String>, Vec<u64>) {
        let (sender, requests) = mpsc::channel(64);
        let requests = Mutex::new(Some(requests));
        let script: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(script.into_iter().collect()));
        let (received, pauses) = (Mutex::new(vec![]), Mutex::new(vec![]));
        follow(Scripted(script.clone()), &sender, |pause| {
            pauses.lock().unwrap().push(pause.as_millis() as u64);
            if script.lock().unwrap().is_empty()
                && let Some(mut requests) = requests.lock().unwrap().take()
            {
                while let Ok(request) = requests.try_recv() {
                    received.lock().unwrap().push(match request {
                        Request::Follower(_, Ok(())) => "up".to_owned(),
                        Request::Follower(_, Err(error)) => error,
                        Request::Forwarding => "forwarding".to_owned(),
                        Request::Foreign(_) => "ruleset".to_owned(),
                        other => panic!("{other:?}"),
                    });
                }
            }
        });
        (received.into_inner().unwrap(), pauses.into_inner().unwrap())
    }

    const NO_DESCRIPTORS: Result<&str, ErrorKind> = Err(ErrorKind::Other);
    const NO_MEMORY: Result<&str, ErrorKind> = Err(ErrorKind::OutOfMemory);

    #[test]
    fn follower_that_fails_tells_so_tries_again_and_has_everything_looked_at() {
        let (received, pauses) = run([
            Ok("next"),
            NO_DESCRIPTORS,
            NO_DESCRIPTORS,
            Ok("reopen"),
            NO_MEMORY,
            Ok("reopen"),
            Ok("everything"),
            Ok("next"),
            NO_MEMORY,
        ]);
        let lost = ["other error", "out of memory"];
        assert_eq!(
            received,
            ["up", "forwarding", lost[0], lost[1], "up", "forwarding", "ruleset", "forwarding", lost[1]]
        );
        assert_eq!(pauses, [100, 200, 400, 100]);
    }

    #[test]
    fn follower_that_fails_at_once_each_time_waits_longer_up_to_half_a_minute() {
        let again = [NO_MEMORY, Ok("reopen"), Ok("everything")];
        let (_, pauses) = run(std::iter::repeat_n(again, 10).flatten().chain([NO_MEMORY]));
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    }
}
