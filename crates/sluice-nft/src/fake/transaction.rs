//! A commit: applies steps in order to a copy of the state.
//!
//! Source: net/netfilter/nf_tables_api.c.

use std::collections::{BTreeMap, BTreeSet};

use super::{State, check};
use crate::{
    Base, Chain, ChainName, CommitError, Counter, Counters, Data, Element, Errno, Key, Rule, Set, SetName,
    Statement, Step, Table,
};

/// The result of a commit.
pub(super) struct Done {
    pub(super) state: State,
    /// Chains whose rules were written.
    pub(super) rewritten: BTreeSet<ChainName>,
    /// Whether the commit changed anything.
    pub(super) changed: bool,
    /// Counts of deleted elements.
    pub(super) deleted: Counters,
}

/// Applies all steps to a copy of `state` and returns the state that the kernel would have.
pub(super) fn run(state: &State, steps: &[Step]) -> Result<Done, CommitError> {
    // The kernel checks the graph of chains once, at the end. Only if this fails, it starts again and checks
    // after each step, to find the one that failed: an error that a later step of the batch corrects is none.
    let done = attempt(state, steps, false)?;
    match reach_checked(&done.state, steps) {
        Ok(()) => Ok(done),
        Err(_) => attempt(state, steps, true),
    }
}

fn attempt(state: &State, steps: &[Step], check_each: bool) -> Result<Done, CommitError> {
    let mut transaction = Transaction::new(state);
    for step in steps {
        transaction.step(step).map_err(|errno| refused(step, errno))?;
        if check_each {
            reach_checked(&transaction.state, std::slice::from_ref(step))
                .map_err(|errno| refused(step, errno))?;
        }
    }
    let Transaction { state, rewritten, changed, deleted, .. } = transaction;
    Ok(Done { state, rewritten, changed, deleted })
}

/// Checks the graph of chains, if a step can have changed it.
fn reach_checked(state: &State, steps: &[Step]) -> Result<(), Errno> {
    let leads = |step: &Step| match step {
        Step::AddRule(..) => true,
        Step::AddElements(_, elements) => elements.iter().any(|(_, data)| matches!(data, Data::Goto(_))),
        Step::AddTable
        | Step::DeleteTable
        | Step::AddSet(..)
        | Step::DeleteSet(_)
        | Step::AddChain(..)
        | Step::DeleteChain(_)
        | Step::DeleteObject(_)
        | Step::FlushChain(_)
        | Step::DeleteElements(..) => false,
    };
    match &state.table {
        Some(table) if steps.iter().any(leads) => check::reach(table),
        _ => Ok(()),
    }
}

fn refused(step: &Step, errno: Errno) -> CommitError {
    CommitError { operation: step.to_string(), errno }
}

struct Transaction {
    state: State,
    rewritten: BTreeSet<ChainName>,
    changed: bool,
    deleted: Counters,
    /// Number of rules and elements that refer to a chain.
    chain_uses: BTreeMap<ChainName, isize>,
    /// Number of rules that use a set.
    set_uses: BTreeMap<SetName, isize>,
}

impl Transaction {
    fn new(state: &State) -> Self {
        let mut transaction = Transaction {
            state: state.clone(),
            rewritten: BTreeSet::new(),
            changed: false,
            deleted: Counters::new(),
            chain_uses: BTreeMap::new(),
            set_uses: BTreeMap::new(),
        };
        if let Some(table) = &state.table {
            let rules = table.chains.values().flat_map(|chain| &chain.rules);
            rules.for_each(|rule| transaction.use_rule(rule, 1));
            let elements = table.sets.values().flat_map(|set| set.elements.values());
            elements.for_each(|element| transaction.use_data(&element.data, 1));
        }
        transaction
    }

    fn step(&mut self, step: &Step) -> Result<(), Errno> {
        let changed = match step {
            Step::AddTable => self.add_table()?,
            Step::DeleteTable => self.delete_table()?,
            Step::AddSet(name, set) => self.add_set(name, set)?,
            Step::DeleteSet(name) => self.delete_set(name)?,
            Step::AddChain(name, base) => self.add_chain(name, *base)?,
            Step::DeleteChain(name) => self.delete_chain(name)?,
            Step::DeleteObject(object) => {
                self.table()?.objects.remove(object).then_some(true).ok_or(Errno::ENOENT)?
            }
            Step::AddRule(chain, rule) => self.add_rule(chain, rule)?,
            Step::FlushChain(chain) => self.flush_chain(chain)?,
            Step::AddElements(set, elements) => self.add_elements(&set.name, elements)?,
            Step::DeleteElements(set, elements) => self.delete_elements(&set.name, elements)?,
        };
        self.changed |= changed;
        Ok(())
    }

    fn add_table(&mut self) -> Result<bool, Errno> {
        if self.state.table.is_some() {
            return Err(Errno::EEXIST);
        }
        self.state.table = Some(Table::default());
        Ok(true)
    }

    fn delete_table(&mut self) -> Result<bool, Errno> {
        let table = self.state.table.take().ok_or(Errno::ENOENT)?;
        for (name, counters) in std::mem::take(&mut self.state.counters) {
            counters.into_iter().for_each(|(key, counter)| self.uncount(&name, key, counter));
        }
        self.chain_uses.clear();
        self.set_uses.clear();
        self.rewritten.extend(table.chains.into_keys());
        Ok(true)
    }

    fn add_set(&mut self, name: &SetName, set: &Set) -> Result<bool, Errno> {
        check::name(name.as_str())?;
        let sets = &mut self.table()?.sets;
        if sets.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        sets.insert(name.clone(), Set { elements: BTreeMap::new(), ..set.clone() });
        Ok(true)
    }

    fn delete_set(&mut self, name: &SetName) -> Result<bool, Errno> {
        let used = self.set_uses.get(name).is_some_and(|uses| *uses > 0);
        let sets = &mut self.table()?.sets;
        if used {
            return Err(Errno::EBUSY);
        }
        let set = sets.remove(name).ok_or(Errno::ENOENT)?;
        for (key, counter) in self.state.counters.remove(name).into_iter().flatten() {
            self.uncount(name, key, counter);
        }
        set.elements.values().for_each(|element| self.use_data(&element.data, -1));
        Ok(true)
    }

    fn add_chain(&mut self, name: &ChainName, base: Option<Base>) -> Result<bool, Errno> {
        check::name(name.as_str())?;
        let chains = &mut self.table()?.chains;
        if chains.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        base.map_or(Ok(()), check::base)?;
        chains.insert(name.clone(), Chain { base, rules: vec![] });
        Ok(true)
    }

    fn delete_chain(&mut self, name: &ChainName) -> Result<bool, Errno> {
        let has_rules = !self.chain(name)?.rules.is_empty();
        if has_rules || self.chain_uses.get(name).is_some_and(|uses| *uses > 0) {
            return Err(Errno::EBUSY);
        }
        self.table()?.chains.remove(name);
        self.rewritten.insert(name.clone());
        Ok(true)
    }

    fn add_rule(&mut self, chain: &ChainName, rule: &Rule) -> Result<bool, Errno> {
        self.chain(chain)?;
        check::rule(self.table()?, rule)?;
        self.use_rule(rule, 1);
        self.chain(chain)?.rules.push(rule.clone());
        Ok(true)
    }

    fn flush_chain(&mut self, chain: &ChainName) -> Result<bool, Errno> {
        let rules = std::mem::take(&mut self.chain(chain)?.rules);
        rules.iter().for_each(|rule| self.use_rule(rule, -1));
        self.rewritten.insert(chain.clone());
        Ok(!rules.is_empty())
    }

    fn add_elements(&mut self, name: &SetName, elements: &[(Key, Data)]) -> Result<bool, Errno> {
        for (key, data) in elements {
            let table = self.table()?;
            let set = table.sets.get(name).ok_or(Errno::ENOENT)?;
            check::element(table, set, key, data)?;
            let counter = set.counter;
            let element = Element { data: data.clone() };
            check::is_free(set, key, data)?;
            let set = table.sets.get_mut(name).ok_or(Errno::ENOENT)?;
            set.elements.insert(*key, element);
            if set.size.is_some_and(|size| set.elements.len() > size as usize) {
                return Err(Errno::ENFILE);
            }
            self.use_data(data, 1);
            if counter {
                self.state.counters.entry(name.clone()).or_default().insert(*key, Counter::default());
            }
        }
        Ok(!elements.is_empty())
    }

    /// Like the kernel, ignores the data of the elements, and deletes the range that contains a key,
    /// wherever the range begins.
    fn delete_elements(&mut self, name: &SetName, elements: &[(Key, Data)]) -> Result<bool, Errno> {
        for (key, _) in elements {
            let set = self.table()?.sets.get_mut(name).ok_or(Errno::ENOENT)?;
            check::key(set, key)?;
            let key = *set.find(key).ok_or(Errno::ENOENT)?.0;
            let element = set.elements.remove(&key).ok_or(Errno::ENOENT)?;
            self.use_data(&element.data, -1);
            if let Some(counters) = self.state.counters.get_mut(name) {
                let counter = counters.remove(&key).unwrap_or_default();
                if counters.is_empty() {
                    self.state.counters.remove(name);
                }
                self.uncount(name, key, counter);
            }
        }
        Ok(!elements.is_empty())
    }

    /// Records the count of a deleted element.
    fn uncount(&mut self, set: &SetName, key: Key, counter: Counter) {
        if !counter.is_zero() {
            *self.deleted.entry(set.clone()).or_default().entry(key).or_default() += counter;
        }
    }

    fn table(&mut self) -> Result<&mut Table, Errno> {
        self.state.table.as_mut().ok_or(Errno::ENOENT)
    }

    fn chain(&mut self, name: &ChainName) -> Result<&mut Chain, Errno> {
        self.table()?.chains.get_mut(name).ok_or(Errno::ENOENT)
    }

    fn use_rule(&mut self, rule: &Rule, by: isize) {
        for statement in &rule.0 {
            match statement {
                Statement::Goto(chain) | Statement::Jump(chain) => {
                    *self.chain_uses.entry(chain.clone()).or_default() += by;
                }
                other => {
                    let set = other.set().into_iter();
                    set.for_each(|set| *self.set_uses.entry(set.clone()).or_default() += by);
                }
            }
        }
    }

    fn use_data(&mut self, data: &Data, by: isize) {
        if let Data::Goto(chain) = data {
            *self.chain_uses.entry(chain.clone()).or_default() += by;
        }
    }
}
