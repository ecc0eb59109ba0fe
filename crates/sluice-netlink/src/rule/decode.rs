//! Decodes expressions to statements by running the rule with symbolic values.
//!
//! A register holds a loaded value until an expression uses it. Rules of sluice use every
//! value once; other rules are foreign.

use std::collections::BTreeMap;

use nftnl::nftnl_sys as sys;
use sluice_nft::{Comparison, Field, Octets, Operand, SetName, SetUpdate, SlotExpr, Statement, mask};

use super::encode::{hashed_len, port_after};
use super::field::{Loaded, loaded};
use crate::expr::{
    Attached, Bitwise, Cmp, CmpOp, Dynset, Expr, Hash, Immediate, Lookup, LookupTo, Nat, RawExpr, Register,
    Reject, Synproxy, Translation, Verdict, words,
};

/// The statements of a rule.
pub(super) fn statements<'a>(exprs: impl Iterator<Item = RawExpr<'a>>) -> Vec<Statement> {
    let mut machine = Machine { registers: BTreeMap::new(), statements: vec![] };
    for raw in exprs.filter(|raw| !turns_one_byte(*raw)) {
        if Expr::decode(raw).and_then(|expr| machine.run(expr, raw)).is_none() {
            machine.statements.push(Statement::Foreign(raw.describe()));
            machine.registers.clear();
        }
    }
    machine.finish()
}

/// nft 1.0.6 converts the byte order of a protocol before a lookup among ranges, which has no effect on one byte.
fn turns_one_byte(raw: RawExpr<'_>) -> bool {
    raw.name() == "byteorder" && raw.u32(sys::NFTNL_EXPR_BYTEORDER_LEN) == Some(1)
}

struct Machine<'a> {
    /// Unused values, by their register.
    registers: BTreeMap<Register, (Value, RawExpr<'a>)>,
    statements: Vec<Statement>,
}

/// The symbolic value of a register.
enum Value {
    /// A part of a key, or an operand of a comparison.
    Operand(Operand),
    /// The leading bytes of a field.
    Head(Field, usize),
    /// Some bits of a field.
    Masked(Field, u32),
    /// A field that is at least this value.
    AtLeast(Field, Octets<16>),
    /// The data of a key in a map.
    Mapped(Vec<Operand>, SetName),
    /// A constant.
    Constant(Octets<16>),
}

impl<'a> Machine<'a> {
    /// Runs one expression; `None` if sluice never writes it, or not in this way.
    fn run(&mut self, expr: Expr, raw: RawExpr<'a>) -> Option<()> {
        if let Some(Loaded { field, len, to }) = loaded(&expr) {
            let whole = len == field.width();
            let value = if whole { Operand::Field(field).into() } else { Value::Head(field, len) };
            self.store(to, value, raw);
            return Some(());
        }
        match expr {
            Expr::Numgen(n) => {
                let (modulus, offset) = (n.modulus, n.offset);
                let pick = if n.random {
                    SlotExpr::Random { modulus, offset }
                } else {
                    SlotExpr::Inc { modulus, offset }
                };
                self.store(n.to, Operand::Slot(pick).into(), raw);
            }
            Expr::Hash(hash) => self.hash(hash, raw)?,
            Expr::Bitwise(Bitwise { at, mask: bits }) => {
                let Value::Operand(Operand::Field(field)) = self.take(at)? else { return None };
                let value = match <[u8; 4]>::try_from(&bits[..]) {
                    _ if bits.len() != field.width() => return None,
                    _ if field == Field::TcpFlags => Value::Masked(field, u32::from(bits[0])),
                    Ok(word) if field.header().is_none() => Value::Masked(field, u32::from_ne_bytes(word)),
                    _ => {
                        let length = bits.iter().map(|byte| byte.count_ones() as u8).sum();
                        let is_prefix = mask(bits.len(), length).as_slice() == bits;
                        is_prefix.then_some(Operand::Prefix(field, length).into())?
                    }
                };
                self.store(at, value, raw);
            }
            Expr::Cmp(cmp) => self.compare(cmp, raw)?,
            Expr::Lookup(lookup) => self.lookup(lookup, raw)?,
            Expr::Nat(nat) => self.nat(nat)?,
            Expr::Dynset(dynset) => self.dynset(dynset)?,
            Expr::Immediate(Immediate { data, to }) => {
                self.store(to, Value::Constant(Octets::new(&data)?), raw);
            }
            Expr::Masquerade(_) => self.statements.push(Statement::Masquerade),
            Expr::Counter(_) => self.statements.push(Statement::Counter),
            Expr::Notrack(_) => self.statements.push(Statement::Notrack),
            Expr::Synproxy(Synproxy { mss }) => self.statements.push(Statement::Synproxy { mss }),
            Expr::Reject(Reject::Reset) => self.statements.push(Statement::RejectReset),
            Expr::Reject(Reject::Port) => self.statements.push(Statement::RejectPort),
            Expr::Verdict(Verdict::Accept) => self.statements.push(Statement::Accept),
            Expr::Verdict(Verdict::Drop) => self.statements.push(Statement::Drop),
            Expr::Verdict(Verdict::Goto(chain)) => self.statements.push(Statement::Goto(chain.into())),
            Expr::Verdict(Verdict::Jump(chain)) => self.statements.push(Statement::Jump(chain.into())),
            Expr::Payload(_) | Expr::Meta(_) | Expr::Ct(_) | Expr::Fib(_) => return None,
        }
        Some(())
    }

    fn hash(&mut self, hash: Hash, raw: RawExpr<'a>) -> Option<()> {
        let Hash { from, len, modulus, seed, offset, to } = hash;
        let on = self.take_key(from).into_iter().map(|part| match part {
            Operand::Field(field) => Some(field),
            Operand::Slot(_) | Operand::Prefix(..) => None,
        });
        let on: Vec<Field> = on.collect::<Option<_>>()?;
        (!on.is_empty() && len == hashed_len(&on)).then_some(())?;
        self.store(to, Operand::Slot(SlotExpr::Jhash { on, modulus, seed, offset }).into(), raw);
        Some(())
    }

    fn compare(&mut self, Cmp { op, data }: Cmp, raw: RawExpr<'a>) -> Option<()> {
        let value = Octets::new(&data)?;
        let (field, test) = match (self.take(Register::FIRST)?, op) {
            (Value::Operand(Operand::Field(field)), _) if field.width() != data.len() => return None,
            (Value::Operand(Operand::Field(field)), CmpOp::Eq) => (field, Comparison::Eq(value)),
            (Value::Operand(Operand::Field(field)), CmpOp::Neq) => (field, Comparison::Ne(value)),
            (Value::Operand(Operand::Field(field)), CmpOp::Gte) => {
                self.store(Register::FIRST, Value::AtLeast(field, value), raw);
                return Some(());
            }
            (Value::AtLeast(field, low), CmpOp::Lte) if data.len() == field.width() => {
                (field, Comparison::InRange(low, value))
            }
            (Value::Head(field, len), CmpOp::Neq) if data.len() == len => {
                (field, Comparison::NotInPrefix(value))
            }
            (Value::Masked(field @ Field::TcpFlags, mask), CmpOp::Eq | CmpOp::Neq) => {
                let [value] = *data.as_slice() else { return None };
                let mask = mask as u8;
                (
                    field,
                    if op == CmpOp::Eq {
                        Comparison::MaskedEq { mask, value }
                    } else {
                        Comparison::MaskedNe { mask, value }
                    },
                )
            }
            (Value::Masked(field, mask), CmpOp::Neq) if data == [0; 4] => (field, Comparison::AnyBit(mask)),
            _ => return None,
        };
        self.statements.push(Statement::Match(field, test));
        Some(())
    }

    fn lookup(&mut self, Lookup { set, from, to, inverted }: Lookup, raw: RawExpr<'a>) -> Option<()> {
        let key = self.take_key(from);
        let set = SetName::from(set);
        (!key.is_empty()).then_some(())?;
        match to {
            LookupTo::Nothing if inverted => self.statements.push(Statement::NotInSet(key, set)),
            LookupTo::Nothing => self.statements.push(Statement::InSet(key, set)),
            LookupTo::Verdict => self.statements.push(Statement::VerdictMap(key, set)),
            LookupTo::Value(to) => self.store(to, Value::Mapped(key, set), raw),
        }
        Some(())
    }

    fn nat(&mut self, Nat { ip, what }: Nat) -> Option<()> {
        let statement = match what {
            Translation::Destination { address, port } => {
                let Value::Mapped(key, map) = self.take(address)? else { return None };
                port.is_none_or(|port| port == port_after(ip, address)).then_some(())?;
                Statement::Dnat { ip, key, map, port: port.is_some() }
            }
            Translation::SourceTo { address, port } => {
                let Value::Mapped(key, map) = self.take(address)? else { return None };
                (port == port_after(ip, address)).then_some(())?;
                Statement::SnatTo { ip, key, map }
            }
            Translation::Source { first, last, ports } => {
                let Value::Constant(address) = self.take(first)? else { return None };
                let last = match last == first {
                    true => address,
                    false => match self.take(last)? {
                        Value::Constant(last) => last,
                        _ => return None,
                    },
                };
                let width = Field::Saddr(ip).width();
                [address, last].iter().all(|address| address.as_slice().len() == width).then_some(())?;
                Statement::Snat { ip, first: address, last, ports }
            }
        };
        self.statements.push(statement);
        Some(())
    }

    fn dynset(&mut self, Dynset { set, key, attached }: Dynset) -> Option<()> {
        let update = match attached {
            Attached::LimitOver(rate) => SetUpdate::LimitOver(rate),
            Attached::CtCountOver(count) => SetUpdate::CtCountOver(count),
            Attached::Data(data, timeout) => {
                let data = self.take_key(data);
                (!data.is_empty() && timeout.is_multiple_of(1000)).then_some(())?;
                SetUpdate::Data(data, u32::try_from(timeout / 1000).ok()?)
            }
        };
        let key = self.take_key(key);
        (!key.is_empty()).then_some(())?;
        self.statements.push(Statement::Update { key, set: set.into(), update });
        Some(())
    }

    /// Stores a value in registers; `None` if it overwrites an unused one.
    fn store(&mut self, to: Register, value: Value, raw: RawExpr<'a>) {
        let end = to.plus(value.words());
        let overwritten = self.registers.extract_if(..end, |at, (old, _)| to < at.plus(old.words()));
        self.statements.extend(overwritten.map(|(_, (_, raw))| unused(raw)));
        self.registers.insert(to, (value, raw));
    }

    fn take(&mut self, from: Register) -> Option<Value> {
        self.registers.remove(&from).map(|(value, _)| value)
    }

    /// Takes consecutive operands from this register on.
    fn take_key(&mut self, mut from: Register) -> Vec<Operand> {
        let mut key = Vec::new();
        while let Some(part) = self.registers.get(&from).and_then(|(value, _)| value.part()) {
            self.registers.remove(&from);
            from = from.plus(words(part.width()));
            key.push(part);
        }
        key
    }

    fn finish(self) -> Vec<Statement> {
        let left = self.registers.into_values().map(|(_, raw)| unused(raw));
        self.statements.into_iter().chain(left).collect()
    }
}

/// A load can end a rule (there may be no transport header), so an unused one also matters.
fn unused(raw: RawExpr<'_>) -> Statement {
    Statement::Foreign(raw.describe())
}

impl Value {
    /// The value as a part of a key.
    fn part(&self) -> Option<Operand> {
        match self {
            Value::Operand(part) => Some(part.clone()),
            _ => None,
        }
    }

    fn words(&self) -> usize {
        match self {
            Value::Operand(operand) => words(operand.width()),
            Value::Head(field, _) | Value::Masked(field, _) | Value::AtLeast(field, _) => {
                words(field.width())
            }
            Value::Constant(value) => words(value.as_slice().len()),
            // An address, and optionally a port.
            Value::Mapped(..) => 5,
        }
    }
}

impl From<Operand> for Value {
    fn from(operand: Operand) -> Self {
        Value::Operand(operand)
    }
}
