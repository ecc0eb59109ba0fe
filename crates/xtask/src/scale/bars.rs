//! Targets of the measurements.

use comfy_table::Table;

use super::change::Changes;
use super::figures::{self, Figures, milliseconds};
use super::generate::Case;
use super::memory::Memory;
use super::{Scheduler, Source};

/// Largest number of services that must scale linearly.
const LINEAR: u32 = 20_000;
/// Number of services with absolute targets.
const MANY: u32 = 50_000;

/// Measured values with their targets.
pub(crate) fn table(figures: &Figures, changes: &Changes, memory: Memory, heaviest: Case) -> Table {
    let mut table = figures::table(&["figure", "measured", "bar", ""], 1);
    let mut add = |figure: String, measured: f64, bar: f64, text: fn(f64) -> String| {
        let reached = if measured <= bar { "reached" } else { "missed" };
        table.add_row([figure, text(measured), text(bar), reached.to_owned()]);
    };
    for case in figures.cases().filter(|case| case.services == MANY) {
        let apply = if case.source == Source::Masquerade { 1500.0 } else { 1000.0 };
        add(format!("cold apply of {case}"), figures.apply(case), apply, milliseconds);
        if case.source == Source::Masquerade {
            add(format!("{case}: against nft -f"), figures.apply(case) / figures.nft(case), 0.35, ratio);
            add(format!("{case}: load and render"), figures.load_and_render(case), 2000.0, milliseconds);
        }
    }
    let ten_thousand = |case: &Case| case.scheduler == Scheduler::RoundRobin && case.services == 10_000;
    for case in figures.cases().filter(ten_thousand) {
        add(format!("cold apply of {case}"), figures.apply(case), 1000.0, milliseconds);
    }
    for case in figures.cases().filter(|case| case.services <= LINEAR) {
        if let Some(growth) = figures.growth(case) {
            add(format!("cold apply of {case}: against half of it"), growth, 2.6, ratio);
        }
    }
    for (case, took) in changes.iter() {
        let other = match case.services {
            10_000 => 5.0,
            MANY => 25.0,
            _ => continue,
        };
        let tenths = |value| format!("{value:.1} ms");
        add(format!("{case}: one backend, other slots"), took.other_slots.committed, other, tenths);
        if case.services == MANY {
            add(format!("{case}: one backend, same slots"), took.same_slots.committed, 2.0, tenths);
        }
    }
    if heaviest.services == MANY {
        add(format!("daemon at {heaviest}"), memory.resident(), 150.0, |mib| format!("{mib:.0} MiB"));
    }
    table
}

fn ratio(value: f64) -> String {
    format!("{value:.2}")
}
