//! Foreign changes of the table.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use sluice_nft::{
    ChainName, Data, Field, Ip, Key, Operand, Set, SetFlags, SetName, SetRef, SetType, Step, Table,
};

/// An edit of whatever is there.
#[derive(Clone, Debug)]
pub struct Edit {
    verb: Verb,
    /// Chooses the set or chain.
    object: Index,
    /// Chooses the element, rule or kind in it.
    part: Index,
    /// Chooses what else an edit needs.
    other: Index,
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    DeleteElement,
    AddElement,
    AddRange,
    LeadElementElsewhere,
    FlushSet,
    AddSet,
    DeleteSet,
    DeclareSetOtherwise,
    DeleteRule,
    AddRule,
    InsertRule,
    ReplaceRule,
    FlushChain,
    AddChain,
    DeleteChain,
    RenameChain,
    MoveBaseChain,
    FlushTable,
    DeleteTable,
    FlushRuleset,
    MakeDormant,
    AddTableOfTheirOwn,
    AddObject,
}

const VERBS: [Verb; 23] = [
    Verb::DeleteElement,
    Verb::AddElement,
    Verb::AddRange,
    Verb::LeadElementElsewhere,
    Verb::FlushSet,
    Verb::AddSet,
    Verb::DeleteSet,
    Verb::DeclareSetOtherwise,
    Verb::DeleteRule,
    Verb::AddRule,
    Verb::InsertRule,
    Verb::ReplaceRule,
    Verb::FlushChain,
    Verb::AddChain,
    Verb::DeleteChain,
    Verb::RenameChain,
    Verb::MoveBaseChain,
    Verb::FlushTable,
    Verb::DeleteTable,
    Verb::FlushRuleset,
    Verb::MakeDormant,
    Verb::AddTableOfTheirOwn,
    Verb::AddObject,
];

/// Rules that are not ours, with and without what our reader knows.
const RULES: [&str; 17] = [
    "accept",
    "counter drop",
    "tcp dport 22 counter accept comment \"theirs\"",
    "meta l4proto { tcp, udp } limit rate 5/second return",
    "ip daddr 203.0.113.10 tcp dport 80 dnat ip to 192.0.2.1:80",
    "ct mark set 7",
    "ip saddr { 192.0.2.1, 192.0.2.2 } accept",
    "ip saddr != { 192.0.2.1, 192.0.2.2 } counter",
    "ip saddr != { 192.0.2.1, 192.0.2.2 } accept",
    "ip saddr != { 192.0.2.0/24, 198.51.100.0/24 } accept",
    "ip saddr . tcp dport != { 192.0.2.1 . 80, 192.0.2.2 . 81 } drop",
    "ip saddr != 192.0.2.0/24 accept",
    "tcp dport vmap { 80 : accept, 443 : drop }",
    "tcp dport != 80-90 accept",
    "meter their-meter size 128 { ip saddr limit rate 5/second } accept",
    "meter their-count size 128 { ip saddr ct count over 5 } drop",
    "dnat ip to ip saddr map { 192.0.2.1 : 192.0.2.9 }",
];

/// Sets that are not ours.
const SETS: [&str; 6] = [
    "add set inet sluice theirs { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 }; }",
    "add set inet sluice theirs-too { type ipv4_addr; flags interval, timeout; elements = { 192.0.2.0/24 timeout 1h }; }",
    "add set inet sluice their-pairs { type ipv4_addr . ipv4_addr; flags interval; elements = { 192.0.2.0/24 . 10.0.0.0/8 }; }",
    "add set inet sluice their-dynamic { type ipv4_addr; size 64; flags dynamic, timeout; }",
    "add map inet sluice their-map { type inet_service : ipv4_addr; elements = { 80 : 192.0.2.1 }; }",
    "add map inet sluice their-verdicts { type inet_service : verdict; elements = { 80 : drop }; }",
];

/// Stateful objects.
const OBJECTS: [&str; 3] = [
    "add counter inet sluice their-counter",
    "add quota inet sluice their-quota { 10 mbytes }",
    "add limit inet sluice their-limit { rate 5/second }",
];

/// Chains that are not ours.
const CHAINS: [&str; 4] = [
    "add chain inet sluice their-chain\nadd rule inet sluice their-chain counter accept",
    "add chain inet sluice their-filter { type filter hook forward priority 0; policy drop; }",
    "add chain inet sluice their-nat { type nat hook prerouting priority -150; }\nadd rule inet sluice their-nat accept",
    "add chain inet sluice their-jump\nadd chain inet sluice their-target\nadd rule inet sluice their-jump jump their-target",
];

/// Any edit, the same number of each kind.
pub fn any_edit() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    (select(&VERBS[..]), index(), index(), index()).prop_map(|(verb, object, part, other)| Edit {
        verb,
        object,
        part,
        other,
    })
}

impl Edit {
    /// The edit of this table, for `nft -f`; `None` if nothing there can be edited so. `handles` are what the
    /// kernel calls the rules of a chain.
    pub fn script(&self, table: &Table, handles: impl Fn(&ChainName) -> Vec<u64>) -> Option<String> {
        let set = || self.choose(table.sets.iter().filter(|(_, set)| !set.elements.is_empty()));
        let any_set = || self.choose(&table.sets);
        let chain = || self.choose(table.chains.iter().filter(|(_, chain)| !chain.rules.is_empty()));
        let any_chain = || self.choose(&table.chains);
        let handle = |chain: &ChainName| {
            let handles = handles(chain);
            (!handles.is_empty()).then(|| *self.part.get(&handles))
        };
        let rule = self.other.get(&RULES);
        Some(match self.verb {
            Verb::DeleteElement => self.delete_element(set()?),
            Verb::AddElement => self.add_element(set()?),
            Verb::AddRange => {
                let ranges = |set: &Set| set.flags == SetFlags::Interval && !set.elements.is_empty();
                self.add_range(self.choose(table.sets.iter().filter(|(_, set)| ranges(set)))?)?
            }
            Verb::LeadElementElsewhere => self.lead_element_elsewhere(set()?)?,
            Verb::FlushSet => {
                let (name, set) = set()?;
                format!("flush {} inet sluice {name}", set.keyword())
            }
            Verb::AddSet => (*self.part.get(&SETS)).to_owned(),
            Verb::AddObject => (*self.part.get(&OBJECTS)).to_owned(),
            Verb::DeleteSet => {
                let (name, set) = any_set()?;
                format!("flush table inet sluice\ndelete {} inet sluice {name}", set.keyword())
            }
            Verb::DeclareSetOtherwise => {
                let (name, set) = any_set()?;
                let delete = format!("flush table inet sluice\ndelete {} inet sluice {name}", set.keyword());
                format!("{delete}\nadd set inet sluice {name} {{ type ipv4_addr; }}")
            }
            Verb::DeleteRule => {
                let (name, _) = chain()?;
                format!("delete rule inet sluice {name} handle {}", handle(name)?)
            }
            Verb::AddRule => format!("add rule inet sluice {} {rule}", any_chain()?.0),
            Verb::InsertRule => format!("insert rule inet sluice {} {rule}", any_chain()?.0),
            Verb::ReplaceRule => {
                let (name, _) = chain()?;
                format!("replace rule inet sluice {name} handle {} {rule}", handle(name)?)
            }
            Verb::FlushChain => format!("flush chain inet sluice {}", chain()?.0),
            Verb::AddChain => (*self.part.get(&CHAINS)).to_owned(),
            Verb::DeleteChain => {
                let verdicts = table.sets.iter().filter(|(_, set)| set.data == SetType::Verdicts);
                let flushes: String =
                    verdicts.map(|(name, _)| format!("flush map inet sluice {name}\n")).collect();
                format!("flush table inet sluice\n{flushes}delete chain inet sluice {}", any_chain()?.0)
            }
            Verb::RenameChain => format!("rename chain inet sluice {} renamed", any_chain()?.0),
            Verb::MoveBaseChain => {
                let bases = table.chains.iter().filter(|(_, chain)| chain.base.is_some());
                let (name, _) = self.choose(bases)?;
                format!(
                    "flush chain inet sluice {name}\ndelete chain inet sluice {name}\n\
                     add chain inet sluice {name} {{ type filter hook input priority 5; }}"
                )
            }
            Verb::FlushTable => "flush table inet sluice".to_owned(),
            Verb::DeleteTable => "delete table inet sluice".to_owned(),
            Verb::FlushRuleset => "flush ruleset".to_owned(),
            Verb::MakeDormant => "add table inet sluice { flags dormant; }".to_owned(),
            Verb::AddTableOfTheirOwn => "add table inet theirs\nadd chain inet theirs prerouting \
                                         { type nat hook prerouting priority dstnat; }"
                .to_owned(),
        })
    }

    fn choose<T>(&self, all: impl IntoIterator<Item = T>) -> Option<T> {
        let mut all: Vec<_> = all.into_iter().collect();
        (!all.is_empty()).then(|| all.swap_remove(self.object.index(all.len())))
    }

    fn delete_element(&self, (name, set): (&SetName, &Set)) -> String {
        Step::DeleteElements(of(name, set), vec![self.element(set)]).to_string()
    }

    /// One whose key differs in a few bits from one that is there.
    fn add_element(&self, (name, set): (&SetName, &Set)) -> String {
        let (key, data) = self.element(set);
        let mut octets = key.as_slice().to_vec();
        let at = self.other.index(octets.len());
        octets[at] ^= 1 << self.other.index(8);
        Step::AddElements(of(name, set), vec![(Key::EMPTY.with(&octets), data)]).to_string()
    }

    /// One less, and one that is around all others in each part of the key; `None` where nft has no range of a part.
    fn add_range(&self, (name, set): (&SetName, &Set)) -> Option<String> {
        let part = |part: &Operand| match part {
            Operand::Field(Field::Saddr(Ip::V4) | Field::Daddr(Ip::V4)) => Some("0.0.0.0/0"),
            Operand::Field(Field::Saddr(Ip::V6) | Field::Daddr(Ip::V6)) => Some("::/0"),
            Operand::Field(Field::L4proto) => Some("0-255"),
            Operand::Field(Field::Dport) => Some("0-65535"),
            _ => None,
        };
        let parts = set.key.iter().map(part).collect::<Option<Vec<_>>>()?;
        let delete = self.delete_element((name, set));
        Some(format!("{delete}\nadd element inet sluice {name} {{ {} }}", parts.join(" . ")))
    }

    /// The same key with what another one leads to.
    fn lead_element_elsewhere(&self, (name, set): (&SetName, &Set)) -> Option<String> {
        let (key, data) = self.element(set);
        let others: Vec<_> = set.elements.values().filter(|element| element.data != data).collect();
        let other = (!others.is_empty()).then(|| self.other.get(&others).data.clone())?;
        let delete = Step::DeleteElements(of(name, set), vec![(key, data)]);
        let add = Step::AddElements(of(name, set), vec![(key, other)]);
        Some(format!("{delete}\n{add}"))
    }

    fn element(&self, set: &Set) -> (Key, Data) {
        let elements: Vec<_> = set.elements.iter().collect();
        let (key, element) = *self.part.get(&elements);
        (*key, element.data.clone())
    }
}

fn of(name: &SetName, set: &Set) -> SetRef {
    let declaration = Set { elements: Default::default(), ..set.clone() };
    SetRef { name: name.clone(), declaration: Arc::new(declaration) }
}
