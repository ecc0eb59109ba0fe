//! The expressions that load fields.

use sluice_nft::{Field, Ip};

use crate::expr::{Base, Ct, Expr, Fib, Meta, Payload, Register};

/// A field, or its leading bytes, in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    pub(super) field: Field,
    /// Number of leading bytes; the field's width for the whole field.
    pub(super) len: usize,
    pub(super) to: Register,
}

/// The expression that loads a field.
pub(super) fn load(field: Field, to: Register) -> Expr {
    match field {
        Field::Saddr(_) | Field::Daddr(_) | Field::Sport | Field::Dport | Field::TcpFlags => {
            let (base, offset) = place(field).expect("a field of a header has a place");
            Payload { base, offset, len: field.width() as u32, to }.into()
        }
        Field::L4proto => Meta { key: Meta::L4PROTO, to }.into(),
        Field::Nfproto => Meta { key: Meta::NFPROTO, to }.into(),
        Field::Iifname => Meta { key: Meta::IIFNAME, to }.into(),
        Field::Oifname => Meta { key: Meta::OIFNAME, to }.into(),
        Field::FibDaddrType => Fib { of: Fib::DADDR, to }.into(),
        Field::FibSaddrType => Fib { of: Fib::SADDR, to }.into(),
        Field::CtState => Ct { key: Ct::STATE, original: false, to }.into(),
        Field::CtStatus => Ct { key: Ct::STATUS, original: false, to }.into(),
        Field::CtOriginalDaddr(Ip::V4) => Ct { key: Ct::DADDR4, original: true, to }.into(),
        Field::CtOriginalDaddr(Ip::V6) => Ct { key: Ct::DADDR6, original: true, to }.into(),
        Field::CtOriginalDport => Ct { key: Ct::DPORT, original: true, to }.into(),
    }
}

/// The expression that loads the leading bytes of a field; only fields of headers have one.
pub(super) fn load_head(field: Field, len: usize, to: Register) -> Option<Expr> {
    let (base, offset) = place(field).filter(|_| (1..field.width()).contains(&len))?;
    Some(Payload { base, offset, len: len as u32, to }.into())
}

/// The field that an expression loads, if any.
pub(super) fn loaded(expr: &Expr) -> Option<Loaded> {
    let (field, len, to) = match *expr {
        Expr::Payload(Payload { base, offset, len, to }) => {
            let len = len as usize;
            let (field, _) = PLACES
                .into_iter()
                .find(|(field, place)| *place == (base, offset) && (1..=field.width()).contains(&len))?;
            (field, len, to)
        }
        Expr::Meta(Meta { key: Meta::L4PROTO, to }) => (Field::L4proto, 1, to),
        Expr::Meta(Meta { key: Meta::NFPROTO, to }) => (Field::Nfproto, 1, to),
        Expr::Meta(Meta { key: Meta::IIFNAME, to }) => (Field::Iifname, 16, to),
        Expr::Meta(Meta { key: Meta::OIFNAME, to }) => (Field::Oifname, 16, to),
        Expr::Fib(Fib { of: Fib::DADDR, to }) => (Field::FibDaddrType, 4, to),
        Expr::Fib(Fib { of: Fib::SADDR, to }) => (Field::FibSaddrType, 4, to),
        Expr::Ct(Ct { key: Ct::STATE, original: false, to }) => (Field::CtState, 4, to),
        Expr::Ct(Ct { key: Ct::STATUS, original: false, to }) => (Field::CtStatus, 4, to),
        Expr::Ct(Ct { key: Ct::DADDR4, original: true, to }) => (Field::CtOriginalDaddr(Ip::V4), 4, to),
        Expr::Ct(Ct { key: Ct::DADDR6, original: true, to }) => (Field::CtOriginalDaddr(Ip::V6), 16, to),
        Expr::Ct(Ct { key: Ct::DPORT, original: true, to }) => (Field::CtOriginalDport, 2, to),
        _ => return None,
    };
    Some(Loaded { field, len, to })
}

/// Offsets in the headers. Each field has its own offset, otherwise leading bytes would be ambiguous.
const PLACES: [(Field, (Base, u32)); 7] = [
    (Field::Saddr(Ip::V4), (Base::Network, 12)),
    (Field::Daddr(Ip::V4), (Base::Network, 16)),
    (Field::Saddr(Ip::V6), (Base::Network, 8)),
    (Field::Daddr(Ip::V6), (Base::Network, 24)),
    (Field::Sport, (Base::Transport, 0)),
    (Field::Dport, (Base::Transport, 2)),
    (Field::TcpFlags, (Base::Transport, 13)),
];

fn place(field: Field) -> Option<(Base, u32)> {
    PLACES.into_iter().find(|(known, _)| *known == field).map(|(_, place)| place)
}
