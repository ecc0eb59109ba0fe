//! CPU and memory of resolving many names, against a DNS server of this host in a network namespace.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};
use sluice_core::model::{HostName, Lookup, Resolver};
use sluice_discovery::Discovery;
use sluice_nft::Ip;

use crate::scale::figures;

/// Address of the server.
const SERVER: &str = "127.0.0.1:53";

/// Measure CPU and memory of resolving names (needs dnsmasq)
#[derive(Args)]
pub struct Measurement {
    /// Number of names
    #[arg(long, default_value_t = 5_000)]
    names: u32,
    /// TTL of their records, in seconds
    #[arg(long, default_value_t = 5)]
    ttl: u32,
    /// Time to measure, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// A process that ends with this one.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Measurement {
    pub fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(self.measure())
    }

    async fn measure(self) -> anyhow::Result<()> {
        let Measurement { names, ttl, seconds } = self;
        eprintln!("{names} names of 4 addresses with a TTL of {ttl} s, for {seconds} s");
        let directory = tempfile::tempdir()?;
        let _server = self.serve(directory.path())?;
        let server: SocketAddr = SERVER.parse()?;
        let resolver = Resolver { servers: vec![server], ..Resolver::default() };
        let host = |number| HostName::new(&format!("n{number}.example."));
        let hosts: Result<BTreeSet<_>, _> = (0..names).map(host).collect();
        let lookups = hosts.map_err(anyhow::Error::msg)?.into_iter().map(|name| Lookup::Host(name, Ip::V4));
        let resident = resident()?;
        let mut discovery = Discovery::system();
        let begun = Instant::now();
        discovery.watch(&resolver, lookups.collect());
        while discovery.board().states().values().any(|state| state.answer.is_none()) {
            ensure!(begun.elapsed() < Duration::from_secs(60), "no answers; is dnsmasq in order?");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let first = begun.elapsed();
        // Queries are spread over the TTL after the second round.
        tokio::time::sleep(Duration::from_secs(u64::from(ttl) * 3)).await;
        let (began, cpu, mut queries) = (Instant::now(), cpu()?, self::queries(&discovery));
        let (mut busiest, before) = (0, queries);
        for _ in 0..seconds * 10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self::queries(&discovery);
            (busiest, queries) = (busiest.max(now - queries), now);
        }
        let (whole, cpu) = (began.elapsed().as_secs_f64(), self::cpu()? - cpu);
        let asked = (queries - before) as f64;
        let failures: u64 = discovery.board().states().values().map(|state| state.failures).sum();

        let mut table = figures::table(&["resolving", "measured"], 1);
        let mut add = |what: &str, measured: String| {
            table.add_row([what, &measured]);
        };
        add("all names answered after", format!("{:.0} ms", first.as_secs_f64() * 1e3));
        add("queries per second", format!("{:.0}", asked / whole));
        add("CPU", format!("{:.0} % of a core", 100.0 * cpu / whole));
        add("  per query", format!("{:.0} us", 1e6 * cpu / asked));
        add("memory", format!("{:.1} MiB", self::resident()? - resident));
        add(
            "busiest 100 ms, relative to the mean",
            format!("{:.2}", busiest as f64 / (asked / whole / 10.0)),
        );
        add("errors", failures.to_string());
        println!("{table}");
        Ok(())
    }

    /// Starts dnsmasq with the names.
    fn serve(&self, directory: &std::path::Path) -> anyhow::Result<Server> {
        let mut hosts = String::new();
        for number in 0..self.names {
            let [high, low] = [number >> 8, number & 255];
            for part in 0..4 {
                writeln!(hosts, "10.{}.{high}.{low} n{number}.example", 64 + part)?;
            }
        }
        let path = directory.join("hosts");
        fs::write(&path, hosts)?;
        let server = Command::new("/usr/sbin/dnsmasq")
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
            ])
            .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file=", "--cache-size=50000"])
            .arg(format!("--local-ttl={}", self.ttl))
            .arg(format!("--addn-hosts={}", path.display()))
            .spawn()
            .context("start dnsmasq (tests/setup/install dnsmasq-base)")?;
        Ok(Server(server))
    }
}

fn queries(discovery: &Discovery) -> u64 {
    discovery.board().states().values().map(|state| state.queries).sum()
}

/// CPU time of this process in seconds.
fn cpu() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Resident memory of this process in MiB.
fn resident() -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
