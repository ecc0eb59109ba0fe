//! Load: connections and flows during changes.

use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use sluice_testkit::{Conversation, Lab, eventually};

const CONNECTORS: usize = 8;
const LONG: usize = 50;
const FLOWS: usize = 50;
/// Interval between two lines of a long connection, and two datagrams of a flow.
const PACE: Duration = Duration::from_millis(50);
/// An answer that takes longer is a gap.
const PATIENCE: Duration = Duration::from_secs(2);

/// A target of connectors: its clients, the listener, and the port that only its backends
/// serve.
const TARGETS: [(&str, u8, &str, u16); 5] = [
    ("198.51.100.", 0, "203.0.113.10:80", 8080),
    ("198.51.100.", 0, "203.0.113.10:92", 8081),
    ("2001:db8:c::", 0, "[2001:db8::10]:80", 8080),
    ("198.51.100.", 0, "203.0.113.10:95", 8082),
    // Clients whose address backends may see.
    ("198.51.100.", 128, "203.0.113.10:94", 8083),
];

/// Connections and flows, established before anything changes.
pub struct Load<'a> {
    lab: &'a Lab,
    long: Vec<Conversation>,
    flows: Vec<Flow>,
    over: AtomicBool,
    failures: Mutex<Vec<String>>,
}

/// The results of the load.
pub struct Counts {
    pub connections: usize,
    pub echoes: usize,
    pub datagrams: usize,
    /// Number of segments that the client retransmitted: TCP recovers lost packets, so losses show only here.
    /// (A backend's last segment is sometimes retransmitted because the client was closing.)
    pub sent_again: u64,
    /// Descriptions of failures; at most a few, because the first one ends the load.
    pub failures: Vec<String>,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { connections, echoes, datagrams, sent_again, failures } = self;
        write!(
            f,
            "{connections} connections of {CONNECTORS} connectors ({sent_again} segments sent again), {echoes} lines on {LONG} \
             connections, {datagrams} datagrams on {FLOWS} flows, {} failures",
            failures.len()
        )
    }
}

impl<'a> Load<'a> {
    /// Opens long connections and flows to these listeners, round-robin.
    pub fn start(lab: &'a Lab, tcp: &[&str], udp: &[&str]) -> Self {
        let open = |n: usize| {
            let to = tcp[n % tcp.len()];
            lab.client.open(to).unwrap_or_else(|e| panic!("long connection {n} to {to}: {e}"))
        };
        let flow = |n: usize| {
            let to = udp[n % udp.len()];
            Flow::open(lab, to).unwrap_or_else(|e| panic!("flow {n} to {to}: {e}"))
        };
        Load {
            lab,
            long: (0..LONG).map(open).collect(),
            flows: (0..FLOWS).map(flow).collect(),
            over: AtomicBool::new(false),
            failures: Mutex::default(),
        }
    }

    /// Runs the load during `changes`, which can ask whether the load has failed.
    pub fn during(self, changes: impl FnOnce(&dyn Fn() -> bool)) -> Counts {
        let Load { lab, mut long, mut flows, over, failures } = self;
        let before = sent_again(lab);
        let until_over = UntilOver { over: &over, failures: &failures };
        let (connections, echoes, datagrams) = thread::scope(|scope| {
            let connect = |connector| move || until_over.repeat(|n| connect(lab, connector, n));
            let connectors: Vec<_> = (0..CONNECTORS).map(|n| scope.spawn(connect(n))).collect();
            let long = scope.spawn(|| until_over.repeat(|n| echo(&mut long, n)));
            let flows = scope.spawn(|| until_over.repeat(|n| pace(&mut flows, n)));
            {
                let _over_even_if_it_panics = End(&over);
                changes(&|| over.load(Ordering::Relaxed));
            }
            let connectors = connectors.into_iter().map(|thread| thread.join().expect("it does not panic"));
            (
                connectors.sum(),
                long.join().expect("it does not panic"),
                flows.join().expect("it does not panic"),
            )
        });
        let failures = failures.into_inner().expect("no thread panics with it");
        Counts { connections, echoes, datagrams, sent_again: sent_again(lab) - before, failures }
    }
}

fn sent_again(lab: &Lab) -> u64 {
    lab.client.statistic("Tcp", "RetransSegs")
}

/// Ends the load.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy)]
struct UntilOver<'a> {
    over: &'a AtomicBool,
    failures: &'a Mutex<Vec<String>>,
}

impl UntilOver<'_> {
    /// Calls `work` with the number of previous calls until the load ends, and counts the results. A failure
    /// ends the load.
    fn repeat(self, mut work: impl FnMut(usize) -> Result<usize, String>) -> usize {
        let mut done = 0;
        for n in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            match work(n) {
                Ok(more) => done += more,
                Err(failure) => {
                    self.failures.lock().expect("no thread panics with it").push(failure);
                    End(self.over);
                }
            }
        }
        done
    }
}

/// One short connection.
fn connect(lab: &Lab, connector: usize, n: usize) -> Result<usize, String> {
    let (network, first, to, port) = TARGETS[n % TARGETS.len()];
    // Many clients, so that no port is reused while conntrack has its last connection.
    let client = usize::from(first) + 1 + (connector * 31 + n) % 120;
    let from = if network.contains(':') {
        format!("[{network}{client:x}]:0")
    } else {
        format!("{network}{client}:0")
    };
    match lab.client.tcp_from(&from, to) {
        Ok(answer) if answer.port == port => Ok(1),
        Ok(answer) => Err(format!("{from} to {to} went astray: {answer:?}")),
        Err(error) => Err(format!("{from} to {to}: {error}")),
    }
}

/// One line on each long connection.
fn echo(long: &mut [Conversation], n: usize) -> Result<usize, String> {
    sleep(PACE);
    let line = format!("line {n}");
    for conversation in long.iter_mut() {
        match conversation.echo(&line) {
            Ok(echoed) if echoed == line => {}
            other => return Err(format!("{line:?} to {:?}: {other:?}", conversation.answer)),
        }
    }
    Ok(long.len())
}

/// One datagram on each flow.
fn pace(flows: &mut [Flow], n: usize) -> Result<usize, String> {
    sleep(PACE);
    for flow in flows.iter_mut() {
        match flow.ask(n) {
            Ok(answer) if answer == format!("{}{n}", flow.greeting) => {}
            other => return Err(format!("datagram {n} to {:?}: {other:?}", flow.greeting)),
        }
    }
    Ok(flows.len())
}

/// A client's socket that sends numbers.
struct Flow {
    socket: UdpSocket,
    /// The host that answers, and the source that it sees; they must never change.
    greeting: String,
}

impl Flow {
    fn open(lab: &Lab, to: &str) -> io::Result<Self> {
        let socket = lab.client.run(|| UdpSocket::bind("0.0.0.0:0"))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut flow = Flow { socket, greeting: String::new() };
        flow.greeting = flow.ask(0)?.trim_end_matches('0').to_owned();
        Ok(flow)
    }

    /// One datagram and its answer.
    fn ask(&mut self, number: usize) -> io::Result<String> {
        self.socket.send(number.to_string().as_bytes())?;
        let mut datagram = [0; 512];
        let length = self.socket.recv(&mut datagram)?;
        Ok(String::from_utf8_lossy(&datagram[..length]).into_owned())
    }
}

/// Drops one of a thousand matching packets, before other hooks.
fn lose(lab: &Lab, what: &str) {
    let chain = "type filter hook prerouting priority -350";
    lab.balancer.nft(&format!(
        "table inet loss {{\nchain arriving {{\n{chain}\n{what} numgen inc mod 1000 == 999 drop\n}}\n}}\n"
    ));
}

#[test]
fn load_notices_one_syn_lost_in_a_thousand() {
    let lab = super::lab();
    let _daemon = lab.start(&super::services(0));
    let load = Load::start(&lab, &["203.0.113.10:80"], &["203.0.113.10:53"]);
    lose(&lab, "tcp flags & (syn | ack) == syn");
    let counts = load.during(|_| {
        eventually("a SYN is sent again", || (sent_again(&lab) > 0).then_some(()));
    });
    assert!(counts.sent_again > 0 && counts.failures.is_empty(), "{counts}");
}

#[test]
fn load_notices_one_datagram_lost_in_a_thousand() {
    let lab = super::lab();
    let _daemon = lab.start(&super::services(0));
    let load = Load::start(&lab, &["203.0.113.10:80"], &["203.0.113.10:53"]);
    lose(&lab, "udp dport 53");
    let counts = load.during(|has_failed| {
        eventually("a datagram is missed", || has_failed().then_some(()));
    });
    assert!(counts.failures[0].starts_with("datagram "), "{:?}", counts.failures);
}
