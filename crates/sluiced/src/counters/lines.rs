//! Encodes and decodes `totals.jsonl`: a head line, then one line per flow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sluice_core::model::{Address, BackendName, DropReason, Listener, Ports, Protocol, ServiceName};
use sluice_core::render::owner::Flow;

use crate::counters::totals::Totals;

const VERSION: u32 = 2;

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
}

/// Every other line: the totals of one flow.
#[derive(Serialize, Deserialize)]
struct Line {
    service: String,
    /// `null` for any address.
    address: Option<IpAddr>,
    ports: (u16, u16),
    protocol: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dropped: Option<String>,
    /// Counts of deleted elements.
    base: u64,
    /// Counts of existing elements.
    live: u64,
}

/// The whole file, without outdated lines.
pub(super) fn whole(totals: &Totals) -> Vec<u8> {
    let mut text = serde_json::to_vec(&Head { version: VERSION }).expect("writing to a vector cannot fail");
    text.push(b'\n');
    text.extend(lines(totals, None));
    text
}

/// The lines of some services, or of all.
pub(super) fn lines(totals: &Totals, services: Option<&BTreeSet<ServiceName>>) -> Vec<u8> {
    let mut text = vec![];
    for (flow, (base, live)) in totals.counted().parts(services) {
        serde_json::to_writer(&mut text, &Line::of(flow, base, live))
            .expect("writing to a vector cannot fail");
        text.push(b'\n');
    }
    text
}

/// Base and live count by flow.
type Counts = BTreeMap<Flow, (u64, u64)>;

/// The content of the lines, and the number of invalid lines.
///
/// # Errors
/// If the text has another version.
pub(super) fn read(text: &str) -> Result<(Counts, usize), String> {
    let mut lines = text.split_inclusive('\n');
    let (mut found, mut ignored) = (BTreeMap::new(), 0);
    match serde_json::from_str::<Head>(lines.next().unwrap_or_default()) {
        Ok(Head { version: VERSION }) => {}
        Ok(Head { version }) => return Err(format!("unknown format version {version}")),
        // A damaged head is counted like any other damaged line.
        Err(_) => ignored += 1,
    }
    // A line without a newline was being written when the daemon ended; the previous one is nearly equal.
    for line in lines.filter(|line| line.ends_with('\n')) {
        match serde_json::from_str::<Line>(line).ok().and_then(Line::parse) {
            Some((flow, counts)) => drop(found.insert(flow, counts)),
            None => ignored += 1,
        }
    }
    Ok((found, ignored))
}

impl Line {
    fn of(flow: &Flow, base: u64, live: u64) -> Self {
        let Flow { service, listener: Listener { address, ports, protocol }, backend, dropped } = flow;
        Line {
            service: service.to_string(),
            address: match address {
                Address::Any => None,
                Address::Exact(address) => Some(*address),
            },
            ports: (ports.first, ports.last),
            protocol: protocol.to_string(),
            backend: backend.as_ref().map(ToString::to_string),
            dropped: dropped.map(|reason| reason.as_str().to_owned()),
            base,
            live,
        }
    }

    fn parse(self) -> Option<(Flow, (u64, u64))> {
        let reason = |text: String| DropReason::ALL.into_iter().find(|reason| reason.as_str() == text);
        let listener = Listener {
            address: self.address.map_or(Address::Any, Address::Exact),
            ports: Ports { first: self.ports.0, last: self.ports.1 },
            protocol: Protocol::from_name(&self.protocol)?,
        };
        let flow = Flow {
            service: ServiceName::new(&self.service).ok()?,
            listener,
            backend: self
                .backend
                .map(|name| BackendName::new(&name).ok())
                .map_or(Some(None), |it| it.map(Some))?,
            dropped: self.dropped.map(reason).map_or(Some(None), |it| it.map(Some))?,
        };
        Some((flow, (self.base, self.live)))
    }
}
