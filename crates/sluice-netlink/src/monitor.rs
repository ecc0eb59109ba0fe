//! Events about changes of our table by other programs.

use std::io;

use nix::poll::PollTimeout;

use crate::listener::Listener;
use crate::socket::Received;

/// Receives events about every commit in the network namespace of the thread that opened it.
pub struct Monitor {
    pub(crate) listener: Listener,
    heard: Vec<Event>,
}

/// An event that may concern our table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Another program changed it.
    Changed(Change),
    /// The receive buffer overflowed, and events were lost.
    Lost,
}

/// A commit by another program that changed our table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Generation after it.
    pub generation: u32,
    /// Process id of the sender.
    pub pid: u32,
    /// Process name of the sender.
    pub process: String,
}

impl Monitor {
    /// Subscribes to events. Commits from netlink port `us` are ours. While there is a subscriber, the kernel
    /// writes a message for each object of every commit, and large commits take three times as long.
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
            let received = listener.receive(|commit| {
                if commit.touched {
                    let (pid, process) = commit.process();
                    let change = Change { generation: commit.generation(), pid, process: process.to_owned() };
                    heard.push(Event::Changed(change));
                }
            })?;
            match received {
                // The kernel drops all further events until the buffer is empty, but reports the loss only once.
                Received::Lost => lost = true,
                Received::Events if lost => {}
                Received::Events | Received::Nothing => break,
            }
        }
        heard.extend(lost.then_some(Event::Lost));
        Ok(())
    }
}
