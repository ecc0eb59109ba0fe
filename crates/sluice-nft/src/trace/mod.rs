//! [`Tracer`]: runs a virtual packet, the first of a flow, through the hooks of a table as the kernel would.
//!
//! Source: net/netfilter/nf_tables_core.c (`nft_do_chain`), nft_lookup.c, nft_nat.c, nft_synproxy.c,
//! nft_numgen.c, nft_hash.c and nf_nat_core.c (`nf_nat_inet_fn`).

mod interleavings;
mod load;
mod packet;
mod run;

use std::collections::BTreeMap;
use std::net::SocketAddr;

pub use packet::{Host, Ingress, Packet};

use crate::{ChainName, Key, Rule, SetName, Table};

/// Runs packets, and keeps the state that the kernel keeps from one packet to the next.
#[derive(Clone, Debug, Default)]
pub struct Tracer {
    host: Host,
    counters: RoundRobinCounters,
}

/// Last number of each `numgen inc`, by chain and rule index. The rule is stored to detect that another one
/// replaced it, whose counter starts again. A rule has at most one generator.
type RoundRobinCounters = BTreeMap<(ChainName, usize), (Rule, u32)>;

impl Tracer {
    /// A tracer on a host with these addresses, with all round-robin counters at their start.
    pub fn new(host: Host) -> Self {
        Tracer { host, counters: RoundRobinCounters::new() }
    }

    /// Runs a packet through `table`.
    ///
    /// The kernel must accept the table: a missing chain acts like one without rules, and a missing set like one
    /// without elements.
    pub fn trace(&mut self, table: &Table, packet: &Packet) -> Trace {
        self.trace_across(&[table], packet, || 0)
    }

    /// Runs a packet while commits happen: `tables` are the rulesets of successive generations, at least one.
    ///
    /// A commit is atomic for each lookup, not for each packet. At each point where the kernel reads the current
    /// ruleset (base chain, chain entry, lookup), `advance` returns the number of further commits
    /// that have happened by then. The kernel keeps two copies of the rules, and a packet reads the copy with which
    /// its base chain began: a chain that was added later is still empty for it.
    ///
    /// A chain or set that is deleted while a packet uses it counts as empty, which is the worst
    /// that the kernel may do. This also holds if another one with another declaration has its name by then.
    ///
    /// # Panics
    /// Without tables.
    pub fn trace_across(
        &mut self,
        tables: &[&Table],
        packet: &Packet,
        mut advance: impl FnMut() -> usize,
    ) -> Trace {
        run::Run::new(self, tables, packet, &mut advance).finish()
    }

    /// Runs a packet through successive generations with every interleaving of their commits and its reads,
    /// each from the current state of the round-robin counters, which does not change.
    ///
    /// # Panics
    /// Without tables.
    pub fn trace_interleavings(&self, tables: &[&Table], packet: &Packet) -> Vec<Trace> {
        interleavings::every_interleaving(tables.len() - 1, |advance| {
            self.clone().trace_across(tables, packet, advance)
        })
    }

    /// Resets the counters of a chain's rules, as writing the rules again does.
    pub fn reset_counters(&mut self, chain: &ChainName) {
        self.counters.retain(|(of, _), _| of != chain);
    }
}

/// The outcome of a packet, and the statements that it matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The outcome.
    pub outcome: Outcome,
    /// Every statement that matched or had an effect, in order.
    pub visits: Vec<Visit>,
}

/// The outcome of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passes, with a translated destination.
    Translated {
        /// The new destination.
        to: SocketAddr,
        /// Whether its source is translated.
        masqueraded: bool,
    },
    /// It passes, with its original destination.
    Untranslated {
        /// Whether its source is translated.
        masqueraded: bool,
    },
    /// A backend sent it, and it passes with the address and port of a listener.
    Answered {
        /// The listener.
        from: SocketAddr,
    },
    /// It was dropped.
    Dropped,
    /// It was answered with a TCP reset.
    Reset,
    /// It was answered with port unreachable.
    Unreachable,
}

/// A statement that matched, found its key, or gave a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Chain of the rule.
    pub chain: ChainName,
    /// Index of the rule in its chain.
    pub rule: usize,
    /// Index of the statement in its rule.
    pub statement: usize,
    /// The element that the lookup found.
    pub element: Option<(SetName, Key)>,
}
