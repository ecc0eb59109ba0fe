//! Medians and ratios.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};

use super::Scheduler;
use super::once::Took;

/// Measurements by scheduler and number of services.
#[derive(Default)]
pub(crate) struct Figures(BTreeMap<(Scheduler, u32), Vec<(Took, f64)>>);

impl Figures {
    /// Adds one round; `nft` in milliseconds.
    pub(crate) fn add(&mut self, scheduler: Scheduler, services: u32, took: Took, nft: f64) {
        self.0.entry((scheduler, services)).or_default().push((took, nft));
    }

    /// One line a scheduler and size. `x2` is how much longer the apply takes for twice the services,
    /// taken from the line above.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "scheduler",
            "services",
            "load",
            "render",
            "diff",
            "commit",
            "cold apply",
            "nft -f",
            "ratio",
            "x2",
        ]);
        let mut smaller: Option<(Scheduler, u32, f64)> = None;
        for (&(scheduler, services), rounds) in &self.0 {
            let median_of = |part: fn(&(Took, f64)) -> f64| median(rounds.iter().map(part).collect());
            let apply = median_of(|(took, _)| took.apply());
            let nft = median_of(|(_, nft)| *nft);
            let growth = smaller.filter(|(same, ..)| *same == scheduler).map(|(_, fewer, less)| {
                (apply / less).powf(1.0 / (f64::from(services) / f64::from(fewer)).log2())
            });
            table.add_row([
                scheduler.as_str().to_owned(),
                services.to_string(),
                milliseconds(median_of(|(took, _)| took.load)),
                milliseconds(median_of(|(took, _)| took.render)),
                milliseconds(median_of(|(took, _)| took.diff)),
                milliseconds(median_of(|(took, _)| took.commit)),
                milliseconds(apply),
                milliseconds(nft),
                format!("{:.2}", apply / nft),
                growth.map_or(String::new(), |growth| format!("{growth:.2}")),
            ]);
            smaller = Some((scheduler, services, apply));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{table}\n")
    }
}

fn milliseconds(value: f64) -> String {
    format!("{value:.1} ms")
}

/// The middle, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(vec![4.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn table_for_four_times_the_services_shows_growth_per_doubling() {
        let took = |commit| Took { load: 1.0, render: 0.0, diff: 0.0, commit };
        let mut figures = Figures::default();
        figures.add(Scheduler::Random, 1000, took(10.0), 40.0);
        figures.add(Scheduler::Random, 4000, took(90.0), 100.0);
        let table = figures.table();
        let last: Vec<_> = table.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last[last.len() - 2..], ["0.90", "3.00"]);
    }
}
