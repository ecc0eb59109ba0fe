//! Answers: midstream packets that a backend sends to a client of another node's connection.
//!
//! After a failover a backend may send first, usually a packet again that the other node lost. conntrack takes
//! it for the first packet of a flow that the backend begins. Untranslated, the client would answer it with a
//! reset, or the entry would have the port that the connection needs.
//!
//! - If the backend sees the client's address, the packet leaves with the address and port of the listener. It
//!   is dropped if several listeners lead to the backend, or one without a single address and port.
//! - If it sees an address of the host and the client's port, the packet is dropped: only the next packet of
//!   the client tells which client it is.
//!
//! docs/adr/0021-midstream.md explains why.

use std::collections::HashMap;
use std::net::SocketAddr;

use foldhash::fast::FixedState;
use sluice_nft::{Comparison, Data, Field, Ip, Key, Octets, Operand, Rule, Set, SetName, SetType, Statement};

use super::bounds::MAX_PORTS;
use super::fragment::Draft;
use super::frontend::Frontend;
use super::midstream;
use super::names::SetId;
use super::source::translated;
use crate::model::{Ports, Protocol, Source};

/// Numbers of listeners in whose name a backend answers.
#[derive(Clone, Debug, Default)]
pub(super) struct AnswerCounts(HashMap<SocketAddr, usize, FixedState>);

/// The counts after a change.
#[derive(Debug, Default)]
pub(super) struct NewAnswerCounts {
    /// Those that differ.
    counts: AnswerCounts,
    /// Whether these are all.
    is_all: bool,
}

impl AnswerCounts {
    /// The counts of all frontends.
    pub(super) fn of(frontends: &[Frontend<'_>]) -> NewAnswerCounts {
        let mut counts = AnswerCounts::default();
        counts.add(frontends);
        NewAnswerCounts { counts, is_all: true }
    }

    fn add(&mut self, frontends: &[Frontend<'_>]) {
        for backend in
            frontends.iter().filter(|it| treatment(it) == Some(Source::Preserve)).flat_map(backends)
        {
            *self.0.entry(backend).or_default() += 1;
        }
    }

    /// The counts after `new` have replaced `old`; `None` if other frontends must be rendered anew.
    pub(super) fn replace(&self, old: &[Frontend<'_>], new: &[Frontend<'_>]) -> Option<NewAnswerCounts> {
        let [mut removed, mut counts] = [AnswerCounts::default(), AnswerCounts::default()];
        removed.add(old);
        counts.add(new);
        for backend in removed.0.keys() {
            counts.0.entry(*backend).or_default();
        }
        for (backend, count) in &mut counts.0 {
            let had = removed.count(backend);
            let others = self.count(backend).saturating_sub(had);
            if others == 1 && (had == 0) != (*count == 0) {
                return None;
            }
            *count += others;
        }
        Some(NewAnswerCounts { counts, is_all: false })
    }

    pub(super) fn apply(&mut self, new: NewAnswerCounts) {
        if new.is_all {
            *self = new.counts;
            return;
        }
        for (backend, count) in new.counts.0 {
            self.0.remove(&backend);
            self.0.extend((count > 0).then_some((backend, count)));
        }
    }

    fn count(&self, backend: &SocketAddr) -> usize {
        self.0.get(backend).copied().unwrap_or(0)
    }
}

/// Renders the elements for the backends of a listener that adopts connections.
pub(super) fn render(draft: &mut Draft<'_, '_>, frontend: &Frontend<'_>, counts: &NewAnswerCounts) {
    let Some(source) = treatment(frontend) else { return };
    let ip = frontend.ip;
    let listener = frontend.listener.exact().filter(|_| source == Source::Preserve);
    for backend in backends(frontend) {
        let key = Key::EMPTY.address(backend.ip()).port(backend.port());
        match listener {
            Some((address, port)) if counts.counts.count(&backend) == 1 => {
                let data = Data::Value(Octets::EMPTY.address(address).port(port));
                draft.fill(SetId::Answers(ip), || declare_map(ip), [(key, data)]);
            }
            _ => {
                let declare = || Set::plain(self::key(ip));
                draft.fill(SetId::EarlyAnswers((source, ip)), declare, [(key, Data::None)]);
            }
        }
    }
}

/// The source that decides what happens to answers; `None`: nothing. `auto` is like `preserve`, because only
/// packets to clients that are not masqueraded are forwarded.
fn treatment(frontend: &Frontend<'_>) -> Option<Source> {
    match frontend.service.source {
        _ if !midstream::adopts(frontend) => None,
        Source::Preserve | Source::Auto => Some(Source::Preserve),
        source if source.keeps_ports() => Some(source),
        Source::Masquerade | Source::Addresses(..) => None,
    }
}

/// Backends with their ports, without duplicates; none for more than [`MAX_PORTS`] ports.
fn backends(frontend: &Frontend<'_>) -> Vec<SocketAddr> {
    let all = frontend.members().flat_map(|backend| {
        let Ports { first, last } = frontend.backend_ports(backend);
        let few = u32::from(last - first) < MAX_PORTS;
        let ports = few.then_some(first..=last).into_iter().flatten();
        ports.map(|port| SocketAddr::new(backend.address, port))
    });
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn key(ip: Ip) -> Vec<Operand> {
    [Field::Saddr(ip), Field::Sport].map(Operand::Field).to_vec()
}

fn declare_map(ip: Ip) -> Set {
    let listener = [Field::Daddr(ip), Field::Dport].map(Operand::Field).to_vec();
    Set { data: SetType::Map(listener), ..Set::plain(key(ip)) }
}

/// The rules after translation, for packets that do not begin a connection. A backend on this host had its
/// connections with this host.
pub(super) fn rules(set: &dyn Fn(&SetId) -> Option<SetName>) -> Vec<Rule> {
    let version = |ip: Ip| Statement::is(Field::Nfproto, &[ip.nfproto()]);
    let rules = Ip::ALL.into_iter().flat_map(|ip| {
        let drop = |set| vec![version(ip), Statement::InSet(key(ip), set), Statement::Drop];
        let tcp = Statement::is(Field::L4proto, &[Protocol::Tcp.number()]);
        let answer = |map| vec![version(ip), tcp, Statement::SnatTo { ip, key: key(ip), map }];
        let early = set(&SetId::EarlyAnswers((Source::Preserve, ip))).map(drop);
        early.into_iter().chain(set(&SetId::Answers(ip)).map(answer))
    });
    let rules: Vec<_> = rules.collect();
    if rules.is_empty() {
        return vec![];
    }
    let local = Statement::is(Field::FibSaddrType, &Field::LOCAL.to_ne_bytes());
    let others = [translated(), local].map(|test| vec![test, Statement::Accept]);
    others.into_iter().chain(rules).map(Rule).collect()
}

/// The rule before translation that drops answers to an address of a source.
pub(super) fn early_rule(source: Source, ip: Ip, set: SetName) -> Option<Rule> {
    let Source::Addresses(first, last, _) = source else { return None };
    let [low, high] = [first, last].map(|address| Octets::EMPTY.address(address));
    let test = if first == last { Comparison::Eq(low) } else { Comparison::InRange(low, high) };
    Some(Rule(vec![
        Statement::is(Field::Nfproto, &[ip.nfproto()]),
        Statement::Match(Field::Daddr(ip), test),
        Statement::InSet(key(ip), set),
        Statement::Drop,
    ]))
}
