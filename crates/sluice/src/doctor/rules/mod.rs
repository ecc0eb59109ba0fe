//! Rules of other tables, and what they do to the first packet of a flow. Pure.
//!
//! The modules `nft` and `iptables` read a [`RuleTable`] from listings; [`RuleTable::verdicts`] evaluates it.

mod iptables;
mod nft;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Not;

use sluice_core::model::{Ports, Protocol};
use sluice_nft::Ip;

pub(crate) use iptables::from_iptables;
pub(crate) use nft::{from_nft, has_extensions};

/// Jumps that are followed; the kernel permits as many.
const DEPTH: usize = 16;

/// Whether a packet meets a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    No,
    Maybe,
    Yes,
}

impl Not for Answer {
    type Output = Answer;

    fn not(self) -> Answer {
        match self {
            Answer::No => Answer::Yes,
            Answer::Maybe => Answer::Maybe,
            Answer::Yes => Answer::No,
        }
    }
}

impl From<bool> for Answer {
    fn from(is: bool) -> Self {
        if is { Answer::Yes } else { Answer::No }
    }
}

/// The first packet of a flow, or of several with the same verdicts.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) ip: Ip,
    pub(crate) protocol: Protocol,
    pub(crate) source: End,
    pub(crate) destination: End,
    /// The destination to which the client sent it.
    pub(crate) original: End,
    /// Whether a NAT rule changed its destination.
    pub(crate) is_translated: bool,
}

/// Address and ports; `None`: unknown.
#[derive(Clone, Debug, Default)]
pub(crate) struct End {
    pub(crate) address: Option<IpAddr>,
    pub(crate) ports: Option<Ports>,
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Source,
    Destination,
    /// [`Packet::original`].
    Original,
}

/// A condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The IP version.
    Version(Ip),
    /// The transport protocol, by name.
    Protocol(String),
    /// First and last address.
    Addresses(Which, IpAddr, IpAddr),
    /// Ports.
    Ports(Which, Ports),
    /// The state in conntrack is `new`.
    New,
    /// Conntrack translated the destination.
    Translated,
    Any(Vec<Condition>),
    All(Vec<Condition>),
    Not(Box<Condition>),
    /// Anything else, such as the input interface.
    Other,
}

impl Condition {
    fn of(&self, packet: &Packet) -> Answer {
        match self {
            Condition::Version(ip) => (*ip == packet.ip).into(),
            Condition::Protocol(name) => (*name == packet.protocol.to_string()).into(),
            Condition::Addresses(which, first, last) => match packet.end(*which).address {
                _ if Ip::of(*first) != packet.ip => Answer::No,
                None => Answer::Maybe,
                Some(address) => (*first..=*last).contains(&address).into(),
            },
            Condition::Ports(which, ports) => match packet.end(*which).ports {
                None => Answer::Maybe,
                Some(own) if own.last < ports.first || ports.last < own.first => Answer::No,
                Some(own) if ports.first <= own.first && own.last <= ports.last => Answer::Yes,
                Some(_) => Answer::Maybe,
            },
            Condition::New => Answer::Yes,
            Condition::Translated => packet.is_translated.into(),
            Condition::Any(any) => any.iter().map(|it| it.of(packet)).max().unwrap_or(Answer::No),
            Condition::All(all) => all.iter().map(|it| it.of(packet)).min().unwrap_or(Answer::Yes),
            Condition::Not(condition) => !condition.of(packet),
            Condition::Other => Answer::Maybe,
        }
    }
}

impl Packet {
    fn end(&self, which: Which) -> &End {
        match which {
            Which::Source => &self.source,
            Which::Destination => &self.destination,
            Which::Original => &self.original,
        }
    }
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    /// Also with an answer.
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// To another destination.
    Translate,
    /// Past conntrack; the next rules follow.
    Untrack,
}

/// A rule with a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) verdict: Verdict,
}

/// Where packets enter a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BaseChain {
    pub(crate) name: String,
    pub(crate) hook: Hook,
    pub(crate) priority: i64,
    pub(crate) is_nat: bool,
    /// Its policy.
    pub(crate) policy: Verdict,
}

/// Hooks that packets of services pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Prerouting,
    Output,
    Forward,
}

impl Hook {
    fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "prerouting" => Some(Hook::Prerouting),
            "output" => Some(Hook::Output),
            "forward" => Some(Hook::Forward),
            _ => None,
        }
    }
}

/// Which program writes a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    Nft { family: String, table: String },
    Iptables { program: &'static str, table: String },
}

/// A table of another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleTable {
    pub(crate) writer: Writer,
    /// Later tables have larger ones; `None`: unknown.
    pub(crate) handle: Option<u64>,
    pub(crate) bases: Vec<BaseChain>,
    pub(crate) chains: BTreeMap<String, Vec<Rule>>,
}

/// Whether the rest of a chain is evaluated.
#[derive(PartialEq, Eq)]
enum Left {
    /// The caller goes on.
    Chain,
    /// A final verdict.
    All,
}

impl RuleTable {
    /// Its name, with a chain.
    pub(crate) fn name(&self, chain: &str) -> String {
        match &self.writer {
            Writer::Nft { family, table } => format!("table {family} {table}, chain {chain}"),
            Writer::Iptables { program, table } if table == "filter" => format!("{program}, chain {chain}"),
            Writer::Iptables { program, table } => format!("{program}, table {table}, chain {chain}"),
        }
    }

    /// Its name.
    pub(crate) fn title(&self) -> String {
        match &self.writer {
            Writer::Nft { family, table } => format!("table {family} {table}"),
            Writer::Iptables { program, table } => format!("{program}, table {table}"),
        }
    }

    /// The command that lists a chain.
    pub(crate) fn listing(&self, chain: &str) -> String {
        match &self.writer {
            Writer::Nft { family, table } => format!("nft -a list chain {family} {table} {chain}"),
            Writer::Iptables { program, table } => format!("{program} -t {table} -S {chain}"),
        }
    }

    /// The command that makes a chain accept translated flows.
    pub(crate) fn accept(&self, chain: &str) -> String {
        match &self.writer {
            Writer::Nft { family, table } => {
                format!("nft insert rule {family} {table} {chain} ct status dnat accept")
            }
            Writer::Iptables { program, .. } => {
                format!("{program} -I {chain} -m conntrack --ctstate DNAT -j ACCEPT")
            }
        }
    }

    /// The only IP version whose packets it sees.
    pub(crate) fn version(&self) -> Option<Ip> {
        match &self.writer {
            Writer::Nft { family, .. } if family == "ip" => Some(Ip::V4),
            Writer::Nft { family, .. } if family == "ip6" => Some(Ip::V6),
            Writer::Nft { .. } => None,
            Writer::Iptables { program, .. } if program.starts_with("ip6") => Some(Ip::V6),
            Writer::Iptables { .. } => Some(Ip::V4),
        }
    }

    /// Verdicts that a packet meets in a base chain, in order, and whether it meets each for certain. The first certain
    /// final verdict is the last one.
    pub(crate) fn verdicts<'a>(&'a self, base: &'a BaseChain, packet: &Packet) -> Vec<(&'a Verdict, bool)> {
        let mut met = vec![];
        if self.version().is_some_and(|version| version != packet.ip) {
            return met;
        }
        if self.walk(&base.name, packet, true, DEPTH, &mut met) == Left::Chain {
            met.push((&base.policy, true));
        }
        met
    }

    fn walk<'a>(
        &'a self,
        chain: &str,
        packet: &Packet,
        is_certain: bool,
        depth: usize,
        met: &mut Vec<(&'a Verdict, bool)>,
    ) -> Left {
        for rule in self.chains.get(chain).into_iter().flatten() {
            let answer = rule.conditions.iter().map(|it| it.of(packet)).min().unwrap_or(Answer::Yes);
            if answer == Answer::No {
                continue;
            }
            let certain = is_certain && answer == Answer::Yes;
            let left = match &rule.verdict {
                Verdict::Jump(target) | Verdict::Goto(target) => {
                    let Some(depth) = depth.checked_sub(1) else { continue };
                    match self.walk(target, packet, certain, depth, met) {
                        Left::Chain if matches!(rule.verdict, Verdict::Jump(_)) => continue,
                        left => left,
                    }
                }
                Verdict::Return => Left::Chain,
                Verdict::Untrack => {
                    met.push((&rule.verdict, certain));
                    continue;
                }
                Verdict::Accept | Verdict::Drop | Verdict::Translate => {
                    met.push((&rule.verdict, certain));
                    Left::All
                }
            };
            if answer == Answer::Yes {
                return left;
            }
        }
        Left::Chain
    }
}
