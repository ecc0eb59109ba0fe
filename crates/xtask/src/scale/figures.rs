//! Medians and ratios of measurements.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};

use super::generate::Case;
use super::once::Took;

/// Measurements by case.
#[derive(Default)]
pub(crate) struct Figures(BTreeMap<Case, Vec<(Took, f64)>>);

impl Figures {
    /// Adds one round; `nft` in milliseconds.
    pub(crate) fn add(&mut self, case: Case, took: Took, nft: f64) {
        self.0.entry(case).or_default().push((took, nft));
    }

    /// The measured cases.
    pub(crate) fn cases(&self) -> impl Iterator<Item = Case> {
        self.0.keys().copied()
    }

    /// Milliseconds from the model to the commit.
    pub(crate) fn apply(&self, case: Case) -> f64 {
        self.median(case, |(took, _)| took.apply())
    }

    /// Milliseconds of `nft -f`.
    pub(crate) fn nft(&self, case: Case) -> f64 {
        self.median(case, |(_, nft)| *nft)
    }

    /// Milliseconds from the text to the ruleset in memory.
    pub(crate) fn load_and_render(&self, case: Case) -> f64 {
        self.median(case, |(took, _)| took.load + took.render)
    }

    /// Growth of the duration of an apply for twice the services, relative to the next smaller case.
    pub(crate) fn growth(&self, case: Case) -> Option<f64> {
        let same = |other: &Case| (other.source, other.scheduler) == (case.source, case.scheduler);
        let (smaller, _) = self.0.range(..case).next_back().filter(|(other, _)| same(other))?;
        let doublings = (f64::from(case.services) / f64::from(smaller.services)).log2();
        Some((self.apply(case) / self.apply(*smaller)).powf(1.0 / doublings))
    }

    /// One line per case. `x2` is [`Figures::growth`].
    pub(crate) fn table(&self) -> Table {
        let heading = [
            "source",
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
        ];
        let mut table = table(&heading, 2);
        for case in self.cases() {
            table.add_row([
                case.source.as_str().to_owned(),
                case.scheduler.as_str().to_owned(),
                case.services.to_string(),
                milliseconds(self.median(case, |(took, _)| took.load)),
                milliseconds(self.median(case, |(took, _)| took.render)),
                milliseconds(self.median(case, |(took, _)| took.diff)),
                milliseconds(self.median(case, |(took, _)| took.commit)),
                milliseconds(self.apply(case)),
                milliseconds(self.nft(case)),
                format!("{:.2}", self.apply(case) / self.nft(case)),
                self.growth(case).map_or(String::new(), |growth| format!("{growth:.2}")),
            ]);
        }
        table
    }

    fn median(&self, case: Case, part: fn(&(Took, f64)) -> f64) -> f64 {
        median(self.0[&case].iter().map(part).collect())
    }
}

/// A table: the first columns are names, the others are numbers.
pub(crate) fn table(heading: &[&str], names: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(heading);
    for column in table.column_iter_mut().skip(names) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(crate) fn milliseconds(value: f64) -> String {
    format!("{value:.0} ms")
}

/// The median; the mean of the two values in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Scheduler, Source};
    use super::*;

    #[test]
    fn median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(vec![4.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn growth_for_four_times_the_services_is_per_doubling_and_within_a_scheduler() {
        let took = |commit| Took { load: 1.0, render: 0.0, diff: 0.0, commit };
        let case = |scheduler, services| Case { source: Source::Masquerade, scheduler, services };
        let mut figures = Figures::default();
        figures.add(case(Scheduler::Random, 1000), took(10.0), 40.0);
        figures.add(case(Scheduler::Random, 4000), took(90.0), 100.0);
        figures.add(case(Scheduler::RoundRobin, 4000), took(90.0), 100.0);
        assert_eq!(figures.growth(case(Scheduler::Random, 4000)), Some(3.0));
        assert_eq!(figures.growth(case(Scheduler::RoundRobin, 4000)), None);
    }
}
