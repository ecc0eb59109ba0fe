//! Generates configurations.

use std::fmt::{self, Write};
use std::net::Ipv4Addr;

use super::{Scheduler, Source};

/// The services of a measurement, all alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) source: Source,
    pub(crate) scheduler: Scheduler,
    pub(crate) services: u32,
}

impl Case {
    /// The text of a configuration in which all addresses of listeners and backends are different.
    pub(crate) fn config(self, backends: u32) -> String {
        let Case { source, scheduler, services } = self;
        let mut text = format!(
            "defaults: {{ scheduler: {}, source: {} }}\nservices:\n",
            scheduler.as_str(),
            source.as_str()
        );
        for service in 0..services {
            let listener = address([100, 64, 0, 1], service);
            write!(text, "  s{service}: {{ listen: {listener}:80, backends: [").expect("a string takes all");
            for backend in 0..backends {
                let separator = if backend == 0 { "" } else { ", " };
                let address = address([10, 0, 0, 1], service * backends + backend);
                write!(text, "{separator}{address}:8080").expect("a string takes all");
            }
            text.push_str("] }\n");
        }
        text
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {}", self.services, self.scheduler.as_str(), self.source.as_str())
    }
}

fn address(first: [u8; 4], offset: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::from(first)) + offset)
}
