//! TCP packets that begin no connection and belong to none that conntrack knows.
//!
//! conntrack takes such a packet for the first of a flow (unless `nf_conntrack_tcp_loose` is 0), so the nat chains see it.
//! Listeners that ignore them must not translate it: a program on this host may have the connection. Listeners that adopt
//! them translate it, to where another node translated it before.
//!
//! A SYN meets one more rule for that, and looks nothing up; docs/adr/0021-midstream.md says why so.

use sluice_nft::{Chain, ChainName, Data, Element, Field, Ip, Key, Rule, Set, Statement, Table, Test};

use super::entry::Entry;
use super::{Rendered, dispatch, names};
use crate::model::{Midstream, Protocol};

/// How many TCP listeners do what, which decides the rules of the base chains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    ignoring: usize,
    adopting: usize,
    /// Those among the adopting that are reached by rules, not by the verdict map.
    adopting_by_rule: usize,
    /// Those that clients on this host reach, too.
    local: usize,
}

/// The rules of the base chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    prerouting: Arriving,
    /// Whether `output` has a rule.
    output: bool,
}

/// What arrives, at `prerouting`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arriving {
    /// No rule: no TCP listener ignores anything.
    Adopted,
    /// One rule lets all pass.
    Ignored,
    /// The chain `midstream` tells one from the other.
    Mixed {
        /// Whether it has to know the exact listeners that ignore, because later rules would take their packets.
        by_rule: bool,
    },
}

impl Counts {
    pub(crate) fn of(entries: &[Entry<'_>]) -> Self {
        let mut counts = Counts::default();
        entries.iter().for_each(|entry| counts.add(entry));
        counts
    }

    pub(crate) fn add(&mut self, entry: &Entry<'_>) {
        self.counters(entry).into_iter().for_each(|count| *count += 1);
    }

    /// The entry must have been added.
    pub(crate) fn remove(&mut self, entry: &Entry<'_>) {
        self.counters(entry).into_iter().for_each(|count| *count -= 1);
    }

    fn counters(&mut self, entry: &Entry<'_>) -> Vec<&mut usize> {
        if !entry.listener.protocol.has_midstream() {
            return vec![];
        }
        let Counts { ignoring, adopting, adopting_by_rule, local } = self;
        let mut counters = vec![if adopts(entry) { adopting } else { ignoring }];
        counters.extend((adopts(entry) && entry.exact().is_none()).then_some(adopting_by_rule));
        counters.extend(entry.service.interface.is_none().then_some(local));
        counters
    }

    pub(crate) fn form(&self) -> Form {
        let prerouting = match (self.ignoring, self.adopting) {
            (0, _) => Arriving::Adopted,
            (_, 0) => Arriving::Ignored,
            _ => Arriving::Mixed { by_rule: self.adopting_by_rule > 0 },
        };
        Form { prerouting, output: self.local > 0 }
    }
}

/// Whether a listener translates such packets.
pub(super) fn adopts(entry: &Entry<'_>) -> bool {
    entry.listener.protocol.has_midstream() && entry.service.midstream == Midstream::Adopt
}

/// Matches a TCP packet that does, or does not, begin a connection.
pub(super) fn opens(yes: bool) -> [Statement; 2] {
    let (of, are) = (Field::OPENING, Field::SYN);
    let test = if yes { Test::Bits { of, are } } else { Test::BitsNot { of, are } };
    [Statement::is(Field::L4proto, &[Protocol::Tcp.number()]), Statement::Match(Field::TcpFlags, test)]
}

/// Adds an exact listener, whose new flows go to `chain`, to what the chain `midstream` looks into.
pub(super) fn exact(rendered: &mut Rendered, entry: &Entry<'_>, chain: &ChainName, form: Form) {
    let (Some((address, port)), Arriving::Mixed { by_rule }) = (entry.exact(), form.prerouting) else {
        return;
    };
    let key = dispatch::key(entry.ip);
    let listener = Key::EMPTY.address(address).protocol(entry.protocol()).port(port);
    let origin = rendered.origins.add(entry.flow(None));
    let sets = &mut rendered.table.sets;
    if adopts(entry) {
        let set = sets.entry(names::adopted(entry.ip)).or_insert_with(|| Set::verdicts(key));
        set.elements.insert(listener, Element { data: Data::Goto(chain.clone()), origin });
    } else if by_rule && entry.listener.protocol.has_midstream() {
        let set = sets.entry(names::ignored(entry.ip)).or_insert_with(|| Set::plain(key));
        set.elements.insert(listener, Element { data: Data::None, origin });
    }
}

impl Form {
    /// Adds the chain `midstream` if there is one; returns the rule of `prerouting` that comes before all others that
    /// translate. `others` are the entries that are not exact, in order of precedence.
    pub(super) fn prerouting(self, table: &mut Table, others: &[&Entry<'_>]) -> Option<Rule> {
        let by_rule = match self.prerouting {
            Arriving::Adopted => return None,
            Arriving::Ignored => return Some(rule(Statement::Accept)),
            Arriving::Mixed { by_rule } => by_rule,
        };
        let mut rules = Vec::new();
        for ip in Ip::ALL {
            let (adopted, ignored) = (names::adopted(ip), names::ignored(ip));
            let version = || Statement::is(Field::Nfproto, &[ip.nfproto()]);
            let key = || dispatch::key(ip);
            if table.sets.contains_key(&adopted) {
                rules.push(Rule(vec![version(), Statement::VerdictMap(key(), adopted)]));
            }
            if table.sets.contains_key(&ignored) {
                rules.push(Rule(vec![version(), Statement::InSet(key(), ignored), Statement::Accept]));
            }
        }
        let others = others.iter().filter(|entry| by_rule && entry.listener.protocol.has_midstream());
        rules.extend(others.map(|entry| {
            let way = Statement::Goto(dispatch::private_way(entry));
            dispatch::arriving(entry, if adopts(entry) { way } else { Statement::Accept })
        }));
        table.chains.insert(names::midstream(), Chain { base: None, rules });
        Some(rule(Statement::Goto(names::midstream())))
    }

    /// The rule of `output`: connections of clients on this host end with it, and no other node has had them.
    pub(super) fn output(self) -> Option<Rule> {
        self.output.then(|| rule(Statement::Accept))
    }

    /// Whether one rule of `prerouting` lets them pass for all listeners.
    pub(super) fn ignores_all(self) -> bool {
        self.prerouting == Arriving::Ignored
    }
}

fn rule(verdict: Statement) -> Rule {
    Rule(opens(false).into_iter().chain([verdict]).collect())
}
