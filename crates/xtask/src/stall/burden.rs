//! What the daemon has to bear beside the flips.

use std::fmt::{self, Write};
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, sleep};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sluice_api::{Admin, Client, ClientError, OverrideChange, OverrideRequest};
use sluice_testkit::{Daemon, Datagram, Flood, Lab, program};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::runtime::Builder;

use super::set_priority;

/// Connections at the control socket.
const CROWD: usize = 10_000;

/// Services whose probes hang, and services that are drained.
const PROGRAMS: u32 = 300;
const DRAINS: u32 = 200;

/// Entries in conntrack, if the kernel has room for them.
const ENTRIES: u32 = 1_000_000;

/// Microseconds that each fsync takes longer.
const SYNC: u32 = 500_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Burden {
    /// Nothing
    None,
    /// Each fsync takes 500 ms
    Disk,
    /// Nobody reads the log
    Log,
    /// 10,000 connections at the control socket
    Crowd,
    /// 300 services whose `exec` probes hang
    Programs,
    /// 200 parallel drains with a full conntrack table
    Drains,
    /// 100 reloads per second
    Reloads,
    /// The whole table is compared every second
    Refreshes,
    /// Nothing again, to see what the machine does by itself
    NoneAgain,
}

/// What a burden keeps open; it ends on drop.
#[derive(Default)]
pub(super) struct Begun {
    _connections: Vec<Socket>,
    _log: Option<File>,
    ends: Arc<AtomicBool>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

impl Burden {
    pub(super) const ALL: [Burden; 9] = [
        Burden::None,
        Burden::Disk,
        Burden::Log,
        Burden::Crowd,
        Burden::Programs,
        Burden::Drains,
        Burden::Reloads,
        Burden::Refreshes,
        Burden::NoneAgain,
    ];

    /// Starts the daemon.
    pub(super) fn start<'l>(self, lab: &'l Lab, config: &str) -> anyhow::Result<Daemon<'l>> {
        lab.configure(config);
        let sluiced = program("sluiced");
        let sluiced = sluiced.display();
        let command = match self {
            Burden::Disk => format!(
                "strace -D -f --seccomp-bpf -qq -o /dev/null -e trace=fsync,fdatasync \
                 -e inject=fsync,fdatasync:delay_enter={SYNC} {sluiced}"
            ),
            Burden::Log => {
                let pipe = lab.path("log.pipe");
                nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).context("make a pipe")?;
                // Opened for both, it blocks neither the shell nor, before it is full, the daemon.
                format!("{sluiced} --log-level trace 2<> {}", pipe.display())
            }
            Burden::None
            | Burden::Crowd
            | Burden::Programs
            | Burden::Drains
            | Burden::Reloads
            | Burden::Refreshes
            | Burden::NoneAgain => return Ok(Daemon::start(lab)),
        };
        let script = lab.sluiced_after("", &command);
        Ok(Daemon::start_program(lab, &script, &[]))
    }

    /// Begins what goes on during the flips.
    pub(super) fn begin<'s, 'e>(
        self,
        scope: &'s Scope<'s, 'e>,
        lab: &'e Lab,
        daemon: &'e Daemon<'_>,
    ) -> anyhow::Result<Begun> {
        let mut begun = Begun::default();
        let ends = begun.ends.clone();
        match self {
            Burden::None | Burden::NoneAgain | Burden::Disk | Burden::Programs | Burden::Refreshes => {}
            Burden::Log => {
                let pipe = lab.path("log.pipe");
                begun._log =
                    Some(OpenOptions::new().read(true).write(true).open(pipe).context("open the pipe")?);
            }
            Burden::Crowd => begun._connections = crowd(lab)?,
            Burden::Drains => {
                fill_conntrack(lab)?;
                drain_all(lab)?;
                scope.spawn(move || {
                    set_priority(0).expect("it is lower");
                    while !ends.load(Ordering::Relaxed) {
                        drain_all(lab).expect("they succeeded before");
                    }
                });
            }
            Burden::Reloads => {
                scope.spawn(move || {
                    set_priority(0).expect("it is lower");
                    while !ends.load(Ordering::Relaxed) {
                        daemon.begin_reload();
                        sleep(Duration::from_millis(10));
                    }
                });
            }
        }
        Ok(begun)
    }
}

impl fmt::Display for Burden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(
            &value.as_ref().and_then(|value| value.get_help()).map_or_else(String::new, ToString::to_string),
        )
    }
}

/// Services beside the measured one, as lines of the file.
pub(super) fn others(burden: Burden, services: u32) -> String {
    let mut text = String::new();
    for n in 0..services {
        let listen = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 1)) + n);
        let hangs = match burden {
            Burden::Programs if n < PROGRAMS => {
                ", health: { exec: { command: [/bin/sleep, '100'] }, interval: 1s, timeout: 1s }"
            }
            _ => "",
        };
        writeln!(
            text,
            "  s{n}: {{ listen: '{listen}:9/udp', scheduler: random, source: preserve, backends: [{{ address: '10.0.2.11:9', name: b }}]{hangs} }}"
        )
        .expect("a string takes all");
    }
    text
}

/// Connections to the control socket that say nothing.
fn crowd(lab: &Lab) -> anyhow::Result<Vec<Socket>> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("raise the limit of open files")?;
    let address = SockAddr::unix(lab.path("sluice.sock")).context("the path of the socket")?;
    let mut connections = Vec::new();
    let mut refused = 0;
    while connections.len() < CROWD {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).context("open a socket")?;
        socket.set_nonblocking(true).context("set it to non-blocking")?;
        match socket.connect(&address) {
            Ok(()) => connections.push(socket),
            // The queue of the daemon is full.
            Err(error) => {
                refused += 1;
                ensure!(refused < 1000 * CROWD, "connect to the control socket: {error}");
                sleep(Duration::from_micros(100));
            }
        }
    }
    Ok(connections)
}

/// Fills conntrack with flows to the other services.
fn fill_conntrack(lab: &Lab) -> anyhow::Result<()> {
    let max: u32 =
        lab.balancer.sysctl("net/netfilter/nf_conntrack_max").parse().context("the size of conntrack")?;
    let entries = ENTRIES.min(max / 10 * 9);
    lab.balancer.set_sysctl("net/netfilter/nf_conntrack_udp_timeout", "600");
    lab.backends[0].nft(
        "table inet sink { chain drops { type filter hook prerouting priority raw; udp dport 9 drop; }; }",
    );
    let mut flood = Flood::new(&lab.client, "eth0", lab.balancer.link_address("eth0"), 0);
    let datagrams: Vec<_> = (0..entries)
        .map(|n| Datagram {
            source: SocketAddrV4::new(
                Ipv4Addr::new(198, 18, (n >> 8) as u8, n as u8),
                1024 + (n >> 16) as u16,
            ),
            destination: SocketAddrV4::new(Ipv4Addr::new(100, 64, 0, 1 + (n % DRAINS) as u8), 9),
        })
        .collect();
    flood.send(&datagrams);
    let count = lab.balancer.sysctl("net/netfilter/nf_conntrack_count");
    eprintln!("{count} entries in conntrack");
    Ok(())
}

/// Drains the backends of many services at the same time.
fn drain_all(lab: &Lab) -> anyhow::Result<()> {
    let client = Client::new(lab.path("sluice.sock"));
    let drain = |n| {
        let (client, change) = (client.clone(), OverrideChange::Admin(Admin::Drain));
        let (service, backend) = (format!("s{n}"), "b".to_owned());
        async move {
            let request = OverrideRequest { service, backend, change, reason: None };
            loop {
                match client.set_override(&request).await {
                    // Connections of the drains before may not be closed yet, and a user may have only so many.
                    Err(ClientError::Refused(_) | ClientError::Exchange(..)) => {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    done => return done.map(drop),
                }
            }
        }
    };
    let runtime = Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(async {
        let all: Vec<_> = (0..DRAINS).map(|n| tokio::spawn(drain(n))).collect();
        for one in all {
            one.await.context("a drain")?.context("drain")?;
        }
        Ok(())
    })
}
