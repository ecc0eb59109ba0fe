//! Established TCP connections that keep talking.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{greet, read_line, socket, within};
use crate::server::RUNTIME;
use crate::{Host, PATIENCE};

/// TCP connections, each of which sends a line and waits for its echo, again and again.
#[derive(Debug)]
pub struct Talk {
    stop: watch::Sender<bool>,
    connections: Vec<JoinHandle<Ended>>,
}

/// The end of a [`Talk`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Talked {
    /// Connections that still work.
    pub alive: usize,
    /// Connections that were reset.
    pub reset: usize,
    /// Connections that are silent, or failed otherwise.
    pub lost: usize,
    /// Longest time from a line to its echo, of connections that still work.
    pub gap: Duration,
}

/// Longest time to an echo, and how the connection ended.
type Ended = (Duration, io::Result<()>);

impl Host {
    /// Opens `count` connections, and lets each send a line whenever `pace` has passed since the last echo.
    ///
    /// # Panics
    /// If one of them cannot be opened.
    pub fn talk(&self, count: usize, pace: Duration, to: &str) -> Talk {
        let to = to.parse().unwrap_or_else(|e| panic!("{to}: {e}"));
        let (stop, stopped) = watch::channel(false);
        // In bunches: a listening socket has room for a limited number of handshakes.
        let numbers: Vec<_> = (0..count).collect();
        let bunches = numbers.chunks(100).flat_map(|bunch| {
            let open = |_: &usize| {
                let socket = self.run(|| socket(to)).expect("a socket");
                RUNTIME.spawn(greet(socket, to))
            };
            let opening: Vec<_> = bunch.iter().map(open).collect();
            opening.into_iter().map(|one| {
                let opened = RUNTIME.block_on(one).expect("no panic");
                let (_, stream) = opened.unwrap_or_else(|e| panic!("{} to {to}: {e}", self.name()));
                RUNTIME.spawn(converse(stream, pace, stopped.clone()))
            })
        });
        Talk { connections: bunches.collect(), stop }
    }
}

impl Talk {
    /// Lets each connection talk once more, ends it, and counts.
    pub fn finish(self) -> Talked {
        self.stop.send_replace(true);
        let mut talked = Talked::default();
        for connection in self.connections {
            let (gap, end) = RUNTIME.block_on(connection).expect("no panic");
            match end {
                Ok(()) => {
                    talked.alive += 1;
                    talked.gap = talked.gap.max(gap);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => talked.reset += 1,
                Err(_) => talked.lost += 1,
            }
        }
        talked
    }
}

async fn converse(
    mut stream: BufReader<TcpStream>,
    pace: Duration,
    mut stop: watch::Receiver<bool>,
) -> Ended {
    let mut gap = Duration::ZERO;
    loop {
        let is_last = *stop.borrow();
        let begun = Instant::now();
        if let Err(error) = within(PATIENCE, echo(&mut stream)).await {
            return (gap, Err(error));
        }
        gap = gap.max(begun.elapsed());
        if is_last {
            return (gap, Ok(()));
        }
        tokio::select! {
            () = sleep(pace) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn echo(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    stream.write_all(b"still here?\n").await?;
    read_line(stream).await.map(drop)
}
