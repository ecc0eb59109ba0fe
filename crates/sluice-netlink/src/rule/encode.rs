//! Encodes a rule as expressions, with the registers that nft 1.0.6 would use.

use sluice_nft::{Comparison, Field, Ip, Operand, Rule, SetName, SetUpdate, SlotExpr, Statement, mask};

use super::field::{load, load_head};
use crate::expr::{
    Attached, Bitwise, Cmp, CmpOp, Counter, Dynset, Expr, Hash, Immediate, Lookup, LookupTo, Masquerade, Nat,
    Notrack, Numgen, Register, Reject, Synproxy, Translation, Verdict, words,
};

/// The expressions of a rule; `None` if it has a foreign statement, or needs more registers than
/// there are.
pub(crate) fn expressions(rule: &Rule) -> Option<Vec<Expr>> {
    let mut exprs = Vec::with_capacity(2 * rule.0.len() + 4);
    rule.0.iter().try_for_each(|statement| encode(statement, &mut exprs))?;
    Some(exprs)
}

fn encode(statement: &Statement, exprs: &mut Vec<Expr>) -> Option<()> {
    const KEY: Register = Register::FIRST;
    match statement {
        Statement::Match(field, test) => return encode_match(*field, test, exprs),
        Statement::InSet(key, set) => {
            look_up(key, reserved(key), set.to_string(), LookupTo::Nothing, false, exprs)?
        }
        Statement::NotInSet(key, set) => {
            look_up(key, reserved(key), set.to_string(), LookupTo::Nothing, true, exprs)?
        }
        Statement::VerdictMap(key, map) => {
            // nft reserves registers for a concatenated key twice.
            let scratch = if key.len() > 1 { 2 * reserved(key) } else { reserved(key) };
            look_up(key, scratch, map.to_string(), LookupTo::Verdict, false, exprs)?;
        }
        Statement::Dnat { ip, key, map, port } => {
            look_up_translation(key, map, exprs)?;
            let what = Translation::Destination { address: KEY, port: port.then(|| port_after(*ip, KEY)) };
            exprs.push(Nat { ip: *ip, what }.into());
        }
        Statement::SnatTo { ip, key, map } => {
            look_up_translation(key, map, exprs)?;
            let what = Translation::SourceTo { address: KEY, port: port_after(*ip, KEY) };
            exprs.push(Nat { ip: *ip, what }.into());
        }
        Statement::Snat { ip, first, last, ports } => {
            let second = KEY.plus(4);
            let last_in = if first == last { KEY } else { second };
            exprs.push(Immediate { data: first.as_slice().to_vec(), to: KEY }.into());
            if first != last {
                exprs.push(Immediate { data: last.as_slice().to_vec(), to: second }.into());
            }
            let what = Translation::Source { first: KEY, last: last_in, ports: *ports };
            exprs.push(Nat { ip: *ip, what }.into());
        }
        Statement::Update { key, set, update } => {
            load_key(key, KEY, KEY.plus(reserved(key)), exprs)?;
            let attached = match update {
                SetUpdate::LimitOver(rate) => Attached::LimitOver(*rate),
                SetUpdate::CtCountOver(count) => Attached::CtCountOver(*count),
                SetUpdate::Data(values, seconds) => {
                    // nft starts the data at a 16-byte register, of which none is left after two IPv6 addresses.
                    let aligned = KEY.plus(reserved(key).next_multiple_of(4));
                    let fits = aligned.fits(values.iter().map(|part| words(part.width())).sum());
                    let data = if fits { aligned } else { KEY.plus(reserved(key)) };
                    load_key(values, data, data, exprs)?;
                    Attached::Data(data, u64::from(*seconds) * 1000)
                }
            };
            exprs.push(Dynset { set: set.to_string(), key: KEY, attached }.into());
        }
        Statement::Masquerade => exprs.push(Masquerade.into()),
        Statement::Counter => exprs.push(Counter.into()),
        Statement::Drop => exprs.push(Verdict::Drop.into()),
        Statement::Notrack => exprs.push(Notrack.into()),
        Statement::Synproxy { mss } => exprs.push(Synproxy { mss: *mss }.into()),
        Statement::RejectReset => exprs.push(Reject::Reset.into()),
        Statement::RejectPort => exprs.push(Reject::Port.into()),
        Statement::Accept => exprs.push(Verdict::Accept.into()),
        Statement::Goto(chain) => exprs.push(Verdict::Goto(chain.to_string()).into()),
        Statement::Jump(chain) => exprs.push(Verdict::Jump(chain.to_string()).into()),
        Statement::Foreign(_) => return None,
    }
    Some(())
}

/// Loads and looks up a key; a slot number is computed after `scratch` words.
fn look_up(
    key: &[Operand],
    scratch: usize,
    set: String,
    to: LookupTo,
    inverted: bool,
    exprs: &mut Vec<Expr>,
) -> Option<()> {
    let from = Register::FIRST;
    load_key(key, from, from.plus(scratch), exprs)?;
    exprs.push(Lookup { set, from, to, inverted }.into());
    Some(())
}

/// Loads the address, and the port, of a key in a map.
fn look_up_translation(key: &[Operand], map: &SetName, exprs: &mut Vec<Expr>) -> Option<()> {
    // Registers for an address, then for a concatenated key.
    let scratch = 4 + if key.len() > 1 { reserved(key) } else { 0 };
    look_up(key, scratch, map.to_string(), LookupTo::Value(Register::FIRST), false, exprs)
}

/// Register of the port in a concatenation of address and port.
pub(super) fn port_after(ip: Ip, address: Register) -> Register {
    address.plus(words(Field::Daddr(ip).width()))
}

fn encode_match(field: Field, test: &Comparison, exprs: &mut Vec<Expr>) -> Option<()> {
    let first = Register::FIRST;
    let cmp = |op, data: &[u8]| Expr::from(Cmp { op, data: data.to_vec() });
    exprs.push(match test {
        Comparison::NotInPrefix(prefix) => load_head(field, prefix.as_slice().len(), first)?,
        _ => load(field, first),
    });
    match test {
        Comparison::Eq(value) => exprs.push(cmp(CmpOp::Eq, value.as_slice())),
        Comparison::Ne(value) | Comparison::NotInPrefix(value) => {
            exprs.push(cmp(CmpOp::Neq, value.as_slice()))
        }
        Comparison::InRange(low, high) => {
            exprs.push(cmp(CmpOp::Gte, low.as_slice()));
            exprs.push(cmp(CmpOp::Lte, high.as_slice()));
        }
        Comparison::MaskedEq { mask, value } | Comparison::MaskedNe { mask, value } => {
            let op = if matches!(test, Comparison::MaskedEq { .. }) { CmpOp::Eq } else { CmpOp::Neq };
            exprs.push(Bitwise { at: first, mask: vec![*mask] }.into());
            exprs.push(cmp(op, &[*value]));
        }
        Comparison::AnyBit(mask) => {
            exprs.push(Bitwise { at: first, mask: mask.to_ne_bytes().to_vec() }.into());
            exprs.push(cmp(CmpOp::Neq, &[0; 4]));
        }
    }
    Some(())
}

/// Words that nft reserves for a key: the words of a concatenation, four for a single value.
fn reserved(key: &[Operand]) -> usize {
    match key {
        [_] => 4,
        parts => parts.iter().map(|part| words(part.width())).sum(),
    }
}

/// Loads a key into registers; the input of a slot number goes to `scratch`.
fn load_key(key: &[Operand], mut to: Register, scratch: Register, exprs: &mut Vec<Expr>) -> Option<()> {
    for part in key {
        to.fits(words(part.width())).then_some(())?;
        match part {
            Operand::Field(field) => exprs.push(load(*field, to)),
            Operand::Slot(pick) => load_pick(pick, to, scratch, exprs)?,
            Operand::Prefix(field, bits) => {
                let mask = mask(field.width(), *bits).as_slice().to_vec();
                exprs.extend([load(*field, to), Bitwise { at: to, mask }.into()]);
            }
        }
        to = to.plus(words(part.width()));
    }
    Some(())
}

fn load_pick(pick: &SlotExpr, to: Register, scratch: Register, exprs: &mut Vec<Expr>) -> Option<()> {
    match pick {
        SlotExpr::Inc { modulus, offset } => {
            exprs.push(Numgen { random: false, modulus: *modulus, offset: *offset, to }.into());
        }
        SlotExpr::Random { modulus, offset } => {
            exprs.push(Numgen { random: true, modulus: *modulus, offset: *offset, to }.into());
        }
        SlotExpr::Jhash { on, modulus, seed, offset } => {
            let mut from = scratch;
            for field in on {
                from.fits(words(field.width())).then_some(())?;
                exprs.push(load(*field, from));
                from = from.plus(words(field.width()));
            }
            let (len, seed, offset) = (hashed_len(on), *seed, *offset);
            exprs.push(Hash { from: scratch, len, modulus: *modulus, seed, offset, to }.into());
        }
    }
    Some(())
}

/// Number of hashed bytes: a concatenation is padded, a single field is not.
pub(super) fn hashed_len(on: &[Field]) -> u32 {
    (match on {
        [field] => field.width(),
        fields => fields.iter().map(|field| 4 * words(field.width())).sum(),
    }) as u32
}
