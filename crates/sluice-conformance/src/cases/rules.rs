//! Cases of rules, and of the hooks that reach them.

use super::{Case, accepted, refused};
use crate::objects::*;
use sluice_nft::{Base, Errno, Field, Ip, Operand, Set, SetFlags, SlotExpr, Statement, Step};

pub(super) fn rules() -> Vec<Case> {
    let table = || vec![Step::AddTable, chain("c"), add_services(), add_slots()];
    let narrow = vec![Operand::Field(Field::Daddr(Ip::V4))];
    let range = |modulus, offset| rule("c", [tcp(), dnat(SlotExpr::Inc { modulus, offset })]);
    let v6 = Statement::Dnat { ip: Ip::V6, key: slots().key, map: SLOTS.into(), port: true };
    vec![
        accepted("a rule is added", table(), [range(4, 0)]),
        refused(
            "a rule leads nowhere",
            table(),
            [rule("c", [Statement::Goto("d".into())])],
            0,
            Errno::ENOENT,
        ),
        refused(
            "a rule leads to a base chain",
            [Step::AddTable, chain("c"), base("b", Base::OUTPUT)],
            [rule("c", [Statement::Jump("b".into())])],
            0,
            Errno::EOPNOTSUPP,
        ),
        refused(
            "a rule looks into a missing set",
            [Step::AddTable, chain("c")],
            [rule("c", [look_up_service()])],
            0,
            Errno::ENOENT,
        ),
        refused(
            "a key is narrower than its set",
            table(),
            [rule("c", [Statement::VerdictMap(narrow, SERVICES.into())])],
            0,
            Errno::ENODATA,
        ),
        refused(
            "a map of values gives the verdict",
            table(),
            [rule("c", [Statement::VerdictMap(services().key, SLOTS.into())])],
            0,
            // The key is too wide, which is no reason to refuse.
            Errno::EINVAL,
        ),
        refused("a map holds less than the address", table(), [rule("c", [tcp(), v6])], 0, Errno::ENODATA),
        accepted(
            "a rule looks for what is not in a set",
            table(),
            [rule("c", [Statement::NotInSet(services().key, SERVICES.into()), Statement::Drop])],
        ),
        refused(
            "a rule looks for what is not in a missing set",
            [Step::AddTable, chain("c")],
            [rule("c", [Statement::NotInSet(services().key, SERVICES.into())])],
            0,
            Errno::ENOENT,
        ),
        accepted("a rule fills a set", [table(), vec![add_seen()]].concat(), [rule("c", [see()])]),
        refused("a rule fills a missing set", table(), [rule("c", [see()])], 0, Errno::ENOENT),
        refused(
            "a rule fills a set that commits fill",
            [table(), vec![Step::AddSet(SEEN.into(), Set { flags: SetFlags::Static, ..seen() })]].concat(),
            [rule("c", [see()])],
            0,
            Errno::EOPNOTSUPP,
        ),
        refused(
            "a rule fills a set of ranges",
            [table(), vec![add_deny()]].concat(),
            [rule("c", [learn(deny().key, DENY)])],
            0,
            Errno::EOPNOTSUPP,
        ),
        refused(
            "a rule fills a set that commits fill and that grows",
            [table(), vec![Step::AddSet(SEEN.into(), Set::plain(seen().key))]].concat(),
            [rule("c", [see()])],
            0,
            Errno::EINVAL,
        ),
        refused(
            "a set is deleted that a rule fills",
            [table(), vec![add_seen(), rule("c", [see()])]].concat(),
            [Step::DeleteSet(SEEN.into())],
            0,
            Errno::EBUSY,
        ),
        refused("there are no slots", table(), [range(0, 0)], 0, Errno::ERANGE),
        accepted("slots end at the highest number", table(), [range(4, u32::MAX - 3)]),
        refused("slots go beyond the highest number", table(), [range(4, u32::MAX - 2)], 0, Errno::EOVERFLOW),
    ]
}

pub(super) fn reach() -> Vec<Case> {
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
        accepted(
            "masquerade is led to at postrouting",
            and(with(Base::POSTROUTING), vec![masquerade()]),
            [goto_c()],
        ),
        accepted("masquerade is led to from nowhere", with(Base::PREROUTING), [masquerade()]),
        refused(
            "masquerade is led to at prerouting",
            and(with(Base::PREROUTING), vec![masquerade()]),
            [goto_c()],
            0,
            Errno::EOPNOTSUPP,
        ),
        refused(
            "masquerade is added where prerouting leads",
            and(with(Base::PREROUTING), vec![goto_c()]),
            [masquerade()],
            0,
            Errno::EOPNOTSUPP,
        ),
        refused(
            "an element leads to masquerade at output",
            and(with(Base::OUTPUT), vec![masquerade(), add_services(), rule("b", [look_up_service()])]),
            [goto(1, "c")],
            0,
            Errno::EOPNOTSUPP,
        ),
        refused(
            "translation is added at postrouting",
            and(with(Base::POSTROUTING), vec![goto_c(), add_slots()]),
            [rule("c", [tcp(), dnat(SlotExpr::Random { modulus: 2, offset: 0 })])],
            0,
            Errno::EOPNOTSUPP,
        ),
        refused(
            "a reset is sent at postrouting",
            with(Base::POSTROUTING),
            [rule("b", [Statement::RejectReset])],
            0,
            Errno::EOPNOTSUPP,
        ),
        refused(
            "handshakes are answered at prerouting",
            with(Base::SYN),
            [rule("b", [tcp(), Statement::Synproxy { mss: 1460 }])],
            0,
            Errno::EOPNOTSUPP,
        ),
        accepted(
            "handshakes are answered at input",
            and(with(Base::INPUT), vec![rule("c", [tcp(), Statement::Synproxy { mss: 1460 }])]),
            [goto_c()],
        ),
        accepted("packets are not tracked", with(Base::SYN), [rule("b", [Statement::Notrack])]),
        refused(
            "packets are rejected at postrouting",
            with(Base::POSTROUTING),
            [rule("b", [Statement::RejectPort])],
            0,
            Errno::EOPNOTSUPP,
        ),
        accepted(
            "what is wrong is put right in the same batch",
            and(with(Base::PREROUTING), vec![goto_c()]),
            [masquerade(), flush("c")],
        ),
        refused(
            "the step that closes the circuit is to blame",
            with(Base::PREROUTING),
            [masquerade(), goto_c(), chain("d"), rule("d", [Statement::Drop])],
            1,
            Errno::EOPNOTSUPP,
        ),
        accepted("15 chains lead on", long(15), enter()),
        refused("16 chains lead on", long(16), enter(), 0, Errno::EMLINK),
        refused(
            "two chains lead to each other",
            and(long(2), enter().into()),
            [rule("c1", [Statement::Goto("c0".into())])],
            0,
            Errno::EMLINK,
        ),
    ]
}
