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
use crate::model::{Address, Backend, BackendName, Listener, Ports, ServiceName};
use crate::render::owner::Owner;

/// All that one frontend adds to the table. It depends on the frontend, and on its stripe, its affinity group
/// and which of its backends are ambiguous.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The frontend; `None`: the host.
    pub(super) owner: Option<FrontendId>,
    /// Backends that its elements count for.
    backends: Vec<BackendName>,
    /// Elements by set. A set without elements is included if rules refer to it.
    pub(super) elements: Vec<Elements>,
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
    bytes: Vec<u8>,
    /// The chain that all elements lead to, if they are verdicts.
    verdict: Option<ChainName>,
}

/// A stored element.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredElement<'a> {
    /// The bytes of its key, which have the order of keys.
    pub(super) key: &'a [u8],
    value_and_backend: &'a [u8],
    of: &'a Elements,
}

/// A set of fragments, without the size that depends on all its elements.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DeclaredSet {
    pub(super) id: SetId,
    /// The name without a size.
    pub(super) name: SetName,
    pub(super) declaration: Set,
    /// Widths in bytes of key, value and backend of an element.
    widths: [usize; 3],
}

impl DeclaredSet {
    fn new(id: SetId, declaration: Set) -> Self {
        let Set { key, data, flags, counter, .. } = &declaration;
        let width = |parts: &[Operand]| parts.iter().map(|part| part.width().next_multiple_of(4)).sum();
        let value = match (data, flags) {
            (SetType::Map(parts), _) => width(parts),
            (_, SetFlags::Interval) => width(&key[key.len() - 1..]),
            (SetType::Set | SetType::Verdicts, _) => 0,
        };
        let widths = [width(key), value, if *counter { size_of::<u16>() } else { 0 }];
        DeclaredSet { name: id.clone().into(), id, declaration, widths }
    }

    /// The name with a size.
    pub(super) fn named(&self, size: Option<u32>) -> SetName {
        match size {
            None | Some(SMALLEST) => self.name.clone(),
            Some(size) => self.id.sized(size),
        }
    }
}

impl Elements {
    /// Sorts the elements, and drops duplicates.
    fn finish(&mut self) {
        let mut elements: Vec<&[u8]> = self.bytes.chunks_exact(self.set.widths.iter().sum()).collect();
        let key = self.set.widths[0];
        if !elements.is_sorted_by(|a, b| a[..key] < b[..key]) {
            elements.sort_by_key(|element| &element[..key]);
            elements.dedup_by_key(|element| &element[..key]);
            self.bytes = elements.concat();
        }
        self.bytes.shrink_to_fit();
    }

    /// Elements in the order of their keys.
    pub(super) fn stored(&self) -> impl ExactSizeIterator<Item = StoredElement<'_>> {
        self.bytes.chunks_exact(self.set.widths.iter().sum()).map(|element| {
            let (key, value_and_backend) = element.split_at(self.set.widths[0]);
            StoredElement { key, value_and_backend, of: self }
        })
    }

    /// Keys in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.stored().map(|element| element.key())
    }
}

impl StoredElement<'_> {
    pub(super) fn key(&self) -> Key {
        Key::new(self.key).unwrap_or(Key::EMPTY)
    }

    pub(super) fn data(&self) -> Data {
        let Elements { set, verdict, .. } = self.of;
        let value = &self.value_and_backend[..set.widths[1]];
        match (verdict, set.declaration.flags) {
            (Some(chain), _) => Data::Goto(chain.clone()),
            (None, SetFlags::Interval) => Octets::new(value).map_or(Data::None, Data::KeyEnd),
            (None, _) if value.is_empty() => Data::None,
            (None, _) => Octets::new(value).map_or(Data::None, Data::Value),
        }
    }

    /// The index of the backend that it counts for.
    fn backend(&self) -> Option<usize> {
        let backend = &self.value_and_backend[self.of.set.widths[1]..];
        Some(u16::from_ne_bytes(backend.try_into().ok()?).into())
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
        let owner = move |frontend, element: StoredElement<'_>| {
            let backend = element.backend().and_then(|index| self.backends.get(index));
            Owner { frontend, backend, dropped }
        };
        let frontend = self.owner.iter();
        frontend.flat_map(move |id| elements.stored().map(move |element| (element.key(), owner(id, element))))
    }

    /// The listener, if it has affinity.
    pub(super) fn affinity_key(&self) -> Option<ListenerKey> {
        let (FrontendId { listener, .. }, _) = (self.owner.as_ref()?, self.group?);
        let (address, port) = listener.exact()?;
        Some((address, listener.protocol.number(), port))
    }

    /// Address, protocol and ports of its listener, in the order of keys; `None` for the host.
    pub(super) fn destination(&self) -> Option<(Address, u8, Ports)> {
        let Listener { address, ports, protocol } = self.owner.as_ref()?.listener;
        Some((address, protocol.number(), ports))
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
            None => {
                self.sets.entry(id).or_insert_with_key(|id| Arc::new(DeclaredSet::new(id.clone(), declare())))
            }
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
    pool: &'p mut Pool<'a>,
}

impl<'p, 'a> Draft<'p, 'a> {
    /// An empty draft for a frontend, or for the host.
    pub(super) fn new(owner: Option<FrontendId>, pool: &'p mut Pool<'a>) -> Self {
        Draft { fragment: Fragment { owner, ..Fragment::default() }, pool }
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
        let Fragment { elements: of_sets, backends, .. } = &mut self.fragment;
        let known = of_sets.iter().position(|elements| elements.set.id == id);
        let at = known.unwrap_or_else(|| {
            let set = self.pool.set(id, declare).clone();
            of_sets.push(Elements { set, bytes: vec![], verdict: None });
            of_sets.len() - 1
        });
        let mut index = |backend: &Backend| {
            let known = backends.iter().position(|name| *name == backend.name);
            known.unwrap_or_else(|| {
                backends.push(backend.name.clone());
                backends.len() - 1
            }) as u16
        };
        let Elements { set, bytes, verdict } = &mut of_sets[at];
        let elements = elements.into_iter();
        bytes.reserve(elements.size_hint().0 * set.widths.iter().sum::<usize>());
        for (key, data, backend) in elements {
            bytes.extend(key.as_slice());
            match data {
                Data::None => {}
                Data::Value(value) => bytes.extend(value.as_slice()),
                Data::KeyEnd(last) => bytes.extend(last.as_slice()),
                Data::Goto(chain) => *verdict = Some(chain),
            }
            bytes.extend(&backend.map_or(u16::MAX, &mut index).to_ne_bytes()[..set.widths[2]]);
        }
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
        let Fragment { backends, elements, shared, own, hooks, .. } = &mut self.fragment;
        elements.iter_mut().for_each(Elements::finish);
        backends.shrink_to_fit();
        elements.shrink_to_fit();
        shared.shrink_to_fit();
        own.shrink_to_fit();
        hooks.shrink_to_fit();
        self.fragment
    }
}
