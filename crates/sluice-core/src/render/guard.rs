//! Guards: which new flows reach the pick chain of a listener.
//!
//! Exact listeners with the same checks share a chain. Their prefixes and counts are in sets whose key begins
//! with the listener, and the chain ends in a verdict map to the pick chains. Any other listener has a chain
//! and sets of its own.

use std::collections::BTreeMap;

use ipnet::IpNet;
use sluice_nft::{
    ChainName, Data, Field, Ip, Key, Octets, Operand, Rule, Set, SetFlags, SetName, SetUpdate, Statement,
};

use super::fragment::Draft;
use super::frontend::Frontend;
use super::names::{Access, ChainId, FrontendId, SetId};
use super::{dispatch, midstream};
use crate::model::{DropReason, Limits, OnFull, ServiceName};

/// Renders the guard of a listener before the chain `pick`; returns the first chain of the two.
pub(super) fn render(draft: &mut Draft<'_, '_>, frontend: &Frontend<'_>, pick: ChainName) -> ChainName {
    let checks = Check::all(frontend);
    if checks.is_empty() {
        return pick;
    }
    let scope = Scope::new(frontend, &checks);
    for check in &checks {
        check.fill(draft, &scope);
    }
    let last = match frontend.exact() {
        None => Rule(vec![Statement::Goto(pick)]),
        Some(_) => {
            let next = (scope.listener, Data::Goto(pick));
            let map = draft.fill(SetId::Guarded(frontend.ip), || Set::verdicts(scope.key.clone()), [next]);
            scope.of_version(vec![Statement::VerdictMap(scope.key.clone(), map)])
        }
    };
    let miss = draft.miss();
    let rules = || scope.rules(&checks).chain([last, miss]).collect();
    match frontend.exact() {
        None => draft.own(ChainId::Guard(frontend.id()), rules()),
        Some(_) => draft.shared(scope.chain(&checks), rules),
    }
}

/// Renders the checks of a client before the host answers its SYN; returns the chain. Limits are not checked
/// there, because the source address may be forged until the handshake is complete.
pub(super) fn before_handshake(draft: &mut Draft<'_, '_>, frontend: &Frontend<'_>) -> ChainName {
    let mut checks = Check::all(frontend);
    checks.retain(|check| matches!(check, Check::Deny(_) | Check::Allow(_)));
    let scope = Scope::new(frontend, &checks);
    let words = checks.iter().map(|check| check.word().into()).collect();
    let words = Some(words).filter(|words: &Vec<_>| !words.is_empty());
    draft.shared(ChainId::Syn(frontend.ip, words), || {
        scope.rules(&checks).chain([Rule(vec![Statement::Notrack])]).collect()
    })
}

/// One check of a guard.
enum Check<'a> {
    Deny(Clients<'a>),
    /// Only these clients; without networks of this IP version, no client.
    Allow(Clients<'a>),
    Limit(Limit),
}

/// Networks of clients by prefix length. If there are few lengths, each has a set with the prefix as its key,
/// which is faster than an interval set for all lengths.
struct Clients<'a>(BTreeMap<u8, Vec<&'a IpNet>>);

/// Maximum number of prefix lengths with a set each.
const FEW: usize = 4;

impl<'a> Clients<'a> {
    fn of(nets: &'a [IpNet], ip: Ip) -> Self {
        let mut lengths: BTreeMap<u8, Vec<&IpNet>> = BTreeMap::new();
        for net in nets.iter().filter(|net| Ip::of(net.addr()) == ip) {
            lengths.entry(net.prefix_len()).or_default().push(net);
        }
        Clients(lengths)
    }

    fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the networks contain every client.
    fn are_all(&self) -> bool {
        self.0.contains_key(&0)
    }

    fn are_ranges(&self) -> bool {
        self.0.len() > FEW || self.are_all()
    }

    /// The prefix lengths, for the name of a chain.
    fn word(&self, access: Access) -> String {
        let lengths = self.0.keys().filter(|_| !self.are_ranges());
        lengths.fold(access.word().to_owned(), |word, length| format!("{word}-{length}"))
    }

    /// The key and the set of each lookup.
    fn look_ups(&self, access: Access, scope: &Scope) -> Vec<(Vec<Operand>, SetName)> {
        let set = |length| scope.networks(access, length).into();
        if self.are_ranges() {
            return vec![(scope.client_key(), set(None))];
        }
        let saddr = Field::Saddr(scope.ip);
        let key = |length: u8| match usize::from(length) == 8 * saddr.width() {
            true => scope.client_key(),
            false => [&scope.key[..], &[Operand::Prefix(saddr, length)]].concat(),
        };
        self.0.keys().map(|length| (key(*length), set(Some(*length)))).collect()
    }

    /// Adds the networks to their sets, with counters if those clients are dropped.
    fn fill(&self, draft: &mut Draft<'_, '_>, access: Access, scope: &Scope) {
        let (ranges, counter) = (self.are_ranges(), access == Access::Deny);
        for (length, nets) in &self.0 {
            let id = scope.networks(access, (!ranges).then_some(*length));
            let flags = if ranges { SetFlags::Interval } else { SetFlags::Static };
            let declare = || Set { counter, flags, ..Set::plain(scope.client_key()) };
            let elements = nets.iter().map(|net| {
                let last = ranges.then(|| Data::KeyEnd(Octets::EMPTY.address(net.broadcast())));
                (scope.listener.address(net.network()), last.unwrap_or(Data::None))
            });
            draft.fill(id, declare, elements);
        }
    }
}

/// A limit of a service, or of each of its clients. Services with a single frontend share sets, with the
/// listener in the key; any other service has a set of its own.
struct Limit {
    /// The service, if it has a set of its own.
    own: Option<ServiceName>,
    reason: DropReason,
    update: SetUpdate,
    /// Size of the set.
    size: u32,
    /// What happens to clients beyond the size; `None`: the limit is for all clients together.
    on_full: Option<OnFull>,
}

impl<'a> Check<'a> {
    /// The limits in the order of their rules. The rate of all clients comes last, so that packets dropped by
    /// a limit per client do not count for it.
    fn all(frontend: &Frontend<'a>) -> Vec<Check<'a>> {
        let Some(guard) = &frontend.service.guard else { return vec![] };
        let Limits { new_connections, new_connections_per_client, connections_per_client, clients, on_full } =
            guard.limits;
        let limit = |reason, update, size, on_full| {
            let own = frontend.is_one_of_several().then(|| frontend.name.clone());
            Check::Limit(Limit { own, reason, update, size, on_full })
        };
        let of_client = |reason, update| limit(reason, update, clients, Some(on_full));
        let (deny, allow) = (Clients::of(&guard.deny, frontend.ip), Clients::of(&guard.allow, frontend.ip));
        [
            (!deny.are_none()).then_some(Check::Deny(deny)),
            (!guard.allow.is_empty() && !allow.are_all()).then_some(Check::Allow(allow)),
            new_connections_per_client
                .map(|rate| of_client(DropReason::ClientRate, SetUpdate::LimitOver(rate))),
            connections_per_client
                .map(|most| of_client(DropReason::ClientConnections, SetUpdate::CtCountOver(most))),
            new_connections.map(|rate| limit(DropReason::Rate, SetUpdate::LimitOver(rate), LISTENERS, None)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Part of the name of a shared chain; it contains everything that its rules depend on.
    fn word(&self) -> String {
        match self {
            Check::Deny(clients) => clients.word(Access::Deny),
            Check::Allow(clients) if clients.are_none() => "nobody".to_owned(),
            Check::Allow(clients) => clients.word(Access::Allow),
            Check::Limit(limit) => {
                let on_full =
                    limit.on_full.map(|on_full| format!("-{}", on_full.as_str())).unwrap_or_default();
                format!("{}-{}{on_full}", limit.reason.as_str(), limit.word())
            }
        }
    }

    /// Adds the elements that the rules of the check look up.
    fn fill(&self, draft: &mut Draft<'_, '_>, scope: &Scope) {
        let mut count = |reason| {
            draft.fill(
                scope.dropped(reason),
                || Set::counted(scope.key.clone()),
                [(scope.listener, Data::None)],
            );
        };
        match self {
            Check::Deny(clients) => clients.fill(draft, Access::Deny, scope),
            Check::Allow(clients) => {
                count(DropReason::NotAllowed);
                clients.fill(draft, Access::Allow, scope);
            }
            Check::Limit(limit) => {
                count(limit.reason);
                limit.on_full.iter().for_each(|_| count(DropReason::ClientsFull));
                let declare = || Set::dynamic(limit.key(scope), limit.size, limit.timeout());
                draft.fill(limit.set(scope), declare, []);
            }
        }
    }

    fn rules(&self, scope: &Scope) -> Vec<Vec<Statement>> {
        let count = |reason| Statement::InSet(scope.key.clone(), scope.dropped(reason).into());
        match self {
            Check::Deny(clients) => {
                let rule = |(key, set)| vec![Statement::InSet(key, set), Statement::Drop];
                clients.look_ups(Access::Deny, scope).into_iter().map(rule).collect()
            }
            Check::Allow(clients) => {
                let look_ups = clients.look_ups(Access::Allow, scope);
                let others = look_ups.into_iter().map(|(key, set)| Statement::NotInSet(key, set));
                vec![others.chain([count(DropReason::NotAllowed), Statement::Drop]).collect()]
            }
            Check::Limit(limit) => {
                let (key, set) = (limit.key(scope), SetName::from(limit.set(scope)));
                let update = Statement::Update { key, set: set.clone(), update: limit.update.clone() };
                let above = vec![update, count(limit.reason), Statement::Drop];
                // An adopted connection is not new, so it counts for no rate, but it is one of the client's
                // connections.
                let counted = match scope.adopts && limit.timeout().is_some() {
                    true => midstream::opens(true).to_vec(),
                    false => vec![],
                };
                let full = limit.on_full.map(|on_full| {
                    let forgotten = Statement::NotInSet(limit.key(scope), set);
                    let drop = (on_full == OnFull::Drop).then_some(Statement::Drop);
                    [forgotten, count(DropReason::ClientsFull)].into_iter().chain(drop).collect()
                });
                [above].into_iter().chain(full).map(|rule| [&counted[..], &rule].concat()).collect()
            }
        }
    }
}

impl Limit {
    /// Seconds until an empty token bucket is full again; `None`: the limit is not a rate.
    fn timeout(&self) -> Option<u32> {
        let SetUpdate::LimitOver(rate) = self.update else { return None };
        let seconds = u64::from(rate.burst.max(1)) * u64::from(rate.unit) / u64::from(rate.packets.max(1));
        Some(u32::try_from(seconds).unwrap_or(u32::MAX).saturating_add(1))
    }

    fn key(&self, scope: &Scope) -> Vec<Operand> {
        match (self.on_full.is_some(), &self.own) {
            (true, None) => scope.client_key(),
            (false, None) => scope.key.clone(),
            (true, Some(_)) => vec![Operand::Field(Field::Saddr(scope.ip))],
            // The constant key of a set with a single element: all packets here belong to new flows.
            (false, Some(_)) => vec![Operand::Field(Field::CtState)],
        }
    }

    /// The set of the limit. Each limit has its own set, because different limits have different
    /// declarations.
    fn set(&self, scope: &Scope) -> SetId {
        let ip = self.on_full.map(|_| scope.ip);
        match &self.own {
            None => SetId::Limit(self.reason, scope.shared, self.word().into(), scope.own.clone(), None),
            Some(service) => SetId::Limit(self.reason, ip, self.word().into(), None, Some(service.clone())),
        }
    }

    fn word(&self) -> String {
        let size = if self.on_full.is_some() { format!("-{}", self.size) } else { String::new() };
        match &self.update {
            SetUpdate::LimitOver(rate) => {
                format!("{}-{}-{}{size}", rate.packets, rate.unit_name(), rate.burst)
            }
            SetUpdate::CtCountOver(most) => format!("{most}{size}"),
            SetUpdate::Data(..) => size,
        }
    }
}

/// Maximum number of listeners in a shared limit; listeners beyond it are not limited.
const LISTENERS: u32 = 65_536;

/// Names and keys of the sets of a guard.
struct Scope {
    /// IP version, for sets that exact listeners share.
    shared: Option<Ip>,
    /// The listener, if it has its own sets.
    own: Option<FrontendId>,
    /// First part of the keys.
    key: Vec<Operand>,
    /// The value of this part for the listener.
    listener: Key,
    ip: Ip,
    /// Whether the listener adopts midstream connections, which do not count for rates.
    adopts: bool,
}

impl Scope {
    fn new(frontend: &Frontend<'_>, checks: &[Check<'_>]) -> Self {
        let ip = frontend.ip;
        let is_rate = |check: &Check<'_>| matches!(check, Check::Limit(limit) if limit.timeout().is_some());
        let adopts = midstream::adopts(frontend) && checks.iter().any(is_rate);
        let (key, listener) = match frontend.exact_key() {
            Some(listener) => (dispatch::key(ip), listener),
            None => (vec![Operand::Field(Field::L4proto)], Key::EMPTY.protocol(frontend.protocol())),
        };
        let is_shared = frontend.exact().is_some();
        let (shared, own) = (is_shared.then_some(ip), (!is_shared).then(|| frontend.id()));
        Scope { shared, own, key, listener, ip, adopts }
    }

    /// The set of networks of one prefix length, or of all lengths.
    fn networks(&self, access: Access, length: Option<u8>) -> SetId {
        SetId::Networks(access, self.shared, length, self.own.clone())
    }

    /// The set with the counter of packets dropped for a reason.
    fn dropped(&self, reason: DropReason) -> SetId {
        SetId::Dropped(self.shared, reason, self.own.clone())
    }

    /// The chain that exact listeners with the same checks share.
    fn chain(&self, checks: &[Check<'_>]) -> ChainId {
        // The service appears once, because the kernel limits names to 255 bytes.
        let owner = checks.iter().find_map(|check| match check {
            Check::Limit(limit) => limit.own.as_ref().map(|name| format!("of-{name}")),
            Check::Deny(_) | Check::Allow(_) => None,
        });
        let adopts_word = self.adopts.then(|| "adopt".to_owned());
        let words = checks.iter().map(Check::word).chain(adopts_word).chain(owner);
        ChainId::SharedGuard(self.ip, words.map(Into::into).collect())
    }

    /// The key of listener and client.
    fn client_key(&self) -> Vec<Operand> {
        [&self.key[..], &[Operand::Field(Field::Saddr(self.ip))]].concat()
    }

    fn rules<'a>(&'a self, checks: &'a [Check<'_>]) -> impl Iterator<Item = Rule> + 'a {
        checks.iter().flat_map(|check| check.rules(self)).map(|rule| self.of_version(rule))
    }

    fn of_version(&self, mut statements: Vec<Statement>) -> Rule {
        // nft places it before the first statement that reads the IP header.
        let reads_none = |statement: &&Statement| match statement {
            Statement::Match(..) => true,
            Statement::Update { key, .. } => *key == [Operand::Field(Field::CtState)],
            Statement::InSet(..)
            | Statement::NotInSet(..)
            | Statement::VerdictMap(..)
            | Statement::Dnat { .. }
            | Statement::Masquerade
            | Statement::Snat { .. }
            | Statement::SnatTo { .. }
            | Statement::Counter
            | Statement::Drop
            | Statement::Notrack
            | Statement::Synproxy { .. }
            | Statement::RejectReset
            | Statement::RejectPort
            | Statement::Accept
            | Statement::Goto(_)
            | Statement::Jump(_)
            | Statement::Foreign(_) => false,
        };
        let at = statements.iter().take_while(reads_none).count();
        statements.insert(at, Statement::is(Field::Nfproto, &[self.ip.nfproto()]));
        Rule(statements)
    }
}
