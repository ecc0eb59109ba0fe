//! docs/monitoring.md: its tables.

use std::collections::{BTreeMap, BTreeSet};

/// What the page says there is.
pub(crate) struct Page {
    /// By name, as in the text format.
    pub(crate) metrics: BTreeMap<String, Metric>,
    pub(crate) alerts: BTreeSet<String>,
}

pub(crate) struct Metric {
    is_histogram: bool,
    labels: BTreeSet<String>,
}

impl Page {
    pub(crate) fn read() -> Self {
        let text = crate::read("monitoring.md");
        let cells =
            |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| `")).map(cells).collect();
        let (metrics, alerts): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.len() == 7);
        let metric = |row: Vec<String>| {
            assert!(["counter", "gauge", "histogram"].contains(&&*row[2]), "{row:?}");
            assert!(!row[5].is_empty(), "{row:?}");
            let labels = quoted(&row[3]);
            (quoted(&row[1]).pop_first().unwrap(), Metric { is_histogram: row[2] == "histogram", labels })
        };
        let page = Page {
            metrics: metrics.into_iter().map(metric).collect(),
            alerts: alerts.iter().flat_map(|row| quoted(&row[1])).collect(),
        };
        assert!(!page.metrics.is_empty() && !page.alerts.is_empty());
        page
    }

    /// The name of a metric in the page, and the labels that its series have; `None`: it is not there.
    pub(crate) fn labels(&self, series: &str) -> Option<(&str, BTreeSet<String>)> {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            let name = series.strip_suffix(end)?;
            self.metrics.get_key_value(name).filter(|(_, metric)| metric.is_histogram)
        });
        let plain = || self.metrics.get_key_value(series).filter(|(_, metric)| !metric.is_histogram);
        let (name, metric) = histogram.or_else(plain)?;
        let mut labels = metric.labels.clone();
        labels.extend(["job", "instance"].map(str::to_owned));
        labels.extend(series.ends_with("_bucket").then(|| "le".to_owned()));
        Some((name, labels))
    }

    pub(crate) fn all_labels(&self) -> BTreeSet<String> {
        let own = self.metrics.values().flat_map(|metric| metric.labels.iter().cloned());
        own.chain(["job", "instance", "le"].map(str::to_owned)).collect()
    }
}

/// What stands between backquotes.
fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
