//! The text form: exactly nft's, word for word, and nft takes it.

use std::net::Ipv6Addr;
use std::process::Command;
use std::sync::Arc;

use sluice_conformance::run;
use sluice_nft::fake::FakeKernel;
use sluice_nft::{
    Base, Chain, Comparison, Data, Dataplane, Element, Field, Ip, Key, Octets, Operand, Rule, Set, SetRef,
    SetType, SlotExpr, Statement, Step, Table,
};

#[test]
fn rules_read_like_nft() {
    for (text, rule) in rules() {
        assert_eq!(rule.to_string(), text);
    }
}

#[test]
fn table_loaded_by_nft_is_listed_word_for_word() {
    let text = table().to_string();
    assert_eq!(uncounted(&load_and_list(&text)), text);
}

#[test]
fn steps_carried_out_by_nft_make_the_same_table() {
    let mut fake = FakeKernel::default();
    fake.commit(&steps(), None).unwrap_or_else(|e| panic!("{e}: {}", e.errno));
    let table = fake.table().expect("it was added").to_string();
    let script: String = steps().iter().map(|step| format!("{step}\n")).collect();
    assert_eq!(uncounted(&load_and_list(&script)), table);
}

#[test]
fn steps_read_like_nft() {
    let text: Vec<_> = steps().iter().map(Step::to_string).collect();
    assert_eq!(
        text,
        [
            "add table inet sluice",
            "delete table inet sluice",
            "add table inet sluice",
            "add map inet sluice services { typeof ip daddr . meta l4proto . th dport : verdict; }",
            "add map inet sluice slots { typeof numgen inc mod 65536 : ip daddr . th dport; counter; }",
            "add set inet sluice clients { typeof ip saddr; }",
            "add chain inet sluice output { type nat hook output priority -100; policy accept; }",
            "add chain inet sluice pick",
            "add chain inet sluice gone",
            "add rule inet sluice pick meta l4proto tcp dnat ip to numgen inc mod 2 map @slots",
            "add rule inet sluice gone drop",
            "flush chain inet sluice gone",
            "delete chain inet sluice gone",
            "add element inet sluice slots { 0 : 10.0.2.11 . 8080, 1 : 10.0.2.12 . 8080 }",
            "add element inet sluice services { 203.0.113.10 . tcp . 80 : goto pick }",
            "add element inet sluice clients { 192.0.2.1 }",
            "delete element inet sluice slots { 1 : 10.0.2.12 . 8080 }",
            "delete element inet sluice clients { 192.0.2.1 }",
            "delete set inet sluice clients",
        ]
    );
}

#[test]
fn table_reads_like_a_listing() {
    let mut table = table();
    table.sets.retain(|name, _| name.as_str() == "slots4");
    table.chains.retain(|_, chain| chain.base.is_some());
    let slots = table.sets.get_mut(&"slots4".into()).expect("kept");
    slots.elements.extend([slot(256, [10, 0, 2, 12]), slot(1, [10, 0, 2, 11])]);
    assert_eq!(
        table.to_string(),
        "\
table inet sluice {
\tmap slots4 {
\t\ttypeof numgen inc mod 65536 : ip daddr . th dport
\t\tcounter
\t\telements = { 1 : 10.0.2.11 . 8080,
\t\t\t     256 : 10.0.2.12 . 8080,
\t\t\t     65536 : 10.0.2.13 . 8080 }
\t}

\tchain output {
\t\ttype nat hook output priority -100; policy accept;
\t\tip daddr . meta l4proto . th dport vmap @services4
\t}

\tchain postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\tct status dnat goto other
\t}

\tchain prerouting {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tip daddr . meta l4proto . th dport vmap @services4
\t}
}
"
    );
}

#[test]
fn tests_that_sluice_never_makes_still_read_true() {
    let rule = |statement| Rule(vec![statement]).to_string();
    assert_eq!(rule(test(Field::CtState, Comparison::AnyBit(Field::NEW))), "ct state new");
    assert_eq!(rule(is(Field::CtStatus, &Field::DNAT.to_ne_bytes())), "ct status == dnat");
    assert_eq!(rule(test(Field::CtStatus, Comparison::AnyBit(0x28))), "ct status 0x28");
    assert_eq!(rule(is(Field::FibDaddrType, &7_u32.to_ne_bytes())), "fib daddr type 7");
    assert_eq!(rule(Statement::Foreign("meta mark set 1".to_owned())), "meta mark set 1");
}

/// Every statement, test, field and pick, in the company in which nft takes them.
fn rules() -> Vec<(&'static str, Rule)> {
    let v4 = || is(Field::Nfproto, &[2]);
    let v6 = || is(Field::Nfproto, &[10]);
    let tcp = || is(Field::L4proto, &[6]);
    let udp = || is(Field::L4proto, &[17]);
    let sctp = || is(Field::L4proto, &[132]);
    let not_type = |kind: u32| Statement::is_not(Field::FibDaddrType, &kind.to_ne_bytes());
    let has_dnat = || test(Field::CtStatus, Comparison::AnyBit(Field::DNAT));
    let other = || Statement::Goto("other".into());
    let random = |modulus, offset| Operand::Slot(SlotExpr::Random { modulus, offset });
    let hash = |on: &[Field], offset| {
        Operand::Slot(SlotExpr::Jhash { on: on.to_vec(), modulus: 3, seed: 0x5105, offset })
    };
    let dnat = |ip, key: Vec<Operand>, map: &str, port| Statement::Dnat { ip, key, map: map.into(), port };
    let port = || Operand::Field(Field::Dport);
    let ports = Comparison::InRange(octets(&80_u16.to_be_bytes()), octets(&90_u16.to_be_bytes()));
    let vip = [203, 0, 113, 10];
    [
        ("sctp dport 2905 goto other", vec![sctp(), is(Field::Dport, &2905_u16.to_be_bytes()), other()]),
        ("meta l4proto sctp goto other", vec![sctp(), other()]),
        ("ip daddr . meta l4proto . th dport vmap @services4", vec![v4(), look_up(Ip::V4)]),
        ("ip6 daddr . meta l4proto . th dport vmap @services6", vec![v6(), look_up(Ip::V6)]),
        ("ip daddr 203.0.113.10 goto other", vec![v4(), is(Field::Daddr(Ip::V4), &vip), other()]),
        (
            "ip saddr 203.0.113.10 jump other",
            vec![v4(), is(Field::Saddr(Ip::V4), &vip), Statement::Jump("other".into())],
        ),
        (
            "ip6 saddr ::1 goto other",
            vec![v6(), is(Field::Saddr(Ip::V6), &Ipv6Addr::LOCALHOST.octets()), other()],
        ),
        (
            "ip6 daddr != ::1 drop",
            vec![
                v6(),
                Statement::is_not(Field::Daddr(Ip::V6), &Ipv6Addr::LOCALHOST.octets()),
                Statement::Drop,
            ],
        ),
        (
            "ip daddr != 127.0.0.0/8 accept",
            vec![
                v4(),
                test(Field::Daddr(Ip::V4), Comparison::NotInPrefix(octets(&[127]))),
                Statement::Accept,
            ],
        ),
        ("meta nfproto ipv4 tcp dport 80 goto other", vec![v4(), tcp(), is(Field::Dport, &[0, 80]), other()]),
        ("meta nfproto ipv6 udp sport 53 goto other", vec![v6(), udp(), is(Field::Sport, &[0, 53]), other()]),
        ("tcp dport 80-90 goto other", vec![tcp(), test(Field::Dport, ports), other()]),
        ("meta l4proto 250 accept", vec![is(Field::L4proto, &[250]), Statement::Accept]),
        ("meta l4proto != tcp accept", vec![Statement::is_not(Field::L4proto, &[6]), Statement::Accept]),
        (
            "iifname \"eth0.100\" fib daddr type != broadcast fib daddr type != multicast goto other",
            vec![
                is(Field::Iifname, b"eth0.100\0\0\0\0\0\0\0\0"),
                not_type(Field::BROADCAST),
                not_type(Field::MULTICAST),
                other(),
            ],
        ),
        (
            "fib daddr type local reject",
            vec![is(Field::FibDaddrType, &Field::LOCAL.to_ne_bytes()), Statement::RejectPort],
        ),
        (
            "fib saddr type local accept",
            vec![is(Field::FibSaddrType, &Field::LOCAL.to_ne_bytes()), Statement::Accept],
        ),
        ("meta l4proto tcp reject with tcp reset", vec![tcp(), Statement::RejectReset]),
        ("counter drop", vec![Statement::Counter, Statement::Drop]),
        (
            "meta l4proto tcp dnat ip to numgen inc mod 3 map @slots4",
            vec![tcp(), dnat(Ip::V4, vec![inc(3, 0)], "slots4", true)],
        ),
        (
            "meta l4proto tcp dnat ip to numgen inc mod 3 offset 65536 map @slots4",
            vec![tcp(), dnat(Ip::V4, vec![inc(3, 65536)], "slots4", true)],
        ),
        (
            "meta l4proto udp dnat ip6 to numgen random mod 3 map @slots6",
            vec![udp(), dnat(Ip::V6, vec![random(3, 0)], "slots6", true)],
        ),
        (
            "meta l4proto tcp dnat ip to numgen random mod 2 offset 7 map @addresses4",
            vec![tcp(), dnat(Ip::V4, vec![random(2, 7)], "addresses4", false)],
        ),
        (
            "meta l4proto tcp dnat ip to jhash ip saddr mod 3 seed 0x5105 map @slots4",
            vec![v4(), tcp(), dnat(Ip::V4, vec![hash(&[Field::Saddr(Ip::V4)], 0)], "slots4", true)],
        ),
        (
            "dnat ip to jhash ip saddr . tcp sport mod 3 seed 0x5105 offset 9 map @slots4",
            vec![
                v4(),
                tcp(),
                dnat(Ip::V4, vec![hash(&[Field::Saddr(Ip::V4), Field::Sport], 9)], "slots4", true),
            ],
        ),
        (
            "dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @random4",
            vec![v4(), dnat(Ip::V4, [service(Ip::V4), vec![random(3, 0)]].concat(), "random4", true)],
        ),
        (
            "dnat ip to tcp dport . numgen random mod 3 map @ports4",
            vec![tcp(), dnat(Ip::V4, vec![port(), random(3, 0)], "ports4", true)],
        ),
        (
            "snat ip to ip saddr . tcp sport map @answers4",
            vec![v4(), tcp(), Statement::SnatTo { ip: Ip::V4, key: sender(Ip::V4), map: "answers4".into() }],
        ),
        (
            "snat ip6 to ip6 saddr . tcp sport map @answers6",
            vec![v6(), tcp(), Statement::SnatTo { ip: Ip::V6, key: sender(Ip::V6), map: "answers6".into() }],
        ),
        (
            "ct status dnat ct original ip daddr . meta l4proto . ip daddr . th dport @masquerade4 \
             masquerade fully-random",
            vec![v4(), has_dnat(), Statement::InSet(source(), "masquerade4".into()), Statement::Masquerade],
        ),
        (
            "meta l4proto tcp ct original ip daddr 203.0.113.10 ct original proto-dst 80 accept",
            vec![
                tcp(),
                is(Field::CtOriginalDaddr(Ip::V4), &vip),
                is(Field::CtOriginalDport, &[0, 80]),
                Statement::Accept,
            ],
        ),
    ]
    .map(|(text, statements)| (text, Rule(statements)))
    .into()
}

/// A table with all of these rules, and base chains and sets of all shapes. An element a set, since nft lists
/// several in no order.
fn table() -> Table {
    let backend4 = || [Field::Daddr(Ip::V4), Field::Dport].map(Operand::Field).to_vec();
    let backend6 = || [Field::Daddr(Ip::V6), Field::Dport].map(Operand::Field).to_vec();
    let slot_number = || Operand::Slot(SlotExpr::Random { modulus: 3, offset: 0 });
    let mut table = Table::default();
    let mut add = |name: &str, set: Set, key: Key, data: Data| {
        let set = Set { elements: [(key, Element { data })].into(), ..set };
        table.sets.insert(name.into(), set);
    };
    let vip4 = Key::EMPTY.address([203, 0, 113, 10].into()).protocol(6).port(80);
    let vip6 = Key::EMPTY.address(Ipv6Addr::LOCALHOST.into()).protocol(17).port(53);
    let data4 = || Data::Value(Octets::EMPTY.with(&[10, 0, 2, 13]).with(&8080_u16.to_be_bytes()));
    let data6 = || Data::Value(Octets::EMPTY.with(&[0xfd; 16]).with(&8080_u16.to_be_bytes()));
    let slots4 = || Set::counted_map(vec![inc(65536, 0)], backend4());
    add(
        "addresses4",
        Set::counted_map(vec![inc(65536, 0)], vec![Operand::Field(Field::Daddr(Ip::V4))]),
        Key::EMPTY.slot(1),
        Data::Value(Octets::EMPTY.with(&[10, 0, 2, 13])),
    );
    let answers = |ip, data| Set { data: SetType::Map(data), ..Set::plain(sender(ip)) };
    let answering4 = Key::EMPTY.address([10, 0, 2, 13].into()).port(8080);
    add("answers4", answers(Ip::V4, backend4()), answering4, data4());
    add("answers6", answers(Ip::V6, backend6()), Key::EMPTY.with(&[0xfd; 16]).port(8080), data6());
    add(
        "masquerade4",
        Set::plain(source()),
        Key::EMPTY.address([203, 0, 113, 10].into()).protocol(6).address([10, 0, 2, 13].into()).port(8080),
        Data::None,
    );
    add(
        "ports4",
        Set::counted_map(vec![Operand::Field(Field::Dport), slot_number()], backend4()),
        Key::EMPTY.port(1000).slot(2),
        data4(),
    );
    add(
        "random4",
        Set::counted_map([service(Ip::V4), vec![slot_number()]].concat(), backend4()),
        vip4.slot(2),
        data4(),
    );
    add("services4", Set::verdicts(service(Ip::V4)), vip4, Data::Goto("other".into()));
    add("services6", Set::verdicts(service(Ip::V6)), vip6, Data::Goto("other".into()));
    add("slots4", slots4(), Key::EMPTY.slot(65536), data4());
    add("slots6", Set::counted_map(vec![inc(65536, 0)], backend6()), Key::EMPTY.slot(0), data6());

    let mut add = |name: &str, base: Option<Base>, rules: Vec<Rule>| {
        table.chains.insert(name.into(), Chain { base, rules });
    };
    let arriving = || vec![Rule(vec![is(Field::Nfproto, &[2]), look_up(Ip::V4)])];
    let leaving =
        Rule(vec![test(Field::CtStatus, Comparison::AnyBit(Field::DNAT)), Statement::Goto("other".into())]);
    add("all/of-them", None, rules().into_iter().map(|(_, rule)| rule).collect());
    add("other", None, vec![]);
    add("output", Some(Base::OUTPUT), arriving());
    add("postrouting", Some(Base::POSTROUTING), vec![leaving]);
    add("prerouting", Some(Base::PREROUTING), arriving());
    table
}

/// Every step at least once.
fn steps() -> Vec<Step> {
    let services = Set::verdicts(service(Ip::V4));
    let slots = Set::counted_map(
        vec![inc(65536, 0)],
        [Field::Daddr(Ip::V4), Field::Dport].map(Operand::Field).into(),
    );
    let clients = Set::plain(vec![Operand::Field(Field::Saddr(Ip::V4))]);
    let of = |name: &str, set: &Set| SetRef { name: name.into(), declaration: Arc::new(set.clone()) };
    let [first, second] = [(0, 11), (1, 12)]
        .map(|(n, host)| slot(n, [10, 0, 2, host]))
        .map(|(key, element)| (key, element.data));
    let client = || vec![(Key::EMPTY.address([192, 0, 2, 1].into()), Data::None)];
    let listener = Key::EMPTY.address([203, 0, 113, 10].into()).protocol(6).port(80);
    let pick = Statement::Dnat { ip: Ip::V4, key: vec![inc(2, 0)], map: "slots".into(), port: true };
    vec![
        Step::AddTable,
        Step::DeleteTable,
        Step::AddTable,
        Step::AddSet("services".into(), services.clone()),
        Step::AddSet("slots".into(), slots.clone()),
        Step::AddSet("clients".into(), clients.clone()),
        Step::AddChain("output".into(), Some(Base::OUTPUT)),
        Step::AddChain("pick".into(), None),
        Step::AddChain("gone".into(), None),
        Step::AddRule("pick".into(), Rule(vec![is(Field::L4proto, &[6]), pick])),
        Step::AddRule("gone".into(), Rule(vec![Statement::Drop])),
        Step::FlushChain("gone".into()),
        Step::DeleteChain("gone".into()),
        Step::AddElements(of("slots", &slots), vec![first, second.clone()]),
        Step::AddElements(of("services", &services), vec![(listener, Data::Goto("pick".into()))]),
        Step::AddElements(of("clients", &clients), client()),
        Step::DeleteElements(of("slots", &slots), vec![second]),
        Step::DeleteElements(of("clients", &clients), client()),
        Step::DeleteSet("clients".into()),
    ]
}

fn service(ip: Ip) -> Vec<Operand> {
    [Field::Daddr(ip), Field::L4proto, Field::Dport].map(Operand::Field).into()
}

fn source() -> Vec<Operand> {
    [Field::CtOriginalDaddr(Ip::V4), Field::L4proto, Field::Daddr(Ip::V4), Field::Dport]
        .map(Operand::Field)
        .into()
}

fn sender(ip: Ip) -> Vec<Operand> {
    [Field::Saddr(ip), Field::Sport].map(Operand::Field).to_vec()
}

fn look_up(ip: Ip) -> Statement {
    Statement::VerdictMap(service(ip), format!("services{}", ip.digit()).into())
}

fn inc(modulus: u32, offset: u32) -> Operand {
    Operand::Slot(SlotExpr::Inc { modulus, offset })
}

fn slot(number: u32, address: [u8; 4]) -> (Key, Element) {
    let data = Data::Value(Octets::EMPTY.with(&address).with(&8080_u16.to_be_bytes()));
    (Key::EMPTY.slot(number), Element { data })
}

fn is(field: Field, value: &[u8]) -> Statement {
    Statement::is(field, value)
}

fn test(field: Field, test: Comparison) -> Statement {
    Statement::Match(field, test)
}

fn octets(value: &[u8]) -> Octets<16> {
    Octets::new(value).expect("it is short")
}

/// What nft lists after loading `text` into an empty network namespace.
fn load_and_list(text: &str) -> String {
    let script = "nft -f -; nft list table inet sluice";
    run(Command::new("unshare").args(["--net", "sh", "-ec", script]), text)
}

/// A listing without its numbers.
fn uncounted(listing: &str) -> String {
    listing.replace(" counter packets 0 bytes 0 :", " :").replace("counter packets 0 bytes 0", "counter")
}
