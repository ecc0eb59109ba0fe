//! Whether our table is as we left it, while others commit to theirs.

use nix::errno::Errno;
use nix::poll::PollTimeout;
use sluice_nft::{Owner, generation_after};

use crate::dump;
use crate::listener::{Heard, Listener};
use crate::socket::Socket;

/// How long the kernel may take to tell of a commit, in milliseconds.
const PATIENCE: u16 = 200;

/// What is known of commits to our table. Nothing has to be known of them while we own it. Else the kernel tells
/// us of all commits, from the first question on; nobody reads that until the next.
pub(crate) struct Watch {
    us: u32,
    pub(crate) listener: Listener,
    log: Option<Log>,
}

/// What was heard.
#[derive(Clone, Copy)]
struct Log {
    /// Generation up to which everything was heard.
    heard: u32,
    /// Generation from which on it is known that nobody else touched our table.
    since: u32,
}

impl Watch {
    /// Listens to nothing yet. What the socket of port `us` commits is ours.
    pub(crate) fn open(us: u32) -> std::io::Result<Self> {
        Ok(Watch { us, listener: Listener::open(us)?, log: None })
    }

    /// The generation now, if nobody else has touched our table since `generation`, as far as can be told.
    /// `socket` is for questions.
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

    /// Takes what was heard so far, or listens from now on.
    fn catch_up(&mut self, socket: &mut Socket) -> Result<Log, Errno> {
        let Some(log) = &mut self.log else {
            self.listener.subscribe(true).map_err(errno_of)?;
            return self.start_over(socket);
        };
        let now = dump::generation(socket)?;
        let mut complete = true;
        loop {
            let heard = self.listener.hear(|commit| {
                let generation = commit.generation();
                // Older ones were still on their way when it began.
                if is_after(generation, log.heard) {
                    complete &= generation == generation_after(log.heard);
                    log.heard = generation;
                    if commit.touched {
                        log.since = generation;
                    }
                }
            })?;
            match heard {
                Heard::Something => {}
                Heard::Lost => complete = false,
                Heard::Nothing if !complete => return self.start_over(socket),
                Heard::Nothing if !is_after(now, log.heard) => return Ok(*log),
                // The kernel counts a commit first and tells of it then.
                Heard::Nothing => complete = self.listener.wait(PollTimeout::from(PATIENCE))?,
            }
        }
    }

    /// Nothing is known of what was before.
    fn start_over(&mut self, socket: &mut Socket) -> Result<Log, Errno> {
        let now = dump::generation(socket)?;
        Ok(*self.log.insert(Log { heard: now, since: now }))
    }
}

/// Whether one generation is later than another.
fn is_after(one: u32, other: u32) -> bool {
    (1..=u32::MAX / 2).contains(&one.wrapping_sub(other))
}

fn errno_of(error: std::io::Error) -> Errno {
    error.try_into().unwrap_or(Errno::EIO)
}
