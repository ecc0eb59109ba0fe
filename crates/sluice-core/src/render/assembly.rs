//! Assembles the common chains: base chains and the chains that they lead to. This module alone defines their
//! rules and the order of these.

use std::collections::BTreeMap;

use sluice_nft::{Base, Chain, Comparison, Field, Ip, Operand, Rule, SetName, Statement};

use super::midstream::{self, Arriving};
use super::names::{ChainId, SetId};
use super::totals::Totals;
use super::{answers, dispatch, invalid, reset, source, synproxy};
use crate::model::{Protocol, Source};

/// What the common chains depend on.
pub(super) struct AssemblyInput<'a> {
    /// Names of the sets of the table.
    pub(super) set: &'a dyn Fn(&SetId) -> Option<SetName>,
    pub(super) totals: &'a Totals,
    /// Rules of frontends, in order.
    pub(super) hooks: BTreeMap<ChainId, Vec<Rule>>,
}

/// Assembles the common chains, without empty ones.
pub(super) fn assemble(input: &AssemblyInput<'_>) -> BTreeMap<ChainId, Chain> {
    let inner = |rules| Chain { base: None, rules };
    let of_frontends =
        input.hooks.iter().filter(|(id, _)| matches!(id, ChainId::Source | ChainId::LearnPort(..)));
    let mut chains: BTreeMap<_, _> =
        of_frontends.map(|(id, rules)| (id.clone(), inner(rules.clone()))).collect();
    for (id, rules) in [
        (ChainId::Midstream, input.midstream()),
        (ChainId::Answers, answers::rules(input.set)),
        (ChainId::EarlyAnswers, input.early_answers()),
        (ChainId::Invalid, input.invalid()),
        (ChainId::Handshake, input.handshake()),
    ] {
        if !rules.is_empty() {
            chains.insert(id, inner(rules));
        }
    }
    let leads = |id: &ChainId| chains.contains_key(id);
    let base_chains = [
        (Base::SYN, input.syn()),
        (Base::GUARD, leads(&ChainId::Invalid).then(guard).into_iter().collect()),
        (Base::PREROUTING, input.prerouting(leads(&ChainId::EarlyAnswers))),
        (Base::OUTPUT, input.output()),
        (Base::INPUT, leads(&ChainId::Handshake).then(handshakes).into_iter().collect()),
        (Base::FORWARD, input.forward(leads(&ChainId::Handshake))),
        (Base::LEARN, input.learn()),
        (Base::POSTROUTING, input.postrouting(leads(&ChainId::Source), leads(&ChainId::Answers))),
    ];
    for (base, rules) in base_chains {
        if !rules.is_empty() {
            chains.insert(ChainId::Base(base), Chain { base: Some(base), rules });
        }
    }
    chains
}

impl AssemblyInput<'_> {
    fn hooks(&self, chain: &ChainId) -> impl Iterator<Item = Rule> {
        self.hooks.get(chain).into_iter().flatten().cloned()
    }

    /// A rule for each IP version whose set exists; `rule` builds it from the match on the version, the
    /// version and the set.
    fn by_version(
        &self,
        id: fn(Ip) -> SetId,
        rule: impl Fn(Statement, Ip, SetName) -> Vec<Statement>,
    ) -> impl Iterator<Item = Rule> {
        Ip::ALL.into_iter().filter_map(move |ip| {
            let version = Statement::is(Field::Nfproto, &[ip.nfproto()]);
            Some(Rule(rule(version, ip, (self.set)(&id(ip))?)))
        })
    }

    fn verdicts(&self, id: fn(Ip) -> SetId) -> impl Iterator<Item = Rule> {
        self.by_version(id, |version, ip, map| vec![version, Statement::VerdictMap(dispatch::key(ip), map)])
    }

    /// Before conntrack: SYNs that the host answers.
    fn syn(&self) -> Vec<Rule> {
        let look_up = |version, ip, map| {
            let look_up = [version, Statement::VerdictMap(dispatch::key(ip), map)];
            midstream::opens(true).into_iter().chain(look_up).collect()
        };
        self.by_version(SetId::Syns, look_up).collect()
    }

    /// Packets that are neither SYN nor ACK are dropped.
    fn handshake(&self) -> Vec<Rule> {
        let rules = |then: fn(Ip) -> Statement| {
            self.by_version(SetId::Proxied, move |version, ip, set| {
                vec![version, Statement::InSet(dispatch::key(ip), set), then(ip)]
            })
        };
        let answers = rules(|ip| Statement::Synproxy { mss: synproxy::mss(ip) });
        answers.zip(rules(|_| Statement::Drop)).flat_map(|(answer, drop)| [answer, drop]).collect()
    }

    /// Invalid packets, before translation. A valid packet meets only the one rule that leads here.
    fn invalid(&self) -> Vec<Rule> {
        let rule = |key: fn(Ip) -> Vec<Operand>| {
            move |version, ip, set| vec![version, Statement::InSet(key(ip), set), Statement::Drop]
        };
        let requests = self.by_version(SetId::InvalidRequests, rule(dispatch::key));
        let replies = self.by_version(SetId::InvalidReplies, rule(invalid::replies_key));
        let mut rules = in_turn(requests.chain(replies));
        rules.extend(self.hooks(&ChainId::Invalid));
        rules
    }

    /// Midstream packets first, then the verdict maps, then the rules of other listeners in order of
    /// precedence.
    fn prerouting(&self, early_answers: bool) -> Vec<Rule> {
        let early_answers =
            early_answers.then(|| unless_opening([Statement::Jump(ChainId::EarlyAnswers.into())]));
        let mut rules: Vec<_> = early_answers.into_iter().collect();
        rules.extend(match self.totals.midstream() {
            // The rule also accepts the ACKs of synproxy.
            Arriving::Ignored => vec![unless_opening([Statement::Accept])],
            Arriving::Adopted => self.acks(),
            Arriving::Mixed { .. } => {
                let mut rules = self.acks();
                rules.push(unless_opening([Statement::Goto(ChainId::Midstream.into())]));
                rules
            }
        });
        rules.extend(self.verdicts(SetId::Services));
        rules.extend(self.hooks(&ChainId::Base(Base::PREROUTING)));
        rules
    }

    /// Accepts ACKs with a SYN cookie, which must not be translated as midstream packets. Listeners with
    /// synproxy have no midstream connections, because the SYNs of their clients are not tracked.
    fn acks(&self) -> Vec<Rule> {
        let look_up = |version, ip, set| {
            let look_up = [version, Statement::InSet(dispatch::key(ip), set), Statement::Accept];
            midstream::opens(false).into_iter().chain(look_up).collect()
        };
        self.by_version(SetId::Proxied, look_up).collect()
    }

    /// Distinguishes listeners that adopt midstream packets from those that ignore them, if there are both.
    fn midstream(&self) -> Vec<Rule> {
        let Arriving::Mixed { by_rule } = self.totals.midstream() else { return vec![] };
        let ignored = self.by_version(SetId::Ignored, |version, ip, set| {
            vec![version, Statement::InSet(dispatch::key(ip), set), Statement::Accept]
        });
        let mut rules = in_turn(self.verdicts(SetId::Adopted).chain(ignored));
        rules.extend(self.hooks(&ChainId::Midstream).filter(|_| by_rule));
        rules
    }

    /// Answers to addresses of the host.
    fn early_answers(&self) -> Vec<Rule> {
        let rule =
            |(source, ip)| answers::early_rule(source, ip, (self.set)(&SetId::EarlyAnswers((source, ip)))?);
        self.totals.sources().into_iter().filter_map(rule).collect()
    }

    /// Local clients: their connections end with the host, so no other node can have had them.
    fn output(&self) -> Vec<Rule> {
        let ignores = self.totals.is_local().then(|| unless_opening([Statement::Accept]));
        let mut rules: Vec<_> = ignores.into_iter().chain(self.verdicts(SetId::Services)).collect();
        rules.extend(self.hooks(&ChainId::Base(Base::OUTPUT)));
        rules
    }

    fn forward(&self, answers: bool) -> Vec<Rule> {
        let reset = self.totals.resets().then(reset::rule);
        answers.then(handshakes).into_iter().chain(reset).collect()
    }

    /// Flows whose destination is translated and whose source is not.
    fn learn(&self) -> Vec<Rule> {
        let rule = |protocol: Protocol| {
            let map = (self.set)(&SetId::Learn(protocol))?;
            Some(Rule(vec![
                Statement::Match(Field::CtStatus, Comparison::AnyBit(Field::DNAT)),
                Statement::is(Field::L4proto, &[protocol.number()]),
                Statement::VerdictMap(vec![Operand::Field(Field::CtOriginalDport)], map),
            ]))
        };
        Protocol::ALL.into_iter().filter_map(rule).collect()
    }

    /// The masquerade rule comes first, because no other listener has its keys. Ambiguous flows must be
    /// compared before the rules of other sources. Answers have no translated destination.
    fn postrouting(&self, one_by_one: bool, answers: bool) -> Vec<Rule> {
        let rule = |(source, ip)| {
            Some((source, source::constant_rule(source, ip, (self.set)(&SetId::Source((source, ip)))?)))
        };
        let mut rules: Vec<_> = self.totals.sources().into_iter().filter_map(rule).collect();
        if one_by_one {
            let others = rules.partition_point(|(source, _)| *source == Source::Masquerade);
            let jump = Rule(vec![source::translated(), Statement::Jump(ChainId::Source.into())]);
            rules.insert(others, (Source::Masquerade, jump));
        }
        let answers = answers.then(|| unless_opening([Statement::Goto(ChainId::Answers.into())]));
        rules.into_iter().map(|(_, rule)| rule).chain(answers).collect()
    }
}

/// The rules of one IP version, then those of the other.
fn in_turn(rules: impl Iterator<Item = Rule>) -> Vec<Rule> {
    let mut rules: Vec<_> = rules.collect();
    rules.sort_by_key(|rule| rule.0.first().cloned());
    rules
}

fn unless_opening<const N: usize>(then: [Statement; N]) -> Rule {
    Rule(midstream::opens(false).into_iter().chain(then).collect())
}

fn guard() -> Rule {
    Rule(vec![
        Statement::Match(Field::CtState, Comparison::AnyBit(Field::INVALID)),
        Statement::Goto(ChainId::Invalid.into()),
    ])
}

/// Packets without a connection. An ACK with a cookie is new or invalid, depending on
/// `nf_conntrack_tcp_loose`.
fn handshakes() -> Rule {
    let no_connection = Comparison::AnyBit(Field::INVALID | Field::NEW | Field::UNTRACKED);
    Rule(vec![Statement::Match(Field::CtState, no_connection), Statement::Jump(ChainId::Handshake.into())])
}
