//! Rule to expressions, with the registers that nft 1.0.6 would use.

use sluice_nft::{Field, Ip, Operand, Pick, Rule, Statement, Test};

use super::field::{load, load_head};
use crate::expr::{
    Bitwise, Cmp, CmpOp, Counter, Dnat, Expr, Found, Hash, Lookup, Masquerade, Numgen, Register, Reject,
    Verdict, words,
};

/// The expressions of a rule; `None` if it holds what only others write, or more than the registers
/// hold.
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
            load_key(key, KEY.plus(reserved(key)), exprs)?;
            exprs.push(Lookup { set: set.to_string(), from: KEY, to: Found::Nowhere }.into());
        }
        Statement::VerdictMap(key, map) => {
            // nft sets aside room for a concatenated key twice.
            let scratch = if key.len() > 1 { 2 * reserved(key) } else { reserved(key) };
            load_key(key, KEY.plus(scratch), exprs)?;
            exprs.push(Lookup { set: map.to_string(), from: KEY, to: Found::Verdict }.into());
        }
        Statement::Dnat { ip, key, map, port } => {
            // Room for an address, then for a concatenated key.
            let scratch = 4 + if key.len() > 1 { reserved(key) } else { 0 };
            load_key(key, KEY.plus(scratch), exprs)?;
            exprs.push(Lookup { set: map.to_string(), from: KEY, to: Found::Value(KEY) }.into());
            exprs.push(Dnat { ip: *ip, address: KEY, port: port.then(|| port_after(*ip, KEY)) }.into());
        }
        Statement::Masquerade => exprs.push(Masquerade.into()),
        Statement::Counter => exprs.push(Counter.into()),
        Statement::Drop => exprs.push(Verdict::Drop.into()),
        Statement::RejectReset => exprs.push(Reject::Reset.into()),
        Statement::RejectPort => exprs.push(Reject::Port.into()),
        Statement::Accept => exprs.push(Verdict::Accept.into()),
        Statement::Goto(chain) => exprs.push(Verdict::Goto(chain.to_string()).into()),
        Statement::Jump(chain) => exprs.push(Verdict::Jump(chain.to_string()).into()),
        Statement::Foreign(_) => return None,
    }
    Some(())
}

/// Register of the port in a concatenation of address and port.
pub(super) fn port_after(ip: Ip, address: Register) -> Register {
    address.plus(words(Field::Daddr(ip).width()))
}

fn encode_match(field: Field, test: &Test, exprs: &mut Vec<Expr>) -> Option<()> {
    let first = Register::FIRST;
    let cmp = |op, data: &[u8]| Expr::from(Cmp { op, data: data.to_vec() });
    exprs.push(match test {
        Test::NotUnder(prefix) => load_head(field, prefix.as_slice().len(), first)?,
        _ => load(field, first),
    });
    match test {
        Test::Is(value) => exprs.push(cmp(CmpOp::Eq, value.as_slice())),
        Test::IsNot(value) | Test::NotUnder(value) => exprs.push(cmp(CmpOp::Neq, value.as_slice())),
        Test::Between(low, high) => {
            exprs.push(cmp(CmpOp::Gte, low.as_slice()));
            exprs.push(cmp(CmpOp::Lte, high.as_slice()));
        }
        Test::Has(mask) => {
            exprs.push(Bitwise { mask: *mask }.into());
            exprs.push(cmp(CmpOp::Neq, &[0; 4]));
        }
    }
    Some(())
}

/// Words that nft sets aside for a key: what a concatenation needs, four for a single value.
fn reserved(key: &[Operand]) -> usize {
    match key {
        [_] => 4,
        parts => parts.iter().map(|part| words(part.width())).sum(),
    }
}

/// Loads a key into the first registers; what a slot number is computed from goes to `scratch`.
fn load_key(key: &[Operand], scratch: Register, exprs: &mut Vec<Expr>) -> Option<()> {
    let mut to = Register::FIRST;
    for part in key {
        to.fits(words(part.width())).then_some(())?;
        match part {
            Operand::Field(field) => exprs.push(load(*field, to)),
            Operand::Pick(pick) => load_pick(pick, to, scratch, exprs)?,
        }
        to = to.plus(words(part.width()));
    }
    Some(())
}

fn load_pick(pick: &Pick, to: Register, scratch: Register, exprs: &mut Vec<Expr>) -> Option<()> {
    match pick {
        Pick::Inc { modulus, offset } => {
            exprs.push(Numgen { random: false, modulus: *modulus, offset: *offset, to }.into());
        }
        Pick::Random { modulus, offset } => {
            exprs.push(Numgen { random: true, modulus: *modulus, offset: *offset, to }.into());
        }
        Pick::Jhash { on, modulus, seed, offset } => {
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

/// Bytes that are hashed: a concatenation is padded, a single field is not.
pub(super) fn hashed_len(on: &[Field]) -> u32 {
    (match on {
        [field] => field.width(),
        fields => fields.iter().map(|field| 4 * words(field.width())).sum(),
    }) as u32
}
