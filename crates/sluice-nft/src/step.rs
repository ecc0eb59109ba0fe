//! A step: one verb on one object. A plan consists of steps; sluice-netlink encodes them.

use std::fmt;

use crate::{Base, ChainName, Data, Key, Object, Rule, Set, SetName, Table};

/// A change to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creates the table; it must not exist.
    AddTable,
    /// Deletes the table and everything in it.
    DeleteTable,
    /// Creates an empty set or map of this declaration; `set.elements` is empty.
    AddSet(SetName, Set),
    /// Deletes a set that no rule uses.
    DeleteSet(SetName),
    /// Creates an empty chain.
    AddChain(ChainName, Option<Base>),
    /// Deletes an empty chain without references.
    DeleteChain(ChainName),
    /// Deletes a stateful object without references.
    DeleteObject(Object),
    /// Appends a rule.
    AddRule(ChainName, Rule),
    /// Deletes all rules of a chain.
    FlushChain(ChainName),
    /// Adds elements; none of the keys may exist.
    AddElements(SetRef, Vec<(Key, Data)>),
    /// Deletes elements; all of the keys must exist.
    DeleteElements(SetRef, Vec<(Key, Data)>),
}

/// The set whose elements change: its name, and its declaration for the text form and the encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRef {
    /// Name of the set.
    pub name: SetName,
    /// Declaration; `elements` is empty.
    pub declaration: std::sync::Arc<Set>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = Table::NAME;
        match self {
            Step::AddTable => write!(f, "add table {table}"),
            Step::DeleteTable => write!(f, "delete table {table}"),
            Step::AddSet(name, set) => {
                write!(f, "add {} {table} {name} {}", set.keyword(), set.declaration())
            }
            Step::DeleteSet(name) => write!(f, "delete set {table} {name}"),
            Step::AddChain(name, None) => write!(f, "add chain {table} {name}"),
            Step::AddChain(name, Some(base)) => write!(f, "add chain {table} {name} {{ {base} }}"),
            Step::DeleteChain(name) => write!(f, "delete chain {table} {name}"),
            Step::DeleteObject(object) => write!(f, "delete {} {table} {}", object.keyword(), object.name),
            Step::AddRule(chain, rule) => write!(f, "add rule {table} {chain} {rule}"),
            Step::FlushChain(chain) => write!(f, "flush chain {table} {chain}"),
            Step::AddElements(set, elements) => {
                write!(f, "add element {table} {} ", set.name)?;
                write_elements(f, elements.iter().map(|(key, data)| set.declaration.element(key, data)))
            }
            Step::DeleteElements(set, elements) => {
                write!(f, "delete element {table} {} ", set.name)?;
                write_elements(f, elements.iter().map(|(key, data)| set.declaration.element(key, data)))
            }
        }
    }
}

fn write_elements(
    f: &mut fmt::Formatter<'_>,
    mut elements: impl Iterator<Item = impl fmt::Display>,
) -> fmt::Result {
    if let Some(first) = elements.next() {
        write!(f, "{{ {first}")?;
    }
    elements.try_for_each(|element| write!(f, ", {element}"))?;
    f.write_str(" }")
}
