//! `cargo xtask scrape`: measures `/metrics` with many backends.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use sluice_testkit::Lab;

use crate::scale::figures;

const HTTP: &str = "10.0.1.1:9180";

/// Measure `/metrics` with many backends, and commits during continuous scrapes
///
/// Runs the daemon in network namespaces. Run `cargo build --release --bins` first, then
/// `cargo run --release -p xtask -- scrape`.
#[derive(Args)]
pub(crate) struct Scrape {
    /// Backends, four per service
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(4..=200_000))]
    backends: u32,

    /// Number of scrapes, and of timed commits
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
}

impl Scrape {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let lab = Lab::with_backends(1);
        let daemon = lab.start(&config(self.backends / 4));
        let mut table = figures::table(&["", "median", "max"], 1);
        let mut add = |what: &str, mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            let [median, most] = [values[values.len() / 2], values[values.len() - 1]];
            table.add_row([what.to_owned(), format!("{median:.1} ms"), format!("{most:.1} ms")]);
        };
        let scrapes = (0..self.times).map(|_| scrape(&lab)).collect::<anyhow::Result<Vec<_>>>()?;
        let bytes = scrapes[0].1;
        add("scrape", scrapes.into_iter().map(|(took, _)| took).collect());
        add("set a weight, no scrapes", self.overrides(&lab)?);
        let during = std::thread::scope(|scope| {
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            let lab = &lab;
            let scraper = scope.spawn(move || -> anyhow::Result<u32> {
                let mut count = 0;
                while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                    scrape(lab)?;
                    count += 1;
                }
                Ok(count)
            });
            let overrides = self.overrides(lab);
            drop(stop);
            let count = scraper.join().expect("it returns its errors")?;
            overrides.map(|overrides| (overrides, count))
        });
        let (overrides, count) = during?;
        add(&format!("set a weight, during {count} scrapes"), overrides);
        println!("{} backends, {} MB a scrape; load average {}", self.backends, bytes / 1_000_000, load()?);
        println!("{table}");
        drop(daemon);
        Ok(())
    }

    /// Durations of overrides in milliseconds, from the sum of the daemon's histogram, without the start of the command.
    fn overrides(&self, lab: &Lab) -> anyhow::Result<Vec<f64>> {
        let one = |n: u32| {
            let before = rounds(lab)?;
            lab.sluice(&["weight", "s7/b1", &(n % 2 + 1).to_string()]).expect(0);
            Ok((rounds(lab)? - before) * 1e3)
        };
        (0..self.times).map(one).collect()
    }
}

/// Total duration in seconds of the rounds triggered by operators.
fn rounds(lab: &Lab) -> anyhow::Result<f64> {
    let text = get(lab)?;
    let name = "sluice_reconcile_duration_seconds_sum{trigger=\"operator\"} ";
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.map_or(Ok(0.0), str::parse)?)
}

/// Duration in milliseconds and length in bytes of one scrape.
fn scrape(lab: &Lab) -> anyhow::Result<(f64, usize)> {
    let began = Instant::now();
    let text = get(lab)?;
    Ok((began.elapsed().as_secs_f64() * 1e3, text.len()))
}

fn get(lab: &Lab) -> anyhow::Result<String> {
    lab.client.run(|| {
        let mut stream = TcpStream::connect(HTTP).context("connect to the daemon")?;
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .context("send the request")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).context("read the metrics")?;
        Ok(text)
    })
}

fn config(services: u32) -> String {
    let mut text = format!("http: {{listen: '{HTTP}'}}\nservices:\n");
    for n in 0..services {
        let backends = (1..=4).map(|b| format!("{{address: '10.0.2.11:{}', name: b{b}}}", 8000 + b));
        let backends = backends.collect::<Vec<_>>().join(", ");
        let listen = format!("100.64.{}.{}:80", n / 250, n % 250 + 1);
        writeln!(text, "  s{n}: {{listen: '{listen}', backends: [{backends}]}}").expect("a string takes all");
    }
    text
}

fn load() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg").context("read the load")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}
