//! Tables of another version: the same services, with other names for objects with other declarations, or
//! with our names on foreign objects.

use proptest::prelude::*;
use proptest::sample::select;
use sluice_nft::{
    ChainName, Comparison, Data, Field, Hook, Key, Operand, Rule, Set, SetName, Statement, Table,
};

/// How a layout differs from ours.
#[derive(Clone, Debug)]
pub struct Older {
    /// Sizes of sets; `None` leaves them as they are.
    size: Option<Option<u32>>,
    /// Whether elements of maps count.
    counters: bool,
    /// Whether keys begin with the protocol.
    keys: bool,
    /// Whether all sets have other names.
    sets: bool,
    /// Whether all chains have other names.
    chains: bool,
    /// Whether what has another declaration keeps its name nevertheless.
    keeps_names: bool,
    /// Added to priorities of base chains.
    priority: i32,
    /// Whether rules say more, and count less.
    rules: bool,
}

pub fn any_older() -> impl Strategy<Value = Older> {
    let size = select(vec![None, Some(None), Some(None), Some(Some(4096)), Some(Some(70_000))]);
    let flag = || prop::bool::weighted(0.3);
    let priority = select(vec![0, 0, -10, 10]);
    (size, prop::bool::weighted(0.5), flag(), flag(), flag(), priority, flag()).prop_map(
        |(size, counters, keys, sets, chains, priority, rules)| Older {
            size,
            counters,
            keys,
            sets,
            chains,
            keeps_names: false,
            priority,
            rules,
        },
    )
}

impl Older {
    /// Keys that begin with the protocol.
    pub fn with_other_keys() -> Self {
        Older { size: None, keys: true, ..Older::without_sizes() }
    }

    /// Sets without a size.
    pub fn without_sizes() -> Self {
        Older {
            size: Some(None),
            counters: true,
            keys: false,
            sets: false,
            chains: false,
            keeps_names: false,
            priority: 0,
            rules: false,
        }
    }

    /// The same, under our names.
    pub fn under_our_names(self) -> Self {
        Older { sets: false, chains: false, keeps_names: true, ..self }
    }

    /// The object of the other version that corresponds to this one.
    pub fn layout(&self, table: &Table) -> Table {
        let mut older = Table::default();
        for (name, set) in &table.sets {
            older.sets.insert(self.set_name(name, table), self.set(set, table));
        }
        for (name, chain) in &table.chains {
            let mut chain = chain.clone();
            if let Some(base) = &mut chain.base {
                base.priority += self.priority;
            }
            let at_prerouting = chain.base.is_some_and(|base| base.hook == Hook::Prerouting);
            for rule in &mut chain.rules {
                self.rule(rule, at_prerouting, table);
            }
            older.chains.insert(self.chain_name(name, table), chain);
        }
        older
    }

    fn set(&self, held: &Set, table: &Table) -> Set {
        let mut set = self.declaration(held);
        let turns = self.turns(&held.key);
        for (key, mut element) in held.elements.clone() {
            if let Data::Goto(chain) = &mut element.data {
                *chain = self.chain_name(chain, table);
            }
            let key = if turns { turned(&set.key, &key) } else { key };
            set.elements.insert(key, element);
        }
        set
    }

    fn declaration(&self, set: &Set) -> Set {
        let mut set = set.declaration_only();
        if !set.is_dynamic() {
            set.size = self.size.unwrap_or(set.size);
        }
        set.counter &= self.counters;
        if self.turns(&set.key) {
            set.key.swap(0, 1);
        }
        set
    }

    fn rule(&self, rule: &mut Rule, at_prerouting: bool, table: &Table) {
        for statement in &mut rule.0 {
            match statement {
                Statement::InSet(key, set)
                | Statement::NotInSet(key, set)
                | Statement::VerdictMap(key, set)
                | Statement::Dnat { key, map: set, .. }
                | Statement::SnatTo { key, map: set, .. }
                | Statement::Update { key, set, .. } => {
                    if self.turns(key) {
                        key.swap(0, 1);
                    }
                    *set = self.set_name(set, table);
                }
                Statement::Goto(chain) | Statement::Jump(chain) => *chain = self.chain_name(chain, table),
                _ => {}
            }
        }
        if self.rules {
            rule.0.retain(|statement| *statement != Statement::Counter);
            if at_prerouting {
                rule.0.insert(0, Statement::Match(Field::CtState, Comparison::AnyBit(Field::NEW)));
            }
        }
    }

    /// Where clients come last, they may be ranges, which must be last.
    fn turns(&self, key: &[Operand]) -> bool {
        let is_client = |part: &Operand| part.fields().iter().any(|field| matches!(field, Field::Saddr(_)));
        let ends_with_client =
            key.last().is_some_and(|part| !matches!(part, Operand::Slot(_)) && is_client(part));
        self.keys && key.len() > 1 && !ends_with_client
    }

    fn set_name(&self, name: &SetName, table: &Table) -> SetName {
        let set = &table.sets[name];
        let is_declared_alike = self.keeps_names || set.same_declaration(&self.declaration(set));
        if self.sets || !is_declared_alike { format!("old-{name}").into() } else { name.clone() }
    }

    fn chain_name(&self, name: &ChainName, table: &Table) -> ChainName {
        let moves = table.chains[name].base.is_some() && self.priority != 0;
        if self.chains || moves && !self.keeps_names { format!("old-{name}").into() } else { name.clone() }
    }
}

/// The key with its first two parts swapped; `parts` describe the result.
fn turned(parts: &[Operand], key: &Key) -> Key {
    let width = |part: &Operand| part.width().next_multiple_of(4);
    let (second, first) = (width(&parts[0]), width(&parts[1]));
    let bytes = key.as_slice();
    Key::EMPTY.with(&bytes[first..first + second]).with(&bytes[..first]).with(&bytes[first + second..])
}
