//! Ratios between shapes, and their targets.

use std::collections::BTreeMap;

use comfy_table::Table;

use super::shape::Shape;
use super::spread;

/// Maximum ratio to a hand-written ruleset of the same shape.
const BY_HAND: f64 = 1.05;

/// The shapes that are compared.
const PAIRS: [(Shape, Shape); 43] = {
    use Shape::*;
    [
        (Dnat, Forward),
        (DnatMasquerade, Dnat),
        (Linear, Dnat),
        (KubeProxy, Dnat),
        (Random, Dnat),
        (RoundRobin, Dnat),
        (SourceHash, Dnat),
        (RandomMasquerade, DnatMasquerade),
        (RoundRobinMasquerade, DnatMasquerade),
        (SourceHashMasquerade, DnatMasquerade),
        (Random, RandomText),
        (RoundRobin, RoundRobinText),
        (RandomMasquerade, RandomMasqueradeText),
        (Random, KubeProxy),
        (RoundRobin, KubeProxy),
        (SourceHash, KubeProxy),
        (RandomText, Dnat),
        (RandomNoCounters, RandomText),
        (RandomNoOutput, RandomText),
        (RandomNoVmap, RandomText),
        (RandomSized, RandomText),
        (RandomUnsized, RandomText),
        (RandomSized, RandomUnsized),
        (RoundRobinNoCounters, RoundRobinText),
        (RoundRobinNoOutput, RoundRobinText),
        (RoundRobinSized, RoundRobinText),
        (RoundRobinUnsized, RoundRobinText),
        (RoundRobinSized, RoundRobinUnsized),
        (RandomMasqueradeKeepPorts, RandomMasqueradeText),
        (RandomMasqueradeNoSet, RandomMasqueradeText),
        (RandomMasqueradeSized, RandomMasqueradeText),
        (RandomMasqueradeUnsized, RandomMasqueradeText),
        (RandomMasqueradeSized, RandomMasqueradeUnsized),
        (RandomTcpNoMidstream, RandomTcpText),
        (RandomAdoptNoAnswers, RandomAdoptText),
        (RandomSized, Dnat),
        (RoundRobinSized, Dnat),
        (RandomAllow, Random),
        (RandomDeny, Random),
        (RandomAllowDeny, Random),
        (RandomInvalid, Random),
        (RandomLimits, Random),
        (RandomAffinity, Random),
    ]
};

/// Ratios of the measured nanoseconds per packet, with their targets.
pub(super) fn table(services: u32, packets: &BTreeMap<Shape, f64>) -> Table {
    let mut table = spread::table(["services", "shape", "against", "ratio", "bar", ""]);
    for (shape, against) in PAIRS {
        let (Some(one), Some(other)) = (packets.get(&shape), packets.get(&against)) else { continue };
        let (ratio, bar) = (one / other, bar(shape, against, services));
        table.add_row([
            services.to_string(),
            shape.to_string(),
            against.to_string(),
            format!("{ratio:.3}"),
            bar.map_or(String::new(), |bar| format!("{bar:.2}")),
            bar.map_or("", |bar| if ratio <= bar { "reached" } else { "missed" }).to_owned(),
        ]);
    }
    spread::aligned(table)
}

fn bar(shape: Shape, against: Shape, services: u32) -> Option<f64> {
    use Shape::*;
    match (shape, against, services) {
        (Random | RoundRobin | SourceHash, Dnat, 1) => Some(1.15),
        (Random | SourceHash, Dnat, 5000) => Some(1.22),
        (RoundRobin, Dnat, 5000) => Some(1.28),
        (RandomMasquerade | RoundRobinMasquerade | SourceHashMasquerade, DnatMasquerade, 1) => Some(1.05),
        (RandomMasquerade | RoundRobinMasquerade | SourceHashMasquerade, DnatMasquerade, 5000) => Some(1.25),
        (Random, RandomText, _)
        | (RoundRobin, RoundRobinText, _)
        | (RandomMasquerade, RandomMasqueradeText, _) => Some(BY_HAND),
        (Random | RoundRobin | SourceHash, KubeProxy, _) => Some(1.0),
        (RandomAllow | RandomDeny | RandomAllowDeny, Random, _) => Some(1.10),
        (RandomAffinity, Random, _) => Some(1.15),
        _ => None,
    }
}
