//! A virtual packet through a table, as the kernel would take it: the first packet of a flow, hook by hook.
//!
//! Source: net/netfilter/nf_tables_core.c (`nft_do_chain`), nft_lookup.c, nft_nat.c, nft_synproxy.c,
//! nft_numgen.c, nft_hash.c and nf_nat_core.c (`nf_nat_inet_fn`).

mod load;
mod packet;
mod run;
mod ways;

use std::collections::BTreeMap;
use std::net::SocketAddr;

pub use packet::{Entry, Host, Packet};

use crate::{ChainName, Key, Rule, SetName, Table};

/// Runs packets, and remembers what the kernel remembers from one packet to the next.
#[derive(Clone, Debug, Default)]
pub struct Tracer {
    host: Host,
    counters: Counters,
}

/// Last number each `numgen inc` gave, by chain and rule index. The rule is kept to notice that another one
/// took its place, which starts anew. A rule holds one generator at most.
type Counters = BTreeMap<(ChainName, usize), (Rule, u32)>;

impl Tracer {
    /// A tracer on a host with these addresses, all round-robin counters at their start.
    pub fn new(host: Host) -> Self {
        Tracer { host, counters: Counters::new() }
    }

    /// Runs a packet through `table`.
    ///
    /// The table is one that the kernel would take: a name that leads nowhere is met like a chain without
    /// rules or a set without elements.
    pub fn trace(&mut self, table: &Table, packet: &Packet) -> Trace {
        self.trace_across(&[table], packet, || 0)
    }

    /// Runs a packet while commits happen: `tables` are the rulesets of successive generations, at least one.
    ///
    /// A commit is atomic for each lookup, not for each packet. So whenever the kernel would look at the
    /// ruleset anew, at each base chain, chain entry and lookup, `advance` says how many more of the commits
    /// have happened by then. The rules themselves are kept in two copies, and a packet reads the copy that
    /// its base chain began with: a chain that came into being after that is still empty for it.
    ///
    /// A chain or set deleted under a packet that was already led there counts as empty, which is the worst
    /// the kernel may do; also when by then another one has its name, as far as its declaration tells.
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

    /// Runs a packet through successive generations in every way in which their commits can fall between what
    /// it reads, each from the present state of the round-robin counters, which stays as it is.
    ///
    /// # Panics
    /// Without tables.
    pub fn trace_every_way(&self, tables: &[&Table], packet: &Packet) -> Vec<Trace> {
        ways::every_way(tables.len() - 1, |advance| self.clone().trace_across(tables, packet, advance))
    }

    /// Starts the counters of a chain's rules anew, as adding the rules again does.
    pub fn forget(&mut self, chain: &ChainName) {
        self.counters.retain(|(of, _), _| of != chain);
    }
}

/// What happened to a packet, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// What happened.
    pub outcome: Outcome,
    /// Every statement that held, in order.
    pub visits: Vec<Visit>,
}

/// What happened to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on, to another destination than it was sent to.
    Translated {
        /// The new destination.
        to: SocketAddr,
        /// Whether its source becomes an address of the host.
        masqueraded: bool,
    },
    /// It goes on to where it was sent.
    Untranslated {
        /// Whether its source becomes an address of the host.
        masqueraded: bool,
    },
    /// It vanished.
    Dropped,
    /// It was answered with a TCP reset.
    Reset,
    /// It was answered with port unreachable.
    Unreachable,
}

/// A statement that held: it matched, found its key, or decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Where the rule is.
    pub chain: ChainName,
    /// Index of the rule in its chain.
    pub rule: usize,
    /// Index of the statement in its rule.
    pub statement: usize,
    /// The element that a lookup found.
    pub element: Option<(SetName, Key)>,
}
