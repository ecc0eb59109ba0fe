//! Foreign changes of the table.

use sluice_nft::{Chain, Data, Octets, Rule, Set, SetName, Statement, Table};

use crate::event::Foreign;

/// Makes an edit, if there is what it needs.
pub fn edit(table: &mut Option<Table>, edit: Foreign) {
    if edit == Foreign::DeleteTable {
        *table = None;
    }
    let Some(table) = table else { return };
    match edit {
        Foreign::DeleteTable => {}
        Foreign::DeleteElement(index) => {
            if let Some((set, key)) = element(table, index) {
                table.sets.get_mut(&set).into_iter().for_each(|set| drop(set.elements.remove(&key)));
            }
        }
        Foreign::RepointElement(index) => {
            let Some((set, key)) = element(table, index) else { return };
            let element = table.sets.get_mut(&set).and_then(|set| set.elements.get_mut(&key));
            if let Some(element) = element
                && let Data::Value(value) = element.data
            {
                let mut octets = value.as_slice().to_vec();
                octets[3] ^= 64;
                element.data = Data::Value(Octets::EMPTY.with(&octets));
            }
        }
        Foreign::FlushChain(index) => {
            if let Some(chain) = chain(table, index) {
                chain.rules.clear();
            }
        }
        Foreign::AddRule(index) => {
            if let Some(chain) = chain(table, index) {
                chain.rules.push(Rule(vec![Statement::Counter, Statement::Accept]));
            }
        }
        Foreign::DeleteChainRules => table.chains.values_mut().for_each(|chain| chain.rules.clear()),
    }
}

fn element(table: &Table, index: usize) -> Option<(SetName, sluice_nft::Key)> {
    let is_plain = |set: &&(&SetName, &Set)| !set.1.elements.is_empty();
    let sets: Vec<_> = table.sets.iter().collect();
    let sets: Vec<_> = sets.iter().filter(is_plain).collect();
    let (name, set) = sets.get(index % sets.len().max(1))?;
    let key = set.elements.keys().nth(index % set.elements.len())?;
    Some(((*name).clone(), *key))
}

fn chain(table: &mut Table, index: usize) -> Option<&mut Chain> {
    let count = table.chains.len().max(1);
    table.chains.values_mut().nth(index % count)
}
