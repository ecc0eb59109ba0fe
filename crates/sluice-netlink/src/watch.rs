//! [`TableWatch`]: whether another program changed our table.

use nix::errno::Errno;
use nix::poll::PollTimeout;
use sluice_nft::{Owner, generation_after};

use crate::dump;
use crate::listener::Listener;
use crate::socket::Received;
use crate::socket::Socket;

/// How long to wait for the kernel's event about a commit, in milliseconds.
const PATIENCE: u16 = 200;

/// Tracks commits to our table. This is not necessary while we own the table. Otherwise it subscribes to events
/// about all commits at the first question, and reads the events at each further one.
pub(crate) struct TableWatch {
    us: u32,
    pub(crate) listener: Listener,
    log: Option<SeenUpTo>,
}

/// The state of the events received so far.
#[derive(Clone, Copy)]
struct SeenUpTo {
    /// Generation up to which all events were received.
    heard: u32,
    /// Generation since which no other program changed our table.
    since: u32,
}

impl TableWatch {
    /// Opens without a subscription. Commits from netlink port `us` are ours.
    pub(crate) fn open(us: u32) -> std::io::Result<Self> {
        Ok(TableWatch { us, listener: Listener::open(us)?, log: None })
    }

    /// The current generation, if it is certain that no other program changed our table since `generation`.
    /// `socket` is for requests.
    pub(crate) fn unchanged_since(
        &mut self,
        socket: &mut Socket,
        generation: u32,
    ) -> Result<Option<u32>, Errno> {
        if dump::header(socket, self.us)?.is_some_and(|header| header.flags.owner == Some(Owner::Us)) {
            if self.log.take().is_some() {
                self.listener.subscribe(false).map_err(errno_of)?;
            }
            let now = dump::generation(socket)?;
            return Ok((!is_after(generation, now)).then_some(now));
        }
        let log = self.catch_up(socket)?;
        let known = !is_after(log.since, generation) && !is_after(generation, log.heard);
        Ok(known.then_some(log.heard))
    }

    /// Reads the events so far, or subscribes.
    fn catch_up(&mut self, socket: &mut Socket) -> Result<SeenUpTo, Errno> {
        let Some(log) = &mut self.log else {
            self.listener.subscribe(true).map_err(errno_of)?;
            return self.start_over(socket);
        };
        let now = dump::generation(socket)?;
        let mut complete = true;
        loop {
            let heard = self.listener.receive(|commit| {
                let generation = commit.generation();
                // Older events were queued before the subscription.
                if is_after(generation, log.heard) {
                    complete &= generation == generation_after(log.heard);
                    log.heard = generation;
                    if commit.touched {
                        log.since = generation;
                    }
                }
            })?;
            match heard {
                Received::Events => {}
                Received::Lost => complete = false,
                Received::Nothing if !complete => return self.start_over(socket),
                Received::Nothing if !is_after(now, log.heard) => return Ok(*log),
                // The kernel increments the generation before it sends the event.
                Received::Nothing => complete = self.listener.wait(PollTimeout::from(PATIENCE))?,
            }
        }
    }

    /// Starts at the current generation, without knowledge of earlier commits.
    fn start_over(&mut self, socket: &mut Socket) -> Result<SeenUpTo, Errno> {
        let now = dump::generation(socket)?;
        Ok(*self.log.insert(SeenUpTo { heard: now, since: now }))
    }
}

/// Whether one generation is later than another.
fn is_after(one: u32, other: u32) -> bool {
    (1..=u32::MAX / 2).contains(&one.wrapping_sub(other))
}

fn errno_of(error: std::io::Error) -> Errno {
    error.try_into().unwrap_or(Errno::EIO)
}
