//! The kernel's checks of single objects and of the graph of chains.
//!
//! Source: nf_tables_api.c, and the `init` and `validate` functions of the expressions (nft_lookup.c,
//! nft_nat.c, nft_masq.c, nft_synproxy.c, nft_reject.c, nft_numgen.c, nft_hash.c) in net/netfilter.

use std::collections::HashSet;

use crate::{
    Base, ChainName, Data, Errno, Hook, Ip, Key, Kind, Operand, Rule, Set, SetFlags, SetName, SetType,
    SetUpdate, SlotExpr, Statement, Table,
};

/// Maximum length of a name, without the terminating zero.
const NAME: usize = 255;

/// Conntrack's priority (`NF_IP_PRI_CONNTRACK`); translation must come after it.
const CONNTRACK: i32 = -200;

/// Maximum nesting of chains (`NFT_JUMP_STACK_SIZE`).
const DEPTH: usize = 16;

pub(super) fn name(name: &str) -> Result<(), Errno> {
    if name.len() > NAME { Err(Errno::ERANGE) } else { Ok(()) }
}

pub(super) fn base(base: Base) -> Result<(), Errno> {
    if base.kind == Kind::Nat && base.priority <= CONNTRACK { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
}

pub(super) fn key(set: &Set, key: &Key) -> Result<(), Errno> {
    if key.as_slice().len() == width(&set.key) { Ok(()) } else { Err(Errno::EINVAL) }
}

pub(super) fn element(table: &Table, set: &Set, key: &Key, data: &Data) -> Result<(), Errno> {
    self::key(set, key)?;
    match (&set.data, data) {
        (SetType::Set, Data::None) => Ok(()),
        (SetType::Set, Data::KeyEnd(_)) if set.flags == SetFlags::Interval => Ok(()),
        (SetType::Map(parts), Data::Value(value)) if value.as_slice().len() == width(parts) => Ok(()),
        (SetType::Verdicts, Data::Goto(chain)) => target(table, chain),
        _ => Err(Errno::EINVAL),
    }
}

/// Whether an element can be added to the set. A range must neither begin nor end in another
/// one; it may enclose one (nft_pipapo_insert() in nft_set_pipapo.c).
pub(super) fn is_free(set: &Set, key: &Key, data: &Data) -> Result<(), Errno> {
    let last = set.last_key(key, data);
    if set.find(key).or_else(|| set.find(&last)).is_some() {
        return Err(Errno::EEXIST);
    }
    if last < *key { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Checks each statement of a rule, independent of the base chains that reach it.
pub(super) fn rule(table: &Table, rule: &Rule) -> Result<(), Errno> {
    for statement in &rule.0 {
        match statement {
            // A map can be used as a set: its data are ignored.
            Statement::InSet(parts, set) | Statement::NotInSet(parts, set) => {
                lookup(table, parts, set).map(|_| ())?;
            }
            Statement::VerdictMap(parts, map) => match lookup(table, parts, map)?.data {
                SetType::Verdicts => {}
                _ => return Err(Errno::EINVAL),
            },
            Statement::Dnat { ip, key, map, port } => translation(lookup(table, key, map)?, *ip, *port)?,
            Statement::SnatTo { ip, key, map } => translation(lookup(table, key, map)?, *ip, true)?,
            Statement::Update { key, set, update } => match (lookup(table, key, set)?, update) {
                (set, _) if !set.is_dynamic() => {
                    // A hash table without a size could be filled by rules, if it were declared so.
                    let grows = set.flags == SetFlags::Static && set.size.is_none();
                    return Err(if grows { Errno::EINVAL } else { Errno::EOPNOTSUPP });
                }
                (Set { data: SetType::Map(held), .. }, SetUpdate::Data(data, _)) => {
                    (width(data) >= width(held)).then_some(()).ok_or(Errno::ENODATA)?;
                }
                (Set { data: SetType::Set, .. }, SetUpdate::LimitOver(_) | SetUpdate::CtCountOver(_)) => {}
                _ => return Err(Errno::EINVAL),
            },
            Statement::Goto(chain) | Statement::Jump(chain) => target(table, chain)?,
            Statement::Foreign(_) => return Err(Errno::EOPNOTSUPP),
            Statement::Match(..)
            | Statement::Masquerade
            | Statement::Snat { .. }
            | Statement::Counter
            | Statement::Drop
            | Statement::Notrack
            | Statement::Synproxy { .. }
            | Statement::RejectReset
            | Statement::RejectPort
            | Statement::Accept => {}
        }
    }
    Ok(())
}

/// Checks every chain that a base chain reaches, for each base chain.
pub(super) fn reach(table: &Table) -> Result<(), Errno> {
    for (name, chain) in &table.chains {
        if let Some(base) = chain.base {
            walk(table, base, name, 0, &mut HashSet::new())?;
        }
    }
    Ok(())
}

fn walk<'a>(
    table: &'a Table,
    base: Base,
    name: &'a ChainName,
    depth: usize,
    known: &mut HashSet<(&'a ChainName, usize)>,
) -> Result<(), Errno> {
    if depth == DEPTH {
        return Err(Errno::EMLINK);
    }
    if !known.insert((name, depth)) {
        return Ok(());
    }
    let rules = table.chains.get(name).map_or(&[][..], |chain| &chain.rules);
    for statement in rules.iter().flat_map(|rule| &rule.0) {
        match statement {
            Statement::Goto(chain) | Statement::Jump(chain) => walk(table, base, chain, depth + 1, known)?,
            Statement::VerdictMap(_, map) => {
                for element in table.sets.get(map).into_iter().flat_map(|set| set.elements.values()) {
                    if let Data::Goto(chain) = &element.data {
                        walk(table, base, chain, depth + 1, known)?;
                    }
                }
            }
            other if !can_be_at(other, base) => return Err(Errno::EOPNOTSUPP),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a statement is supported in chains that this base chain reaches.
fn can_be_at(statement: &Statement, Base { kind, hook, .. }: Base) -> bool {
    match statement {
        Statement::Masquerade => kind == Kind::Nat && hook == Hook::Postrouting,
        Statement::Snat { .. } | Statement::SnatTo { .. } => {
            kind == Kind::Nat && matches!(hook, Hook::Postrouting | Hook::Input)
        }
        Statement::Dnat { .. } => kind == Kind::Nat && matches!(hook, Hook::Prerouting | Hook::Output),
        Statement::Synproxy { .. } => matches!(hook, Hook::Input | Hook::Forward),
        Statement::RejectReset | Statement::RejectPort => hook != Hook::Postrouting,
        Statement::Match(..)
        | Statement::InSet(..)
        | Statement::NotInSet(..)
        | Statement::VerdictMap(..)
        | Statement::Update { .. }
        | Statement::Counter
        | Statement::Drop
        | Statement::Notrack
        | Statement::Accept
        | Statement::Goto(_)
        | Statement::Jump(_)
        | Statement::Foreign(_) => true,
    }
}

/// The set of a lookup, if the rule loads at least its whole key.
fn lookup<'a>(table: &'a Table, parts: &[Operand], set: &SetName) -> Result<&'a Set, Errno> {
    for part in parts {
        if let Operand::Slot(pick) = part {
            self::pick(pick)?;
        }
    }
    let set = table.sets.get(set).ok_or(Errno::ENOENT)?;
    if width(parts) < width(&set.key) { Err(Errno::ENODATA) } else { Ok(set) }
}

/// A map of translations holds an address, and a port if it is translated.
fn translation(map: &Set, ip: Ip, port: bool) -> Result<(), Errno> {
    let SetType::Map(data) = &map.data else { return Err(Errno::EINVAL) };
    let address = if ip == Ip::V4 { 4 } else { 16 };
    if width(data) < address + if port { 4 } else { 0 } { Err(Errno::ENODATA) } else { Ok(()) }
}

fn pick(pick: &SlotExpr) -> Result<(), Errno> {
    let (modulus, offset) = pick.range();
    match modulus.checked_sub(1) {
        None => Err(Errno::ERANGE),
        Some(last) => offset.checked_add(last).map(|_| ()).ok_or(Errno::EOVERFLOW),
    }
}

fn target(table: &Table, chain: &ChainName) -> Result<(), Errno> {
    match table.chains.get(chain).ok_or(Errno::ENOENT)?.base {
        None => Ok(()),
        Some(_) => Err(Errno::EOPNOTSUPP),
    }
}

/// Width in bytes of a concatenation in the kernel's registers.
fn width(parts: &[Operand]) -> usize {
    parts.iter().map(|part| part.width().next_multiple_of(4)).sum()
}
