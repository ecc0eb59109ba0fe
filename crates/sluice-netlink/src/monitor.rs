//! What others do to our table, as the kernel tells it.

use std::io;

use nix::poll::PollTimeout;

use crate::listener::{Heard, Listener};

/// Hears of every commit in the network namespace that the opening thread was in.
pub struct Monitor {
    pub(crate) listener: Listener,
    heard: Vec<Event>,
}

/// Something happened to our table that we did not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody changed it.
    Changed(Change),
    /// There was more to hear than we could take.
    Lost,
}

/// A commit by somebody else that touched our table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Generation that it led to.
    pub generation: u32,
    /// Process that sent it.
    pub pid: u32,
    /// Name of that.
    pub process: String,
}

impl Monitor {
    /// Listens from now on. What the socket of port `us` commits is ours. As long as anybody listens, the kernel
    /// writes down all that anybody commits, which makes large commits take three times as long.
    pub fn open(us: u32) -> io::Result<Self> {
        let mut listener = Listener::open(us)?;
        listener.subscribe(true)?;
        Ok(Monitor { listener, heard: vec![] })
    }

    /// Waits for the next event.
    pub fn wait(&mut self) -> io::Result<Event> {
        while self.heard.is_empty() {
            if self.listener.wait(PollTimeout::NONE)? {
                self.receive()?;
            }
        }
        Ok(self.heard.remove(0))
    }

    fn receive(&mut self) -> io::Result<()> {
        let Monitor { listener, heard } = self;
        let mut lost = false;
        loop {
            let received = listener.hear(|commit| {
                if commit.touched {
                    let (pid, process) = commit.process();
                    let change = Change { generation: commit.generation(), pid, process: process.to_owned() };
                    heard.push(Event::Changed(change));
                }
            })?;
            match received {
                // Until it was all taken the kernel drops what comes, and says so only once.
                Heard::Lost => lost = true,
                Heard::Something if lost => {}
                Heard::Something | Heard::Nothing => break,
            }
        }
        heard.extend(lost.then_some(Event::Lost));
        Ok(())
    }
}
