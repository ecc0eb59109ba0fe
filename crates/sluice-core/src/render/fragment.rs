//! [`Fragment`]: all that one frontend adds to the table. `change` renders it with a [`Draft`]; a program
//! owns it.

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

/// All that one frontend adds to the table. It depends on the frontend, and on its stripe, its affinity group
/// and which of its backends are ambiguous.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The frontend; `None`: the host.
    pub(super) owner: Option<FrontendId>,
    /// Backends that its elements count for.
    backends: Box<[BackendName]>,
    /// Elements by set. A set without elements is included if rules refer to it.
    pub(super) elements: Box<[Elements]>,
    /// Chains that other frontends may share.
    pub(super) shared: Vec<Arc<SharedChain>>,
    /// Chains of this frontend alone.
    pub(super) own: Vec<(ChainName, Vec<Rule>)>,
    /// Rules in common chains.
    pub(super) hooks: Vec<Hook>,
    /// Properties that the common rules depend on.
    pub(super) traits: Option<Traits>,
    /// Its slots, if they are in a map of stripes.
    pub(super) stripe: Option<Stripe>,
    /// Number of its affinity group.
    pub(super) group: Option<u32>,
}

/// Elements of one set, stored as bytes of key, value and (if the set counts) backend, because there are
/// hundreds of thousands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elements {
    pub(super) set: Arc<DeclaredSet>,
    bytes: Box<[u8]>,
    /// The chain that all elements lead to, if they are verdicts.
    verdict: Option<ChainName>,
}

/// A stored element.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredElement<'a> {
    /// The bytes of its key, which have the order of keys.
    pub(super) key: &'a [u8],
    value: &'a [u8],
    of: &'a Elements,
}

/// One element, and the index of the backend that it counts for.
#[derive(Clone, Debug)]
pub(super) struct FragmentElement {
    pub(super) key: Key,
    pub(super) data: Data,
    backend: Option<u16>,
}

/// A set of fragments, without the size that depends on all its elements.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DeclaredSet {
    pub(super) id: SetId,
    /// The name without a size.
    pub(super) name: SetName,
    pub(super) declaration: Set,
}

impl DeclaredSet {
    /// The name with a size.
    pub(super) fn named(&self, size: Option<u32>) -> SetName {
        match size {
            None | Some(SMALLEST) => self.name.clone(),
            Some(size) => self.id.sized(size),
        }
    }

    /// Widths in bytes of key, value and backend of an element.
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

    /// Elements in the order of their keys.
    pub(super) fn stored(&self) -> impl Iterator<Item = StoredElement<'_>> + Clone {
        let [key, value, counted] = self.set.widths();
        self.bytes.chunks_exact(key + value + counted).map(move |element| {
            let (key, value) = element.split_at(key);
            StoredElement { key, value, of: self }
        })
    }

    /// Keys in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.stored().map(|element| element.key())
    }

    fn iter(&self) -> impl Iterator<Item = FragmentElement> + '_ {
        let [_, value, _] = self.set.widths();
        self.stored().map(move |element| {
            let backend = element.value[value..].try_into().ok().map(u16::from_ne_bytes);
            FragmentElement { key: element.key(), data: element.data(), backend }
        })
    }
}

impl StoredElement<'_> {
    pub(super) fn key(&self) -> Key {
        Key::new(self.key).unwrap_or(Key::EMPTY)
    }

    pub(super) fn data(&self) -> Data {
        let Elements { set, verdict, .. } = self.of;
        let [_, width, _] = set.widths();
        let value = &self.value[..width];
        match (verdict, set.declaration.flags) {
            (Some(chain), _) => Data::Goto(chain.clone()),
            (None, SetFlags::Interval) => Octets::new(value).map_or(Data::None, Data::KeyEnd),
            (None, _) if value.is_empty() => Data::None,
            (None, _) => Octets::new(value).map_or(Data::None, Data::Value),
        }
    }
}

/// A chain that several frontends may share. Its name determines its rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SharedChain {
    pub(super) id: ChainId,
    pub(super) name: ChainName,
    pub(super) rules: Vec<Rule>,
}

/// A rule in a common chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) chain: ChainId,
    /// If two rules match a packet, the one with the lower rank comes first.
    pub(super) rank: Rank,
    pub(super) rule: Arc<Rule>,
}

impl Fragment {
    /// Elements of one of its sets, with their owners.
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

    /// Name of its service; `None` for the host.
    pub(super) fn service(&self) -> Option<&ServiceName> {
        self.owner.as_ref().map(|owner| &owner.service)
    }
}

/// Declarations and chains that fragments share, to store them once: those of a program, and new ones.
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

/// A fragment under construction.
#[derive(Debug)]
pub(super) struct Draft<'p, 'a> {
    pub(super) fragment: Fragment,
    backends: Vec<BackendName>,
    elements: Vec<(Arc<DeclaredSet>, Vec<FragmentElement>)>,
    pool: &'p mut Pool<'a>,
}

impl<'p, 'a> Draft<'p, 'a> {
    /// An empty draft for a frontend, or for the host.
    pub(super) fn new(owner: Option<FrontendId>, pool: &'p mut Pool<'a>) -> Self {
        let fragment = Fragment { owner, ..Fragment::default() };
        Draft { fragment, backends: vec![], elements: vec![], pool }
    }

    /// Adds a set and elements without a backend; returns the name of the set.
    pub(super) fn fill(
        &mut self,
        id: SetId,
        declare: impl FnOnce() -> Set,
        elements: impl IntoIterator<Item = (Key, Data)>,
    ) -> SetName {
        self.count(id, declare, elements.into_iter().map(|(key, data)| (key, data, None)))
    }

    /// Adds a set and elements that count for backends. Duplicate elements are added once.
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

    /// Adds a chain that other frontends may share.
    pub(super) fn shared(&mut self, id: ChainId, rules: impl FnOnce() -> Vec<Rule>) -> ChainName {
        let chain = self.pool.chain(id, rules);
        if !self.fragment.shared.contains(chain) {
            self.fragment.shared.push(chain.clone());
        }
        chain.name.clone()
    }

    /// Adds a chain of this frontend alone.
    pub(super) fn own(&mut self, id: ChainId, rules: Vec<Rule>) -> ChainName {
        let name = ChainName::from(id);
        self.fragment.own.push((name.clone(), rules));
        name
    }

    /// A rule that leads to the chain for packets whose slot is not found: kernels before 2025 may miss an
    /// element that is being replaced. The packets must not leave untranslated. They are dropped, and the
    /// client sends them again. All frontends share one chain, because a counter needs memory per CPU.
    pub(super) fn miss(&mut self) -> Rule {
        let rules = || vec![Rule(vec![Statement::Counter, Statement::Drop])];
        Rule(vec![Statement::Goto(self.shared(ChainId::Miss, rules))])
    }

    /// Adds a rule to a common chain.
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
