//! `cargo xtask bench accounting`: measures the cost of byte accounting.

use std::fs;
use std::sync::Arc;
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use sluice_core::model::Services;
use sluice_testkit::{Datagram, eventually};
use sluiced::conntrack::bytes::{ByteCounter, ByteTotals};
use sluiced::state::StateDir;

use super::bed::Bed;
use super::pool::{MAX_FLOWS, Pool};
use super::shape::Shape;
use super::spread::{self, Spread};

/// Number of flows before the measured ones.
const WARM_UP: u32 = 2000;

/// Measure new flows and their ends, with and without accounting
///
/// The setup is that of `first-packet`, with the default masquerade: without accounting, with accounting by the kernel
/// alone, and with the daemon's thread that receives destroy events and reads all flows. They take turns. All flows
/// of a run end at the same time, which is the worst case for the thread.
#[derive(Args)]
pub(crate) struct BenchAccounting {
    /// Number of services
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=250_000))]
    services: u32,

    /// Number of runs of each
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    /// Measured flows per run
    #[arg(long, default_value_t = 60_000,
          value_parser = clap::value_parser!(u32).range(1000..=i64::from(MAX_FLOWS - WARM_UP)))]
    packets: u32,
}

/// The kinds of accounting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Kernel,
    Daemon,
}

impl Mode {
    const ALL: [(Mode, &str); 3] =
        [(Mode::Off, "off"), (Mode::Kernel, "kernel alone"), (Mode::Daemon, "accounting: true")];
}

struct Machine {
    bed: Bed,
    accounts: ByteTotals,
    accounting: Option<ByteCounter>,
    _state: (StateDir, tempfile::TempDir),
    /// Nanoseconds per new flow, and per destroyed flow.
    new: Vec<f64>,
    end: Vec<f64>,
    /// CPU time of the daemon's thread in microseconds per flow.
    thread: Vec<f64>,
}

impl BenchAccounting {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let core = available_parallelism().context("count the cores")?.get() - 1;
        let pool = Pool { services: self.services, backends: 4 };
        let services = pool.load("random", "masquerade", "udp")?;
        let mut machines = Vec::new();
        for (mode, _) in Mode::ALL {
            machines.push(Machine::new(mode, pool, core, &services)?);
        }
        let flows: Vec<_> = pool.flows().take((WARM_UP + self.packets) as usize).collect();
        let (warm_up, timed) = flows.split_at(WARM_UP as usize);
        for _ in 0..self.repeat {
            for machine in &mut machines {
                machine.measure(warm_up, timed)?;
            }
        }
        self.report(machines);
        Ok(())
    }

    fn report(&self, machines: Vec<Machine>) {
        let mut table = spread::table(["", "bytes", "new flow", "ratio", "end", "ratio", "thread, a flow"]);
        let mut off = None;
        for (machine, (_, name)) in machines.into_iter().zip(Mode::ALL) {
            let (new, end) = (Spread::of(machine.new).median, Spread::of(machine.end).median);
            let (new_off, end_off) = *off.get_or_insert((new, end));
            let thread = match machine.thread.is_empty() {
                true => String::new(),
                false => format!("{:.2} us", spread::median(machine.thread)),
            };
            table.add_row([
                format!("{} services", self.services),
                name.to_owned(),
                format!("{new:.0} ns"),
                format!("{:.3}", new / new_off),
                format!("{end:.0} ns"),
                format!("{:.3}", end / end_off),
                thread,
            ]);
            if machine.accounting.is_some() {
                eprintln!("ends that were lost: {}", machine.accounts.lost());
            }
        }
        println!("{}", spread::aligned(table));
    }
}

impl Machine {
    fn new(mode: Mode, pool: Pool, core: usize, services: &Arc<Services>) -> anyhow::Result<Self> {
        let (bed, _) = Bed::new(pool, Shape::RandomMasquerade, core)?;
        let directory = tempfile::tempdir().context("make a directory")?;
        let state = StateDir::open(directory.path()).context("lock it")?;
        let accounts = ByteTotals::default();
        if mode != Mode::Off {
            bed.balancer().set_sysctl("net/netfilter/nf_conntrack_acct", "1");
        }
        let start = || accounts.start(&mut None, services.clone(), state.files(), "", false);
        let accounting = match mode {
            Mode::Daemon => Some(bed.balancer().run(start).context("start the thread that counts")?),
            Mode::Off | Mode::Kernel => None,
        };
        let (new, end, thread) = Default::default();
        Ok(Machine { bed, accounts, accounting, _state: (state, directory), new, end, thread })
    }

    fn measure(&mut self, warm_up: &[Datagram], timed: &[Datagram]) -> anyhow::Result<()> {
        let before = self.taken()?;
        self.bed.flood(warm_up)?;
        let batches = self.bed.flood(timed)?;
        // The median ignores batches that were interrupted.
        self.new.push(spread::median(batches.iter().map(|time| time.as_secs_f64() * 1e9).collect()));
        let flows = (warm_up.len() + timed.len()) as f64;
        let began = Instant::now();
        self.bed.forget_flows();
        self.end.push(began.elapsed().as_secs_f64() * 1e9 / flows);
        if let Some((cpu, bytes)) = before {
            // A frame of 60 bytes without its Ethernet header.
            let sent = 46 * flows as u64;
            eventually("all bytes are counted", || (self.bytes() >= bytes + sent).then_some(()));
            let (after, bytes_after) = self.taken()?.context("the thread is there")?;
            ensure!(
                bytes_after == bytes + sent || self.accounts.lost() > 0,
                "{bytes_after} of {}",
                bytes + sent
            );
            self.thread.push((after - cpu).as_secs_f64() * 1e6 / flows);
        } else {
            // The other machines also wait this long.
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// CPU time of the thread, and the number of bytes that it counted.
    fn taken(&self) -> anyhow::Result<Option<(Duration, u64)>> {
        if self.accounting.is_none() {
            return Ok(None);
        }
        for task in fs::read_dir("/proc/self/task").context("list threads")? {
            let task = task.context("list threads")?.path();
            if fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "accounts") {
                let times = fs::read_to_string(task.join("schedstat")).context("read what a thread took")?;
                let on_cpu = times.split(' ').next().and_then(|time| time.parse().ok()).context("a time")?;
                return Ok(Some((Duration::from_nanos(on_cpu), self.bytes())));
            }
        }
        anyhow::bail!("no thread counts")
    }

    fn bytes(&self) -> u64 {
        let carried = self.accounts.by_backend().unwrap_or_default();
        carried.values().flat_map(|backends| backends.values()).map(|bytes| bytes.incoming).sum()
    }
}
