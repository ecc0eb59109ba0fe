//! Fragments: all that one frontend puts into the table.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_nft::{ChainName, Data, Key, Octets, Operand, Rule, Set, SetFlags, SetName, SetType, Statement};

use super::capacity::SMALLEST;
use super::frontend::Rank;
use super::layout::{ListenerKey, Stripe};
use super::names::{ChainId, FrontendId, SetId};
use super::program::Program;
use super::totals::Traits;
use crate::model::{Address, Backend, BackendName, ServiceName};
use crate::render::owner::Owner;

/// All that one frontend puts into the table. A function of the frontend and of what it is told of the others: its
/// stripe, the number of its affinity group, which of its backends are ambiguous.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The frontend; `None`: the host itself.
    pub(super) owner: Option<FrontendId>,
    /// Backends that its elements count for.
    backends: Box<[BackendName]>,
    /// Elements by set; a set without elements is there because rules refer to it.
    pub(super) elements: Box<[Elements]>,
    /// Chains that it leads to and that others may lead to, too.
    pub(super) shared: Vec<Arc<SharedChain>>,
    /// Chains that nobody else leads to.
    pub(super) own: Vec<(ChainName, Vec<Rule>)>,
    /// Rules that it needs in chains of all frontends.
    pub(super) hooks: Vec<Hook>,
    /// What decides on rules that are there once for all frontends.
    pub(super) traits: Option<Traits>,
    /// Where its slots are, if they are in a map of stripes.
    pub(super) stripe: Option<Stripe>,
    /// Number of its affinity group.
    pub(super) group: Option<u32>,
}

/// Elements of one set. There are hundreds of thousands, so they are kept as bytes: key, value, and backend if the set
/// counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elements {
    pub(super) set: Arc<DeclaredSet>,
    bytes: Box<[u8]>,
    /// Where all of them lead, if that is a chain.
    verdict: Option<ChainName>,
}

/// One element, and the backend that it counts for, as an index into those of the fragment.
#[derive(Clone, Debug)]
pub(super) struct FragmentElement {
    pub(super) key: Key,
    pub(super) data: Data,
    backend: Option<u16>,
}

/// A set as fragments need it: what has no size yet gets one from all of them together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DeclaredSet {
    pub(super) id: SetId,
    /// Without a size.
    pub(super) name: SetName,
    pub(super) declaration: Set,
}

impl DeclaredSet {
    /// The name of the set with a size.
    pub(super) fn named(&self, size: Option<u32>) -> SetName {
        match size {
            None | Some(SMALLEST) => self.name.clone(),
            Some(size) => self.id.sized(size),
        }
    }

    /// Bytes of a key, a value and a backend of an element.
    fn widths(&self) -> [usize; 3] {
        let Set { key, data, flags, counter, .. } = &self.declaration;
        let width = |parts: &[Operand]| parts.iter().map(|part| part.width().next_multiple_of(4)).sum();
        let value = match (data, flags) {
            (SetType::Map(parts), _) => width(parts),
            (_, SetFlags::Interval) => width(&key[key.len() - 1..]),
            (SetType::Set | SetType::Verdicts, _) => 0,
        };
        [width(key), value, if *counter { size_of::<u16>() } else { 0 }]
    }
}

impl Elements {
    fn new(set: Arc<DeclaredSet>, mut held: Vec<FragmentElement>) -> Self {
        held.sort_by_key(|held| held.key);
        held.dedup_by(|later, first| later.key == first.key);
        let [key, value, counted] = set.widths();
        let mut bytes = Vec::with_capacity(held.len() * (key + value + counted));
        let mut verdict = None;
        for FragmentElement { key, data, backend } in held {
            bytes.extend(key.as_slice());
            match data {
                Data::None => {}
                Data::Value(value) => bytes.extend(value.as_slice()),
                Data::KeyEnd(last) => bytes.extend(last.as_slice()),
                Data::Goto(chain) => verdict = Some(chain),
            }
            bytes.extend(&backend.unwrap_or(u16::MAX).to_ne_bytes()[..counted]);
        }
        Elements { set, bytes: bytes.into(), verdict }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.set.widths().iter().sum::<usize>()
    }

    /// Keys in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let [key, value, counted] = self.set.widths();
        self.bytes.chunks_exact(key + value + counted).filter_map(move |element| Key::new(&element[..key]))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = FragmentElement> + '_ {
        let [key, value, counted] = self.set.widths();
        self.bytes.chunks_exact(key + value + counted).map(move |element| {
            let (key, rest) = element.split_at(key);
            let (value, backend) = rest.split_at(value);
            let data = match (&self.verdict, self.set.declaration.flags) {
                (Some(chain), _) => Data::Goto(chain.clone()),
                (None, SetFlags::Interval) => Octets::new(value).map_or(Data::None, Data::KeyEnd),
                (None, _) if value.is_empty() => Data::None,
                (None, _) => Octets::new(value).map_or(Data::None, Data::Value),
            };
            let backend = backend.try_into().ok().map(u16::from_ne_bytes);
            FragmentElement { key: Key::new(key).unwrap_or(Key::EMPTY), data, backend }
        })
    }
}

/// A chain that several frontends may lead to: its rules follow from its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SharedChain {
    pub(super) id: ChainId,
    pub(super) name: ChainName,
    pub(super) rules: Vec<Rule>,
}

/// A rule in a chain that all frontends have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) chain: ChainId,
    /// Where two rules match a packet, the lower one is first.
    pub(super) rank: Rank,
    pub(super) rule: Arc<Rule>,
}

impl Fragment {
    /// Elements of one of its sets, and what they are for.
    pub(super) fn owned<'a>(&'a self, elements: &'a Elements) -> impl Iterator<Item = (Key, Owner<'a>)> + 'a {
        let dropped = elements.set.id.reason();
        let owner = move |frontend, held: &FragmentElement| {
            let backend = held.backend.and_then(|index| self.backends.get(usize::from(index)));
            Owner { frontend, backend, dropped }
        };
        let frontend = self.owner.iter();
        frontend.flat_map(move |id| elements.iter().map(move |held| (held.key, owner(id, &held))))
    }

    /// The listener, if it has affinity.
    pub(super) fn affinity_key(&self) -> Option<ListenerKey> {
        let (FrontendId { listener, .. }, _) = (self.owner.as_ref()?, self.group?);
        match (listener.address, listener.ports.as_single()) {
            (Address::Exact(address), Some(port)) => Some((address, listener.protocol.number(), port)),
            _ => None,
        }
    }

    /// Name of its service; `None`: it is the host's.
    pub(super) fn service(&self) -> Option<&ServiceName> {
        self.owner.as_ref().map(|owner| &owner.service)
    }
}

/// What fragments have in common, so that it takes memory once: that of a program, and what is new.
#[derive(Debug)]
pub(super) struct Pool<'a> {
    known: &'a Program,
    sets: BTreeMap<SetId, Arc<DeclaredSet>>,
    chains: BTreeMap<ChainId, Arc<SharedChain>>,
}

impl<'a> Pool<'a> {
    pub(super) fn new(known: &'a Program) -> Self {
        Pool { known, sets: BTreeMap::new(), chains: BTreeMap::new() }
    }

    fn set(&mut self, id: SetId, declare: impl FnOnce() -> Set) -> &Arc<DeclaredSet> {
        match self.known.sets.get(&id) {
            Some(state) => &state.set,
            None => self.sets.entry(id).or_insert_with_key(|id| {
                Arc::new(DeclaredSet { id: id.clone(), name: id.clone().into(), declaration: declare() })
            }),
        }
    }

    fn chain(&mut self, id: ChainId, rules: impl FnOnce() -> Vec<Rule>) -> &Arc<SharedChain> {
        match self.known.chains.get(&id) {
            Some(state) => &state.chain,
            None => self.chains.entry(id).or_insert_with_key(|id| {
                Arc::new(SharedChain { id: id.clone(), name: id.clone().into(), rules: rules() })
            }),
        }
    }
}

/// A fragment in the making.
#[derive(Debug)]
pub(super) struct Draft<'p, 'a> {
    pub(super) fragment: Fragment,
    backends: Vec<BackendName>,
    elements: Vec<(Arc<DeclaredSet>, Vec<FragmentElement>)>,
    pool: &'p mut Pool<'a>,
}

impl<'p, 'a> Draft<'p, 'a> {
    /// An empty one of a frontend, or of the host.
    pub(super) fn new(owner: Option<FrontendId>, pool: &'p mut Pool<'a>) -> Self {
        let fragment = Fragment { owner, ..Fragment::default() };
        Draft { fragment, backends: vec![], elements: vec![], pool }
    }

    /// Needs a set, and elements in it.
    pub(super) fn fill(
        &mut self,
        id: SetId,
        declare: impl FnOnce() -> Set,
        elements: impl IntoIterator<Item = (Key, Data)>,
    ) -> SetName {
        self.count(id, declare, elements.into_iter().map(|(key, data)| (key, data, None)))
    }

    /// Needs elements that count for backends in a set. What is there twice is there once.
    pub(super) fn count<'b>(
        &mut self,
        id: SetId,
        declare: impl FnOnce() -> Set,
        elements: impl IntoIterator<Item = (Key, Data, Option<&'b Backend>)>,
    ) -> SetName {
        let known = self.elements.iter().position(|(set, _)| set.id == id);
        let at = known.unwrap_or_else(|| {
            let set = self.pool.set(id, declare);
            self.elements.push((set.clone(), vec![]));
            self.elements.len() - 1
        });
        let backends = &mut self.backends;
        let mut index = |backend: &Backend| {
            let known = backends.iter().position(|name| *name == backend.name);
            known.unwrap_or_else(|| {
                backends.push(backend.name.clone());
                backends.len() - 1
            }) as u16
        };
        let (set, held) = &mut self.elements[at];
        held.extend(elements.into_iter().map(|(key, data, backend)| FragmentElement {
            key,
            data,
            backend: backend.map(&mut index),
        }));
        set.name.clone()
    }

    /// Leads to a chain that others may lead to, too.
    pub(super) fn shared(&mut self, id: ChainId, rules: impl FnOnce() -> Vec<Rule>) -> ChainName {
        let chain = self.pool.chain(id, rules);
        if !self.fragment.shared.contains(chain) {
            self.fragment.shared.push(chain.clone());
        }
        chain.name.clone()
    }

    /// Has a chain of its own.
    pub(super) fn own(&mut self, id: ChainId, rules: Vec<Rule>) -> ChainName {
        let name = ChainName::from(id);
        self.fragment.own.push((name.clone(), rules));
        name
    }

    /// Leads to the chain where packets end whose slot is not found (kernels before 2025 may miss one that is being
    /// replaced): they must not leave untranslated, and dropped, the client sends them again. One chain for all,
    /// because a counter is memory for each CPU.
    pub(super) fn miss(&mut self) -> Rule {
        let rules = || vec![Rule(vec![Statement::Counter, Statement::Drop])];
        Rule(vec![Statement::Goto(self.shared(ChainId::Miss, rules))])
    }

    /// Needs a rule in a chain of all frontends.
    pub(super) fn hook(&mut self, chain: ChainId, rank: Rank, rule: Rule) {
        self.fragment.hooks.push(Hook { chain, rank, rule: Arc::new(rule) });
    }

    pub(super) fn finish(mut self) -> Fragment {
        let elements = self.elements.into_iter().map(|(set, held)| Elements::new(set, held));
        self.fragment.elements = elements.collect();
        self.fragment.backends = self.backends.into();
        self.fragment.shared.shrink_to_fit();
        self.fragment.own.shrink_to_fit();
        self.fragment.hooks.shrink_to_fit();
        self.fragment
    }
}
