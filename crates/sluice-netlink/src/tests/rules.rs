//! Laws of rules, without a kernel: through a message of nftnl and back.

use nftnl::{MsgType, ProtoFamily};
use proptest::prelude::*;
use proptest::sample::select;
use sluice_nft::{
    Comparison, Field, Ip, Octets, Operand, Rate, Rule, SetUpdate, SlotExpr, SourcePorts, Statement,
};

use crate::message::Scratch;
use crate::rule;

/// The message that adds a rule.
fn message(rule: &Rule) -> Option<Vec<u8>> {
    let table = nftnl::Table::new(c"sluice", ProtoFamily::Inet);
    let chain = nftnl::Chain::new(c"chain", &table);
    let mut encoded = nftnl::Rule::new(&chain);
    rule::expressions(rule)?.iter().for_each(|expr| encoded.add_expr(expr));
    Some(Scratch::new().take(&encoded, MsgType::Add, 0))
}

proptest! {
    #[test]
    fn decode_of_an_encoded_rule_is_the_rule(rule in rules()) {
        let message = message(&rule);
        prop_assume!(message.is_some());
        prop_assert_eq!(rule::decode(&message.unwrap()), rule);
    }

    #[test]
    fn expressions_of_keys_as_long_as_the_kernel_takes_fit(key in keys()) {
        let statement = Statement::InSet(key, "set".into());
        prop_assert!(rule::expressions(&Rule(vec![statement])).is_some());
    }
}

#[test]
fn expressions_of_a_foreign_statement_are_none() {
    let rule = Rule(vec![Statement::Counter, Statement::Foreign("[ limit ]".into())]);
    assert_eq!(rule::expressions(&rule), None);
}

#[test]
fn decode_of_a_message_cut_short_is_foreign() {
    let rule = Rule(vec![Statement::is(Field::L4proto, &[6]), Statement::Drop]);
    let message = message(&rule).unwrap();
    for end in 0..message.len() {
        assert!(matches!(rule::decode(&message[..end]).0[..], [Statement::Foreign(_)]));
    }
}

const FIELDS: [Field; 17] = [
    Field::Saddr(Ip::V4),
    Field::Saddr(Ip::V6),
    Field::Daddr(Ip::V4),
    Field::Daddr(Ip::V6),
    Field::Sport,
    Field::Dport,
    Field::TcpFlags,
    Field::L4proto,
    Field::Nfproto,
    Field::Iifname,
    Field::FibDaddrType,
    Field::FibSaddrType,
    Field::CtState,
    Field::CtStatus,
    Field::CtOriginalDaddr(Ip::V4),
    Field::CtOriginalDaddr(Ip::V6),
    Field::CtOriginalDport,
];

fn rules() -> impl Strategy<Value = Rule> {
    prop::collection::vec(statements(), 0..6).prop_map(Rule)
}

fn statements() -> impl Strategy<Value = Statement> {
    let name = || "[a-z][a-z0-9/.-]{0,20}";
    prop_oneof![
        4 => matches(),
        1 => (keys(), name()).prop_map(|(key, set)| Statement::InSet(key, set.into())),
        1 => (keys(), name()).prop_map(|(key, set)| Statement::NotInSet(key, set.into())),
        1 => (keys(), name()).prop_map(|(key, map)| Statement::VerdictMap(key, map.into())),
        1 => (fields(), name(), learns()).prop_map(|(key, set, update)| Statement::Update { key, set: set.into(), update }),
        1 => any::<(u32, u32, bool)>().prop_map(|(first, last, keep)| {
            let ports = if keep { SourcePorts::Keep } else { SourcePorts::Random };
            let [first, last] = [first, last].map(|address| Octets::new(&address.to_be_bytes()).unwrap());
            Statement::Snat { ip: Ip::V4, first, last, ports }
        }),
        2 => (select(&Ip::ALL[..]), keys(), name(), any::<bool>())
            .prop_map(|(ip, key, map, port)| Statement::Dnat { ip, key, map: map.into(), port }),
        1 => (select(&Ip::ALL[..]), keys(), name())
            .prop_map(|(ip, key, map)| Statement::SnatTo { ip, key, map: map.into() }),
        1 => name().prop_map(|chain| Statement::Goto(chain.into())),
        1 => name().prop_map(|chain| Statement::Jump(chain.into())),
        2 => select(vec![
            Statement::Masquerade,
            Statement::Counter,
            Statement::Drop,
            Statement::RejectReset,
            Statement::RejectPort,
            Statement::Accept,
            Statement::Notrack,
        ]),
        1 => any::<u16>().prop_map(|mss| Statement::Synproxy { mss }),
    ]
}

fn matches() -> impl Strategy<Value = Statement> {
    let value = |width| prop::collection::vec(any::<u8>(), width).prop_map(|v| Octets::new(&v).unwrap());
    let of_width = move |field: Field| {
        let width = field.width();
        let test = prop_oneof![
            value(width).prop_map(Comparison::Eq),
            value(width).prop_map(Comparison::Ne),
            (value(width), value(width)).prop_map(|(low, high)| Comparison::InRange(low, high)),
        ];
        test.prop_map(move |test| Statement::Match(field, test))
    };
    let headers =
        select(vec![Field::Saddr(Ip::V4), Field::Daddr(Ip::V6), Field::Daddr(Ip::V4), Field::Dport]);
    let under = headers.prop_flat_map(move |field| {
        (1..field.width())
            .prop_flat_map(value)
            .prop_map(move |prefix| Statement::Match(field, Comparison::NotInPrefix(prefix)))
    });
    let words = select(vec![Field::CtStatus, Field::FibDaddrType, Field::CtState]);
    prop_oneof![
        3 => select(&FIELDS[..]).prop_flat_map(of_width),
        1 => under,
        1 => any::<(u8, u8)>().prop_map(|(mask, value)| Statement::Match(Field::TcpFlags, Comparison::MaskedEq { mask, value })),
        1 => any::<(u8, u8)>().prop_map(|(mask, value)| Statement::Match(Field::TcpFlags, Comparison::MaskedNe { mask, value })),
        1 => (words, any::<u32>()).prop_map(|(field, mask)| Statement::Match(field, Comparison::AnyBit(mask))),
    ]
}

/// Limits and data of set updates.
fn learns() -> impl Strategy<Value = SetUpdate> {
    let rate = (any::<u32>(), select(vec![1, 60, 3600, 86_400]), any::<u32>());
    let backend = [Field::Daddr(Ip::V6), Field::Dport].map(Operand::Field).to_vec();
    prop_oneof![
        rate.prop_map(|(packets, unit, burst)| SetUpdate::LimitOver(Rate { packets, unit, burst })),
        any::<u32>().prop_map(SetUpdate::CtCountOver),
        any::<u32>().prop_map(move |timeout| SetUpdate::Data(backend.clone(), timeout)),
    ]
}

/// Keys of fields, at most 40 bytes.
fn fields() -> impl Strategy<Value = Vec<Operand>> {
    let is_hash = |part: &Operand| matches!(part, Operand::Slot(SlotExpr::Jhash { .. }));
    keys().prop_filter("a hash is computed in registers that data take", move |key| !key.iter().any(is_hash))
}

/// Keys of at most 40 bytes.
fn keys() -> impl Strategy<Value = Vec<Operand>> {
    let operand = prop_oneof![
        3 => select(&FIELDS[..]).prop_map(Operand::Field),
        1 => (0_u8..=32).prop_map(|bits| Operand::Prefix(Field::Saddr(Ip::V4), bits)),
        1 => (0_u8..=128).prop_map(|bits| Operand::Prefix(Field::Saddr(Ip::V6), bits)),
        1 => picks().prop_map(Operand::Slot),
    ];
    prop::collection::vec(operand, 1..5).prop_map(|mut key| {
        while key.iter().map(|part| part.width().next_multiple_of(4)).sum::<usize>() > 40 {
            key.pop();
        }
        key
    })
}

fn picks() -> impl Strategy<Value = SlotExpr> {
    let client = select(vec![
        vec![Field::Saddr(Ip::V4)],
        vec![Field::Saddr(Ip::V4), Field::Sport],
        vec![Field::Sport],
        vec![Field::L4proto, Field::Dport],
    ]);
    (client, any::<u32>(), any::<u32>(), any::<u32>(), 0..3).prop_map(|(on, modulus, seed, offset, kind)| {
        match kind {
            0 => SlotExpr::Inc { modulus, offset },
            1 => SlotExpr::Random { modulus, offset },
            _ => SlotExpr::Jhash { on, modulus, seed, offset },
        }
    })
}
