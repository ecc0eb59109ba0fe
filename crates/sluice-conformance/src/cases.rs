//! What a kernel does with one step or a few.

use super::objects::*;
use super::{Case, intervals};
use sluice_nft::{
    Base, Data, Errno, Field, Filling, Ip, Key, Object, Octets, Operand, Pick, Set, Statement, Step,
};

pub(super) fn all() -> Vec<Case> {
    [tables(), chains(), sets(), elements(), intervals::all(), rules(), reach()]
        .into_iter()
        .flatten()
        .collect()
}

fn tables() -> Vec<Case> {
    vec![
        ok("a table is added", [], [Step::AddTable]),
        no("a table is added again", [Step::AddTable], [Step::AddTable], 0, Errno::EEXIST),
        no("a table is added twice", [], [Step::AddTable, Step::AddTable], 1, Errno::EEXIST),
        no("a missing table is deleted", [], [Step::DeleteTable], 0, Errno::ENOENT),
        no(
            "a missing object is deleted",
            [Step::AddTable],
            [Step::DeleteObject(Object { kind: 1, name: "seen".to_owned() })],
            0,
            Errno::ENOENT,
        ),
        no("a chain is added to no table", [], [chain("c")], 0, Errno::ENOENT),
        no("a set is added to no table", [], [Step::AddSet("s".into(), services())], 0, Errno::ENOENT),
        ok(
            "a table in use is deleted and another added",
            program(),
            [Step::DeleteTable, Step::AddTable, chain("other")],
        ),
        no(
            "the table is deleted under a chain",
            [Step::AddTable],
            [Step::DeleteTable, chain("c")],
            1,
            Errno::ENOENT,
        ),
    ]
}

fn chains() -> Vec<Case> {
    let table = || [Step::AddTable];
    let delete = |name: &str| Step::DeleteChain(name.into());
    let early = Base { priority: -200, ..Base::OUTPUT };
    vec![
        no("a chain is added again", [Step::AddTable, chain("c")], [chain("c")], 0, Errno::EEXIST),
        no("a chain is added twice", table(), [chain("c"), chain("c")], 1, Errno::EEXIST),
        ok("a chain is called like a set", [Step::AddTable, add_services()], [chain("services")]),
        ok("a name is long", table(), [chain(&"c".repeat(255))]),
        no("a name is too long", table(), [chain(&"c".repeat(256))], 0, Errno::ERANGE),
        no("translation comes before conntrack", table(), [base("b", early)], 0, Errno::EOPNOTSUPP),
        ok(
            "a chain is deleted and added as a base chain",
            [Step::AddTable, chain("c")],
            [delete("c"), base("c", Base::OUTPUT)],
        ),
        ok("an empty base chain is deleted", [Step::AddTable, base("b", Base::OUTPUT)], [delete("b")]),
        no("a missing chain is deleted", table(), [delete("c")], 0, Errno::ENOENT),
        no(
            "a chain with rules is deleted",
            [Step::AddTable, chain("c"), rule("c", [Statement::Drop])],
            [delete("c")],
            0,
            Errno::EBUSY,
        ),
        ok(
            "a chain is flushed and deleted",
            [Step::AddTable, chain("c"), rule("c", [Statement::Drop])],
            [flush("c"), delete("c")],
        ),
        no(
            "a chain is deleted that a rule jumps to",
            [Step::AddTable, chain("c"), chain("d"), rule("d", [Statement::Jump("c".into())])],
            [delete("c")],
            0,
            Errno::EBUSY,
        ),
        no(
            "a chain is deleted that an element leads to",
            [Step::AddTable, chain("c"), add_services(), goto(1, "c")],
            [delete("c")],
            0,
            Errno::EBUSY,
        ),
        ok(
            "a chain is deleted after the element that led to it",
            program(),
            [Step::DeleteElements(of_services(), vec![service(1, "pick")]), flush("pick"), delete("pick")],
        ),
        ok(
            "a chain is deleted after the map that led to it",
            [Step::AddTable, chain("c"), add_services(), goto(1, "c")],
            [Step::DeleteSet("services".into()), delete("c")],
        ),
        no("a missing chain is flushed", table(), [flush("c")], 0, Errno::ENOENT),
        no("a rule is added to a missing chain", table(), [rule("c", [Statement::Drop])], 0, Errno::ENOENT),
    ]
}

fn sets() -> Vec<Case> {
    let delete = |name: &str| Step::DeleteSet(name.into());
    let other = Step::AddSet("services".into(), slots());
    vec![
        no("a set is added again", [Step::AddTable, add_services()], [add_services()], 0, Errno::EEXIST),
        no("a set is added as another", [Step::AddTable, add_services()], [other.clone()], 0, Errno::EEXIST),
        ok(
            "a set is deleted and added as another",
            [Step::AddTable, add_services()],
            [delete("services"), other],
        ),
        no("a missing set is deleted", [Step::AddTable], [delete("services")], 0, Errno::ENOENT),
        no("a set is deleted that a rule uses", program(), [delete("services")], 0, Errno::EBUSY),
        ok(
            "a set is deleted after the rule that used it",
            program(),
            [flush("prerouting"), delete("services")],
        ),
        ok("a set is deleted with its elements", [Step::AddTable, add_slots(), slot(0)], [delete("slots")]),
    ]
}

fn elements() -> Vec<Case> {
    let map = || vec![Step::AddTable, add_slots()];
    let full = || vec![Step::AddTable, add_slots(), slot(0)];
    let sized = |size| vec![Step::AddTable, Step::AddSet(SLOTS.into(), slots().sized(size))];
    let values = |data| Step::AddElements(of_slots(), vec![(slot_key(0), data)]);
    let short = Key::EMPTY.address(VIP);
    vec![
        ok("elements are added", map(), [slot(0), slot(1)]),
        no("an element is added again", full(), [slot(0)], 0, Errno::EEXIST),
        no("an element is added again with other data", full(), [values(backend(9))], 0, Errno::EEXIST),
        no("an element is added twice in a batch", map(), [slot(0), slot(0)], 1, Errno::EEXIST),
        no(
            "an element is added twice in a step",
            map(),
            [Step::AddElements(of_slots(), vec![(slot_key(0), backend(0)), (slot_key(0), backend(1))])],
            0,
            Errno::EEXIST,
        ),
        ok("an element is replaced", full(), [unslot(0), values(backend(9))]),
        ok("a set is filled", sized(1), [slot(0)]),
        no("a set is overfilled", sized(1), [slot(0), slot(1)], 1, Errno::ENFILE),
        ok("an element of a full set is replaced", [sized(1), vec![slot(0)]].concat(), [unslot(0), slot(1)]),
        no(
            "an element of a full set is replaced by one that is added first",
            [sized(1), vec![slot(0)]].concat(),
            [slot(1), unslot(0)],
            0,
            Errno::ENFILE,
        ),
        no(
            "a full set takes what is added and deleted in one batch",
            [sized(2), vec![slot(0)]].concat(),
            [slot(1), unslot(1), slot(2), slot(3)],
            3,
            Errno::ENFILE,
        ),
        ok(
            "an element is deleted whatever it was said to hold",
            full(),
            [Step::DeleteElements(of_slots(), vec![(slot_key(0), backend(9))])],
        ),
        no("a missing element is deleted", map(), [unslot(0)], 0, Errno::ENOENT),
        no("an element is deleted twice", full(), [unslot(0), unslot(0)], 1, Errno::ENOENT),
        no("an element is added to a missing set", [Step::AddTable], [slot(0)], 0, Errno::ENOENT),
        no("an element is deleted from a missing set", [Step::AddTable], [unslot(0)], 0, Errno::ENOENT),
        no("an element of a map has no data", map(), [values(Data::None)], 0, Errno::EINVAL),
        no(
            "an element of a map holds too little",
            map(),
            [values(Data::Value(Octets::EMPTY.with(&[0; 4])))],
            0,
            Errno::EINVAL,
        ),
        no(
            "an element of a verdict map holds a value",
            [Step::AddTable, add_services()],
            [Step::AddElements(of_services(), vec![(service_key(1), backend(1))])],
            0,
            Errno::EINVAL,
        ),
        no(
            "a key is short",
            [Step::AddTable, chain("c"), add_services()],
            [Step::AddElements(of_services(), vec![(short, Data::Goto("c".into()))])],
            0,
            Errno::EINVAL,
        ),
        no("an element leads nowhere", [Step::AddTable, add_services()], [goto(1, "c")], 0, Errno::ENOENT),
        no(
            "an element leads to a base chain",
            [Step::AddTable, add_services(), base("b", Base::OUTPUT)],
            [goto(1, "b")],
            0,
            Errno::EOPNOTSUPP,
        ),
    ]
}

fn rules() -> Vec<Case> {
    let table = || vec![Step::AddTable, chain("c"), add_services(), add_slots()];
    let narrow = vec![Operand::Field(Field::Daddr(Ip::V4))];
    let range = |modulus, offset| rule("c", [tcp(), dnat(Pick::Inc { modulus, offset })]);
    let v6 = Statement::Dnat { ip: Ip::V6, key: slots().key, map: SLOTS.into(), port: true };
    vec![
        ok("a rule is added", table(), [range(4, 0)]),
        no("a rule leads nowhere", table(), [rule("c", [Statement::Goto("d".into())])], 0, Errno::ENOENT),
        no(
            "a rule leads to a base chain",
            [Step::AddTable, chain("c"), base("b", Base::OUTPUT)],
            [rule("c", [Statement::Jump("b".into())])],
            0,
            Errno::EOPNOTSUPP,
        ),
        no(
            "a rule looks into a missing set",
            [Step::AddTable, chain("c")],
            [rule("c", [look_up_service()])],
            0,
            Errno::ENOENT,
        ),
        no(
            "a key is narrower than its set",
            table(),
            [rule("c", [Statement::VerdictMap(narrow, SERVICES.into())])],
            0,
            Errno::ENODATA,
        ),
        no(
            "a map of values gives the verdict",
            table(),
            [rule("c", [Statement::VerdictMap(services().key, SLOTS.into())])],
            0,
            // The key is too wide, which is no reason to refuse.
            Errno::EINVAL,
        ),
        no("a map holds less than the address", table(), [rule("c", [tcp(), v6])], 0, Errno::ENODATA),
        ok(
            "a rule looks for what is not in a set",
            table(),
            [rule("c", [Statement::NotInSet(services().key, SERVICES.into()), Statement::Drop])],
        ),
        no(
            "a rule looks for what is not in a missing set",
            [Step::AddTable, chain("c")],
            [rule("c", [Statement::NotInSet(services().key, SERVICES.into())])],
            0,
            Errno::ENOENT,
        ),
        ok("a rule fills a set", [table(), vec![add_seen()]].concat(), [rule("c", [see()])]),
        no("a rule fills a missing set", table(), [rule("c", [see()])], 0, Errno::ENOENT),
        no(
            "a rule fills a set that commits fill",
            [table(), vec![Step::AddSet(SEEN.into(), Set { filling: Filling::Keys, ..seen() })]].concat(),
            [rule("c", [see()])],
            0,
            Errno::EOPNOTSUPP,
        ),
        no(
            "a rule fills a set of ranges",
            [table(), vec![add_deny()]].concat(),
            [rule("c", [learn(deny().key, DENY)])],
            0,
            Errno::EOPNOTSUPP,
        ),
        no(
            "a rule fills a set that commits fill and that grows",
            [table(), vec![Step::AddSet(SEEN.into(), Set::plain(seen().key))]].concat(),
            [rule("c", [see()])],
            0,
            Errno::EINVAL,
        ),
        no(
            "a set is deleted that a rule fills",
            [table(), vec![add_seen(), rule("c", [see()])]].concat(),
            [Step::DeleteSet(SEEN.into())],
            0,
            Errno::EBUSY,
        ),
        no("there are no slots", table(), [range(0, 0)], 0, Errno::ERANGE),
        ok("slots end at the highest number", table(), [range(4, u32::MAX - 3)]),
        no("slots go beyond the highest number", table(), [range(4, u32::MAX - 2)], 0, Errno::EOVERFLOW),
    ]
}

fn reach() -> Vec<Case> {
    let masquerade = || rule("c", [Statement::Masquerade]);
    let goto_c = || rule("b", [Statement::Goto("c".into())]);
    let with = |at: Base| vec![Step::AddTable, base("b", at), chain("c")];
    let and = |mut steps: Vec<Step>, more: Vec<Step>| {
        steps.extend(more);
        steps
    };
    let long = |n: usize| {
        let name = |n: usize| format!("c{n}");
        let chains = (0..n).map(|n| chain(&name(n)));
        let rules = (1..n).map(|n| rule(&name(n - 1), [Statement::Goto(name(n).into())]));
        [Step::AddTable, base("b", Base::OUTPUT)].into_iter().chain(chains).chain(rules).collect::<Vec<_>>()
    };
    let enter = || [rule("b", [Statement::Goto("c0".into())])];
    vec![
        ok(
            "masquerade is led to at postrouting",
            and(with(Base::POSTROUTING), vec![masquerade()]),
            [goto_c()],
        ),
        ok("masquerade is led to from nowhere", with(Base::PREROUTING), [masquerade()]),
        no(
            "masquerade is led to at prerouting",
            and(with(Base::PREROUTING), vec![masquerade()]),
            [goto_c()],
            0,
            Errno::EOPNOTSUPP,
        ),
        no(
            "masquerade is added where prerouting leads",
            and(with(Base::PREROUTING), vec![goto_c()]),
            [masquerade()],
            0,
            Errno::EOPNOTSUPP,
        ),
        no(
            "an element leads to masquerade at output",
            and(with(Base::OUTPUT), vec![masquerade(), add_services(), rule("b", [look_up_service()])]),
            [goto(1, "c")],
            0,
            Errno::EOPNOTSUPP,
        ),
        no(
            "translation is added at postrouting",
            and(with(Base::POSTROUTING), vec![goto_c(), add_slots()]),
            [rule("c", [tcp(), dnat(Pick::Random { modulus: 2, offset: 0 })])],
            0,
            Errno::EOPNOTSUPP,
        ),
        no(
            "a reset is sent at postrouting",
            with(Base::POSTROUTING),
            [rule("b", [Statement::RejectReset])],
            0,
            Errno::EOPNOTSUPP,
        ),
        no(
            "handshakes are answered at prerouting",
            with(Base::SYN),
            [rule("b", [tcp(), Statement::Synproxy { mss: 1460 }])],
            0,
            Errno::EOPNOTSUPP,
        ),
        ok(
            "handshakes are answered at input",
            and(with(Base::INPUT), vec![rule("c", [tcp(), Statement::Synproxy { mss: 1460 }])]),
            [goto_c()],
        ),
        ok("packets are not tracked", with(Base::SYN), [rule("b", [Statement::Notrack])]),
        no(
            "packets are rejected at postrouting",
            with(Base::POSTROUTING),
            [rule("b", [Statement::RejectPort])],
            0,
            Errno::EOPNOTSUPP,
        ),
        ok(
            "what is wrong is put right in the same batch",
            and(with(Base::PREROUTING), vec![goto_c()]),
            [masquerade(), flush("c")],
        ),
        no(
            "the step that closes the circuit is to blame",
            with(Base::PREROUTING),
            [masquerade(), goto_c(), chain("d"), rule("d", [Statement::Drop])],
            1,
            Errno::EOPNOTSUPP,
        ),
        ok("15 chains lead on", long(15), enter()),
        no("16 chains lead on", long(16), enter(), 0, Errno::EMLINK),
        no(
            "two chains lead to each other",
            and(long(2), enter().into()),
            [rule("c1", [Statement::Goto("c0".into())])],
            0,
            Errno::EMLINK,
        ),
    ]
}

pub(super) fn ok(name: &'static str, before: impl Into<Vec<Step>>, steps: impl Into<Vec<Step>>) -> Case {
    Case { name, before: before.into(), steps: steps.into(), refused: None }
}

pub(super) fn no(
    name: &'static str,
    before: impl Into<Vec<Step>>,
    steps: impl Into<Vec<Step>>,
    at: usize,
    errno: Errno,
) -> Case {
    Case { name, before: before.into(), steps: steps.into(), refused: Some((at, errno)) }
}
