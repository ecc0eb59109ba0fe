//! CPU and memory of probing many backends, and the accuracy of the schedule.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use comfy_table::Table;
use sluice_testkit::Lab;

use super::quantile;
use crate::scale::figures;

const INTERVAL: f64 = 2.0;

/// Warm-up: every backend is probed at least once.
const SETTLE: Duration = Duration::from_secs(6);

/// Clock ticks per second (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Runs the daemon with many backends, and measures the daemon and the arrival of probes.
pub(super) fn measure(backends: u32, seconds: u32) -> anyhow::Result<Table> {
    eprintln!("{backends} backends probed every {INTERVAL} s, for {seconds} s");
    let lab = Lab::with_backends(1);
    lab.backends[0].ip("route add local 10.64.0.0/14 dev lo");
    lab.balancer.ip("route add 10.64.0.0/14 via 10.0.2.11");
    let listener = lab.backends[0].run(|| TcpListener::bind("0.0.0.0:8080")).context("listen")?;
    let seen: Arc<Mutex<Vec<(Instant, IpAddr)>>> = Arc::default();
    let noted = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(at) = stream.local_addr() {
                noted.lock().expect("no thread panics with it").push((Instant::now(), at.ip()));
            }
        }
    });
    let daemon = lab.start(&config(backends));
    thread::sleep(SETTLE);
    let (began, before) = (Instant::now(), cpu(daemon.pid())?);
    thread::sleep(Duration::from_secs(seconds.into()));
    let (whole, after) = (began.elapsed(), cpu(daemon.pid())?);
    let unhealthy = daemon.logged("is unhealthy");

    let seen: Vec<_> = seen.lock().expect("no thread panics with it").clone();
    let seen: Vec<_> = seen.into_iter().filter(|(at, _)| *at >= began && *at < began + whole).collect();
    let mut last: HashMap<IpAddr, Instant> = HashMap::new();
    let mut late: Vec<f64> = seen
        .iter()
        .filter_map(|(at, ip)| {
            Some((at.duration_since(last.insert(*ip, *at)?).as_secs_f64() - INTERVAL).abs() * 1e3)
        })
        .collect();
    let mut tenths = vec![0.0; (whole.as_secs_f64() * 10.0) as usize + 1];
    seen.iter().for_each(|(at, _)| tenths[(at.duration_since(began).as_secs_f64() * 10.0) as usize] += 1.0);
    tenths.pop();
    let mean = tenths.iter().sum::<f64>() / tenths.len() as f64;

    let mut table = figures::table(&["probing", "measured"], 1);
    let mut add = |what: &str, measured: String| {
        table.add_row([what, &measured]);
    };
    add("probes per second", format!("{:.0}", seen.len() as f64 / whole.as_secs_f64()));
    add("CPU of the daemon", format!("{:.0} % of a core", 100.0 * (after - before) / whole.as_secs_f64()));
    add("  per probe", format!("{:.0} us", 1e6 * (after - before) / seen.len() as f64));
    for (name, part) in [("median", 0.5), ("p99", 0.99), ("max", 1.0)] {
        let what = format!("deviation from the interval: {name}");
        add(&what, format!("{:.0} ms", quantile(&mut late, part)));
    }
    add("busiest 100 ms, relative to the mean", format!("{:.2}", quantile(&mut tenths, 1.0) / mean));
    add("backends falsely unhealthy", unhealthy.to_string());
    Ok(table)
}

fn config(backends: u32) -> String {
    let mut text = String::from("defaults: { health: { tcp: {}, interval: 2s, timeout: 1s } }\nservices:\n");
    for service in 0..backends / 4 {
        let part = |n: u32| (n >> 8, n & 255);
        let (high, low) = part(service + 256);
        let address = |n| {
            let (high, low) = part(4 * service + n);
            format!("10.{}.{}.{low}:8080", 64 + (high >> 8), high & 255)
        };
        let backends: Vec<_> = (0..4).map(address).collect();
        writeln!(
            text,
            "  s{service}: {{ listen: '100.64.{high}.{low}:80', backends: [{}] }}",
            backends.join(", ")
        )
        .expect("a string takes all");
    }
    text
}

/// CPU time of a process in seconds.
fn cpu(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    // utime and stime, the 14th and 15th of all (proc_pid_stat(5)).
    Ok((ticks(11).context("utime")? + ticks(12).context("stime")?) / TICKS)
}
