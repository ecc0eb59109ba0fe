//! `cargo xtask bench first-packet`: measures the cost of rulesets for the first packet of a flow.

use std::collections::BTreeMap;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::bed::Bed;
use super::comparison;
use super::pool::{MAX_FLOWS, Pool};
use super::shape::Shape;
use super::spread::{self, Spread};

/// Number of flows before the measured ones, to warm caches and slabs.
const WARM_UP: u32 = 2000;

/// Measure the first packet of a flow through several rulesets
///
/// Each ruleset has its own network namespaces. Frames of new UDP flows to all services go from a packet socket
/// through the balancer to a sink that drops them at ingress, all on one core. The rulesets take turns. A run with
/// a datagram that is not translated is an error. Run `cargo run --release -p xtask -- bench first-packet`.
#[derive(Args)]
pub(crate) struct FirstPacket {
    /// Numbers of services
    #[arg(long, value_delimiter = ',', default_value = "1,1000,5000,20000",
          value_parser = clap::value_parser!(u32).range(1..=250_000))]
    services: Vec<u32>,

    /// Rulesets to measure [default: those of sluice, and those they are compared with]
    #[arg(long, value_enum, value_delimiter = ',')]
    shapes: Vec<Shape>,

    /// Also measure rulesets without one part, or with another implementation of it
    #[arg(long, conflicts_with = "shapes")]
    parts: bool,

    /// Number of times that all rulesets are loaded again, at other places in memory
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    loads: u32,

    /// Number of runs of each ruleset per load
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    /// Measured flows per run
    #[arg(long, default_value_t = 40_000,
          value_parser = clap::value_parser!(u32).range(1000..=i64::from(MAX_FLOWS - WARM_UP)))]
    packets: u32,

    /// Backends per service
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    backends: u32,

    /// The core to run on [default: the last]
    #[arg(long)]
    core: Option<usize>,
}

/// The measurements of one shape.
#[derive(Default)]
struct Samples {
    /// Nanoseconds per packet, one value per run.
    packet: Vec<f64>,
    /// Milliseconds of loading the ruleset.
    load: Vec<f64>,
}

impl FirstPacket {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let core = match self.core {
            Some(core) => core,
            None => available_parallelism().context("count the cores")?.get() - 1,
        };
        for &services in &self.services {
            let pool = Pool { services, backends: self.backends };
            let mut samples = BTreeMap::<Shape, Samples>::new();
            for load in 1..=self.loads {
                eprint!("\r{services} services: load {load}/{} ", self.loads);
                self.measure(pool, core, &mut samples)?;
            }
            eprintln!();
            self.report(services, samples);
        }
        Ok(())
    }

    fn measure(&self, pool: Pool, core: usize, samples: &mut BTreeMap<Shape, Samples>) -> anyhow::Result<()> {
        let shapes = self.chosen().into_iter().filter(|shape| pool.services <= shape.most_services());
        let mut beds = Vec::new();
        for shape in shapes {
            let (bed, took) = Bed::new(pool, shape, core).with_context(|| format!("load {shape}"))?;
            samples.entry(shape).or_default().load.push(milliseconds(took));
            beds.push((shape, bed));
        }
        let flows: Vec<_> = pool.flows().take((WARM_UP + self.packets) as usize).collect();
        let (warm_up, timed) = flows.split_at(WARM_UP as usize);
        for _ in 0..self.repeat {
            for (shape, bed) in &mut beds {
                let run = bed.flood(warm_up).and_then(|_| bed.flood(timed));
                let batches = run.with_context(|| format!("measure {shape}"))?;
                bed.forget_flows();
                let nanoseconds = batches.iter().map(|time| time.as_secs_f64() * 1e9).collect();
                // The median ignores batches that were interrupted.
                samples.entry(*shape).or_default().packet.push(spread::median(nanoseconds));
            }
        }
        Ok(())
    }

    fn chosen(&self) -> Vec<Shape> {
        match self.shapes.as_slice() {
            [] => Shape::value_variants().iter().copied().filter(|s| self.parts || !s.is_part()).collect(),
            some => some.to_vec(),
        }
    }

    fn report(&self, services: u32, samples: BTreeMap<Shape, Samples>) {
        let mut packets = BTreeMap::new();
        let mut times = spread::table(["services", "shape", "median", "min", "max", "load"]);
        for (shape, Samples { packet, load }) in samples {
            let spread = Spread::of(packet);
            times.add_row([
                services.to_string(),
                shape.to_string(),
                format!("{:.0} ns", spread.median),
                format!("{:.0} ns", spread.min),
                format!("{:.0} ns", spread.max),
                format!("{:.1} ms", spread::median(load)),
            ]);
            packets.insert(shape, spread.median);
        }
        println!("{}\n", spread::aligned(times));
        println!("{}\n", comparison::table(services, &packets));
    }
}

fn milliseconds(time: Duration) -> f64 {
    1000.0 * time.as_secs_f64()
}
