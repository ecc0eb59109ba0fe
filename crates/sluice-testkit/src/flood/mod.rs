//! [`Flood`]: new flows, as fast as one core can send them.

mod frame;
mod socket;

use std::net::SocketAddrV4;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::Namespace;
use frame::Frame;
use socket::PacketSocket;

/// Datagrams per system call, and the resolution of the times of [`Flood::send`].
const BATCH: usize = 250;

/// Sends UDP datagrams or SYNs as frames on an interface, without sockets, routing and queues of the sending host.
///
/// One core does all the work: over veth pairs, the kernel processes a frame up to its last hop before the
/// system call continues.
pub struct Flood {
    socket: PacketSocket,
    gateway: [u8; 6],
    core: usize,
    frame: fn([u8; 6], &Datagram) -> Frame,
}

/// The first and only packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Where it claims to come from.
    pub source: SocketAddrV4,
    /// Where it goes.
    pub destination: SocketAddrV4,
}

impl Flood {
    /// Sends on `interface` of `namespace`, to the link address `gateway`, from the core of this number.
    pub fn new(namespace: &Namespace, interface: &str, gateway: [u8; 6], core: usize) -> Self {
        let socket = namespace.run(|| PacketSocket::open(interface));
        Flood { socket, gateway, core, frame: Frame::udp }
    }

    /// The same with SYNs in place of datagrams: TCP connections that nobody completes.
    pub fn of_syns(namespace: &Namespace, interface: &str, gateway: [u8; 6], core: usize) -> Self {
        Flood { frame: Frame::syn, ..Flood::new(namespace, interface, gateway, core) }
    }

    /// Sends them all; the time each batch took, divided by its datagrams. Making the frames is not part of it.
    ///
    /// # Panics
    /// If the kernel refuses one.
    pub fn send(&mut self, datagrams: &[Datagram]) -> Vec<Duration> {
        thread::scope(|scope| {
            // A thread of its own, because a thread stays pinned.
            let sender = scope.spawn(|| {
                pin(self.core);
                datagrams.chunks(BATCH).map(|batch| self.send_batch(batch)).collect()
            });
            sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn send_batch(&mut self, batch: &[Datagram]) -> Duration {
        let frames: Vec<Frame> = batch.iter().map(|datagram| (self.frame)(self.gateway, datagram)).collect();
        let start = Instant::now();
        self.socket.send(&frames);
        start.elapsed() / batch.len() as u32
    }
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .unwrap_or_else(|e| panic!("run on core {core}: {e}"));
}
