//! The rulesets that are compared.

use std::fmt;

use clap::ValueEnum;
use sluice_core::render::Rendered;

use super::pool::Pool;
use super::{edit, foreign};

/// A measured ruleset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Shape {
    /// Connection tracking, no translation
    Forward,
    /// A single `dnat` for all services
    Dnat,
    /// The same and a plain `masquerade`
    DnatMasquerade,
    /// A rule per backend: the corrected iptables recipe
    Linear,
    /// kube-proxy's: a chain per service and a chain per endpoint
    KubeProxy,
    /// sluice, `source: preserve`
    Random,
    RoundRobin,
    SourceHash,
    /// sluice, `source: masquerade`
    RandomMasquerade,
    RoundRobinMasquerade,
    SourceHashMasquerade,
    /// The same as text, loaded by nft
    RandomText,
    RoundRobinText,
    RandomMasqueradeText,
    RandomTcpText,
    RandomAdoptText,
    /// The text without a part, or with another one
    RandomNoCounters,
    RandomNoOutput,
    RandomNoVmap,
    RandomSized,
    RandomUnsized,
    RoundRobinNoCounters,
    RoundRobinNoOutput,
    RoundRobinSized,
    RoundRobinUnsized,
    RandomMasqueradeKeepPorts,
    RandomMasqueradeNoSet,
    RandomMasqueradeSized,
    RandomMasqueradeUnsized,
    RandomTcpNoMidstream,
    RandomAdoptNoAnswers,
    /// sluice, `source: preserve`, with a guard or affinity
    RandomAllow,
    RandomDeny,
    RandomAllowDeny,
    RandomInvalid,
    RandomLimits,
    RandomAffinity,
}

/// How a ruleset is loaded.
pub(super) enum Ruleset {
    /// By `nft -f`.
    Text(String),
    /// By sluice's own batches.
    Sluice(Box<Rendered>),
}

impl Shape {
    pub(super) fn ruleset(self, pool: Pool) -> anyhow::Result<Ruleset> {
        let rendered = |scheduler, source| pool.render(scheduler, source, self.protocol());
        let sluice = |scheduler, source| {
            rendered(scheduler, source).map(|rendered| Ruleset::Sluice(Box::new(rendered)))
        };
        let text = |scheduler, source, edit: fn(&str) -> String| {
            rendered(scheduler, source).map(|r| Ruleset::Text(edit(&r.table.to_string())))
        };
        match self {
            Shape::Forward => Ok(Ruleset::Text(foreign::forward())),
            Shape::Dnat => Ok(Ruleset::Text(foreign::dnat())),
            Shape::DnatMasquerade => Ok(Ruleset::Text(foreign::dnat_masquerade())),
            Shape::Linear => Ok(Ruleset::Text(foreign::linear(pool))),
            Shape::KubeProxy => Ok(Ruleset::Text(foreign::kube_proxy(pool))),
            Shape::Random => sluice("random", "preserve"),
            Shape::RoundRobin => sluice("round-robin", "preserve"),
            Shape::SourceHash => sluice("source-hash", "preserve"),
            Shape::RandomMasquerade => sluice("random", "masquerade"),
            Shape::RoundRobinMasquerade => sluice("round-robin", "masquerade"),
            Shape::SourceHashMasquerade => sluice("source-hash", "masquerade"),
            Shape::RandomText => text("random", "preserve", str::to_owned),
            Shape::RoundRobinText => text("round-robin", "preserve", str::to_owned),
            Shape::RandomMasqueradeText => text("random", "masquerade", str::to_owned),
            Shape::RandomTcpText => text("random", "preserve", str::to_owned),
            Shape::RandomAdoptText => text("random", "preserve, midstream: adopt", str::to_owned),
            Shape::RandomAdoptNoAnswers => {
                text("random", "preserve, midstream: adopt", edit::without_answers)
            }
            Shape::RandomTcpNoMidstream => text("random", "preserve", edit::without_midstream),
            Shape::RandomNoCounters => text("random", "preserve", edit::without_element_counters),
            Shape::RandomNoOutput => text("random", "preserve", edit::without_output),
            Shape::RandomNoVmap => text("random", "preserve", edit::without_vmap),
            Shape::RandomSized => text("random", "preserve", edit::sized),
            Shape::RandomUnsized => text("random", "preserve", edit::unsized_),
            Shape::RoundRobinNoCounters => text("round-robin", "preserve", edit::without_element_counters),
            Shape::RoundRobinNoOutput => text("round-robin", "preserve", edit::without_output),
            Shape::RoundRobinSized => text("round-robin", "preserve", edit::sized),
            Shape::RoundRobinUnsized => text("round-robin", "preserve", edit::unsized_),
            Shape::RandomMasqueradeKeepPorts => text("random", "masquerade", edit::keeping_ports),
            Shape::RandomMasqueradeNoSet => text("random", "masquerade", edit::masquerading_all),
            Shape::RandomMasqueradeSized => text("random", "masquerade", edit::sized),
            Shape::RandomMasqueradeUnsized => text("random", "masquerade", edit::unsized_),
            Shape::RandomAllow => sluice("random", "preserve, invalid: accept, allow: [198.18.0.0/15]"),
            Shape::RandomDeny => sluice("random", "preserve, invalid: accept, deny: [192.0.2.66]"),
            Shape::RandomAllowDeny => {
                sluice("random", "preserve, invalid: accept, allow: [198.18.0.0/15], deny: [192.0.2.66]")
            }
            Shape::RandomInvalid => sluice("random", "preserve, invalid: drop"),
            Shape::RandomLimits => sluice(
                "random",
                "preserve, invalid: accept, limits: {new_connections_per_client: 10000000/second burst 10000000}",
            ),
            Shape::RandomAffinity => sluice("random", "preserve, affinity: 10m"),
        }
    }

    /// Whether it measures the cost of one part.
    pub(super) fn is_part(self) -> bool {
        self >= Shape::RandomNoCounters
    }

    /// The protocol of the flows; those of TCP are SYNs.
    pub(super) fn protocol(self) -> &'static str {
        use Shape::*;
        match self {
            RandomTcpText | RandomTcpNoMidstream | RandomAdoptText | RandomAdoptNoAnswers => "tcp",
            _ => "udp",
        }
    }

    /// Whether backends see the address of the balancer.
    pub(super) fn masquerades(self) -> bool {
        self.to_string().contains("masquerade")
    }

    /// With more services, loading takes too long.
    pub(super) fn most_services(self) -> u32 {
        match self {
            Shape::Linear => 1000,
            Shape::KubeProxy => 5000,
            _ => u32::MAX,
        }
    }
}

/// As on the command line.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no shape is skipped").get_name())
    }
}
