//! Which backends are in the table, and in which order.

use sluice_api::Status;

use super::column::{Column, Row};
use crate::rates::Rates;
use crate::status_text::word;

/// Where a backend is in the daemon's answer: its service, and its place there.
pub(super) type Place = (usize, usize);

/// What to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) by: Column,
    pub(super) reversed: bool,
}

pub(super) fn row(status: &Status, (service, backend): Place) -> Row<'_> {
    let service = &status.services[service];
    Row { service, backend: &service.backends[backend] }
}

/// All backends that the filter leaves, in order; those that are equal, as the daemon tells them.
pub(super) fn select(status: &Status, rates: &Rates, sort: Sort, filter: &str) -> Vec<Place> {
    let words: Vec<_> = filter.split_whitespace().map(str::to_lowercase).collect();
    let mut places: Vec<Place> = status
        .services
        .iter()
        .enumerate()
        .flat_map(|(index, service)| (0..service.backends.len()).map(move |backend| (index, backend)))
        .filter(|place| words.is_empty() || matches(row(status, *place), &words))
        .collect();
    // A stable sort.
    if sort.by != Column::Service {
        places.sort_by(|a, b| sort.by.compare(row(status, *a), row(status, *b), rates));
    }
    if sort.reversed {
        places.reverse();
    }
    places
}

/// Whether its names, address and state have all the words.
fn matches(Row { service, backend }: Row<'_>, words: &[String]) -> bool {
    let text =
        format!("{}/{} {} {}", service.name, backend.name, backend.address, word(backend)).to_lowercase();
    words.iter().all(|word| text.contains(word))
}
