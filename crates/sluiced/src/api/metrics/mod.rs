//! Metrics for Prometheus.

mod host;
mod samples;

use std::fmt;
use std::sync::Arc;

use axum::body::Bytes;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use self::samples::Samples;
use crate::api::collector::{StatusSnapshot, Stopping, blocking};

/// Format of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format for an `Accept` header. Prometheus lists its preferred format first.
    pub(crate) fn of(accept: &str) -> Self {
        let kinds = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
        let known = kinds.filter_map(|kind| match kind {
            "application/openmetrics-text" => Some(Format::OpenMetrics),
            "text/plain" => Some(Format::Prometheus),
            _ => None,
        });
        known.into_iter().next().unwrap_or(Format::Prometheus)
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => prometheus_text::CONTENT_TYPE,
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl StatusSnapshot {
    /// All metrics.
    pub(crate) async fn metrics(self: &Arc<Self>, format: Format) -> Result<Bytes, Stopping> {
        let snapshot = self.clone();
        blocking(move || {
            let write = || snapshot.figures(format).into();
            snapshot.written(format).get_or_init(write).clone()
        })
        .await
    }

    /// The metrics of this snapshot.
    pub fn figures(self: &Arc<Self>, format: Format) -> String {
        write(self, format).expect("writing to a string cannot fail")
    }
}

fn write(snapshot: &Arc<StatusSnapshot>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("sluice");
    snapshot.view.timings.register(&mut registry);
    snapshot.view.board.register(&mut registry);
    registry.register_collector(Box::new(Samples(snapshot.clone())));
    let mut text = String::new();
    match format {
        Format::Prometheus => prometheus_text::encode(&mut text, &registry)?,
        Format::OpenMetrics => text::encode_registry(&mut text, &registry)?,
    }
    let mut process = Registry::default();
    process.register_collector(Box::new(host::Process::now()));
    match format {
        Format::Prometheus => prometheus_text::encode(&mut text, &process)?,
        Format::OpenMetrics => text::encode(&mut text, &process)?,
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_is_the_first_that_is_asked_for_and_known() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_eq!(Format::of(prometheus), Format::OpenMetrics);
        assert_eq!(Format::of("application/json, text/plain;version=0.0.4"), Format::Prometheus);
        assert_eq!([Format::of("*/*"), Format::of("")], [Format::Prometheus; 2]);
    }
}
