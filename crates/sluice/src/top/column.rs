//! Columns: what is in them, how wide they are, and what they sort by.

use std::cmp::{Ordering, Reverse};

use sluice_api::{BackendStatus, ServiceStatus, Timestamp};

use crate::rates::Rates;
use crate::status_text::word;
use crate::text::{age, count, percent, rate};

/// A backend with its service.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) service: &'a ServiceStatus,
    pub(super) backend: &'a BackendStatus,
}

/// From left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Service,
    Backend,
    State,
    New,
    Active,
    Share,
    Weight,
    Since,
}

impl Column {
    pub(super) const ALL: [Column; 8] = [
        Column::Service,
        Column::Backend,
        Column::State,
        Column::New,
        Column::Active,
        Column::Share,
        Column::Weight,
        Column::Since,
    ];

    /// Which go first where there is no room.
    const EXPENDABLE: [Column; 6] =
        [Column::Weight, Column::Since, Column::Share, Column::Active, Column::New, Column::State];

    pub(super) fn title(self) -> &'static str {
        match self {
            Column::Service => "SERVICE",
            Column::Backend => "BACKEND",
            Column::State => "STATE",
            Column::New => "NEW/S",
            Column::Active => "ACTIVE",
            Column::Share => "SHARE",
            Column::Weight => "WEIGHT",
            Column::Since => "SINCE",
        }
    }

    pub(super) fn next(self) -> Self {
        let at = Self::ALL.iter().position(|column| *column == self).unwrap_or_default();
        Self::ALL[(at + 1) % Self::ALL.len()]
    }

    pub(super) fn is_number(self) -> bool {
        !matches!(self, Column::Service | Column::Backend | Column::State)
    }

    pub(super) fn cell(self, row: Row<'_>, rates: &Rates, now: Timestamp) -> String {
        let Row { service, backend } = row;
        match self {
            Column::Service => service.name.clone(),
            Column::Backend => backend.name.clone(),
            Column::State => word(backend).to_owned(),
            Column::New => rate(rates.of(&service.name, &backend.name)),
            Column::Active => count(backend.active),
            Column::Share => percent(backend.share),
            Column::Weight => backend.weight.to_string(),
            Column::Since => age(now, backend.since),
        }
    }

    /// Names by letter, states from bad to good, numbers from large to small, what changed last before what is as it
    /// was; services as the daemon tells them.
    pub(super) fn compare(self, a: Row<'_>, b: Row<'_>, rates: &Rates) -> Ordering {
        let new = |row: Row<'_>| rates.of(&row.service.name, &row.backend.name).unwrap_or(-1.0);
        match self {
            Column::Service => Ordering::Equal,
            Column::Backend => a.backend.name.cmp(&b.backend.name),
            Column::State => rank(a.backend).cmp(&rank(b.backend)),
            Column::New => new(b).total_cmp(&new(a)),
            Column::Active => b.backend.active.cmp(&a.backend.active),
            Column::Share => b.backend.share.total_cmp(&a.backend.share),
            Column::Weight => b.backend.weight.cmp(&a.backend.weight),
            Column::Since => Reverse(a.backend.since).cmp(&Reverse(b.backend.since)),
        }
    }

    /// Columns of the two names are as wide as they must be, as long as there is room.
    fn width(self) -> u16 {
        match self {
            Column::Service | Column::Backend => 0,
            Column::State => 12,
            _ => 7,
        }
    }
}

/// From bad to good.
fn rank(backend: &BackendStatus) -> usize {
    let order = ["unhealthy", "not eligible", "full", "disabled", "drain", "drained", "eligible", "healthy"];
    order.iter().position(|word_of| *word_of == word(backend)).unwrap_or(order.len())
}

/// Columns that fit into so many, and how wide each is. `longest` are the longest names of a service and of a backend.
pub(super) fn fit(width: u16, longest: (usize, usize)) -> Vec<(Column, u16)> {
    let needed =
        |name: usize, title: Column| u16::try_from(name.max(title.title().len() + 1)).unwrap_or(u16::MAX);
    let (service, backend) = (needed(longest.0, Column::Service), needed(longest.1, Column::Backend));
    let mut columns = Column::ALL.to_vec();
    // What is left for the names, with a space before each column but the first.
    let room = |columns: &[Column]| {
        let others: u16 = columns.iter().map(|column| column.width() + 1).sum();
        (width + 1).saturating_sub(others)
    };
    for column in Column::EXPENDABLE {
        // States and connection rates are more important than the end of a name.
        let enough = if [Column::State, Column::New].contains(&column) { 14 } else { 24 };
        if room(&columns) < service.saturating_add(backend).min(enough) {
            columns.retain(|it| *it != column);
        }
    }
    let room = room(&columns);
    let of_backend = backend.min((room * 3 / 5).max(room.saturating_sub(service)));
    let of_service = service.min(room - of_backend);
    let width = |column: &Column| match column {
        Column::Service => of_service,
        Column::Backend => of_backend,
        column => column.width(),
    };
    columns.iter().map(|column| (*column, width(column))).collect()
}
