//! A paced flow of datagrams.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::Host;
use crate::server::RUNTIME;

/// An answer that is not there by then, after the last datagram, was lost.
const LATE: Duration = Duration::from_secs(2);

/// One UDP flow that sends a datagram each time a pace has passed.
#[derive(Debug)]
pub struct Datagrams {
    answers: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    sender: JoinHandle<usize>,
    receiver: JoinHandle<Received>,
}

/// The end of [`Datagrams`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Datagrams that were sent.
    pub sent: usize,
    /// Datagrams without an answer.
    pub lost: usize,
    /// Longest time between two answers.
    pub gap: Duration,
    /// Names of the hosts that answered.
    pub backends: BTreeSet<String>,
}

/// What the receiver knows: answers, longest time between two, and names.
type Received = (usize, Duration, BTreeSet<String>);

impl Host {
    /// Sends a datagram per `pace` from one port, and counts the answers.
    pub fn send_steadily(&self, pace: Duration, to: &str) -> Datagrams {
        let to: SocketAddr = to.parse().unwrap_or_else(|e| panic!("{to}: {e}"));
        let any = match to {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let socket = self.run(|| std::net::UdpSocket::bind((any, 0))).expect("a socket");
        socket.set_nonblocking(true).expect("set it non-blocking");
        let _runtime = RUNTIME.enter();
        let socket = Arc::new(UdpSocket::from_std(socket).expect("register the socket"));
        let (stop, stopped) = watch::channel(false);
        let (counted, count) = watch::channel(None);
        let sender = RUNTIME.spawn(send(socket.clone(), to, pace, stopped, counted));
        let answers = Arc::<AtomicUsize>::default();
        let receiver = RUNTIME.spawn(receive(socket, count, answers.clone()));
        Datagrams { answers, stop, sender, receiver }
    }
}

impl Datagrams {
    /// Number of answers so far.
    pub fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// Stops, waits for the answer to the last datagrams, and counts.
    pub fn finish(self) -> Answered {
        self.stop.send_replace(true);
        let sent = RUNTIME.block_on(self.sender).expect("no panic");
        let (answers, gap, backends) = RUNTIME.block_on(self.receiver).expect("no panic");
        Answered { sent, lost: sent - answers, gap, backends }
    }
}

/// Sends numbers and tells the last one.
async fn send(
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    pace: Duration,
    stop: watch::Receiver<bool>,
    counted: watch::Sender<Option<usize>>,
) -> usize {
    let mut tick = interval(pace);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0;
    while !*stop.borrow() {
        tick.tick().await;
        // An ICMP error is a lost datagram; it is reported by the next call, which sends nothing.
        if socket.send_to(sent.to_string().as_bytes(), to).await.is_err() {
            let _ = socket.send_to(sent.to_string().as_bytes(), to).await;
        }
        sent += 1;
    }
    counted.send_replace(Some(sent));
    sent
}

/// Counts answers until the last datagram is answered, or nothing has come for a while.
async fn receive(
    socket: Arc<UdpSocket>,
    mut count: watch::Receiver<Option<usize>>,
    answers: Arc<AtomicUsize>,
) -> Received {
    let (mut numbers, mut backends) = (BTreeSet::new(), BTreeSet::new());
    let (mut gap, mut last) = (Duration::ZERO, None::<Instant>);
    let mut datagram = [0; 512];
    loop {
        let end = *count.borrow_and_update();
        if end.is_some() && end == numbers.last().map(|last| last + 1) {
            return (numbers.len(), gap, backends);
        }
        let received = tokio::select! {
            received = timeout(LATE, socket.recv_from(&mut datagram)) => received,
            _ = count.changed(), if end.is_none() => continue,
        };
        match received {
            Ok(Ok((length, _))) => {
                let text = String::from_utf8_lossy(&datagram[..length]);
                // NAME PEER PORT, and what was sent on a line of its own.
                let (greeting, number) = text.split_once('\n').unwrap_or_default();
                backends.extend(greeting.split(' ').next().map(str::to_owned));
                numbers.extend(number.parse::<usize>());
                answers.store(numbers.len(), Ordering::Relaxed);
                gap = gap.max(last.map_or(Duration::ZERO, |last| last.elapsed()));
                last = Some(Instant::now());
            }
            Err(_) if end.is_some() => return (numbers.len(), gap, backends),
            // An ICMP error, or an interruption.
            Ok(Err(_)) | Err(_) => {}
        }
    }
}
