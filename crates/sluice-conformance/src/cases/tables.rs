//! Cases of tables and chains.

use super::{Case, accepted, refused};
use crate::objects::*;
use sluice_nft::{Base, Errno, Object, Statement, Step};

pub(super) fn tables() -> Vec<Case> {
    vec![
        accepted("a table is added", [], [Step::AddTable]),
        refused("a table is added again", [Step::AddTable], [Step::AddTable], 0, Errno::EEXIST),
        refused("a table is added twice", [], [Step::AddTable, Step::AddTable], 1, Errno::EEXIST),
        refused("a missing table is deleted", [], [Step::DeleteTable], 0, Errno::ENOENT),
        refused(
            "a missing object is deleted",
            [Step::AddTable],
            [Step::DeleteObject(Object { kind: 1, name: "seen".to_owned() })],
            0,
            Errno::ENOENT,
        ),
        refused("a chain is added to no table", [], [chain("c")], 0, Errno::ENOENT),
        refused("a set is added to no table", [], [Step::AddSet("s".into(), services())], 0, Errno::ENOENT),
        accepted(
            "a table in use is deleted and another added",
            program(),
            [Step::DeleteTable, Step::AddTable, chain("other")],
        ),
        refused(
            "the table is deleted under a chain",
            [Step::AddTable],
            [Step::DeleteTable, chain("c")],
            1,
            Errno::ENOENT,
        ),
    ]
}

pub(super) fn chains() -> Vec<Case> {
    let table = || [Step::AddTable];
    let delete = |name: &str| Step::DeleteChain(name.into());
    let early = Base { priority: -200, ..Base::OUTPUT };
    vec![
        refused("a chain is added again", [Step::AddTable, chain("c")], [chain("c")], 0, Errno::EEXIST),
        refused("a chain is added twice", table(), [chain("c"), chain("c")], 1, Errno::EEXIST),
        accepted("a chain is called like a set", [Step::AddTable, add_services()], [chain("services")]),
        accepted("a name is long", table(), [chain(&"c".repeat(255))]),
        refused("a name is too long", table(), [chain(&"c".repeat(256))], 0, Errno::ERANGE),
        refused("translation comes before conntrack", table(), [base("b", early)], 0, Errno::EOPNOTSUPP),
        accepted(
            "a chain is deleted and added as a base chain",
            [Step::AddTable, chain("c")],
            [delete("c"), base("c", Base::OUTPUT)],
        ),
        accepted("an empty base chain is deleted", [Step::AddTable, base("b", Base::OUTPUT)], [delete("b")]),
        refused("a missing chain is deleted", table(), [delete("c")], 0, Errno::ENOENT),
        refused(
            "a chain with rules is deleted",
            [Step::AddTable, chain("c"), rule("c", [Statement::Drop])],
            [delete("c")],
            0,
            Errno::EBUSY,
        ),
        accepted(
            "a chain is flushed and deleted",
            [Step::AddTable, chain("c"), rule("c", [Statement::Drop])],
            [flush("c"), delete("c")],
        ),
        refused(
            "a chain is deleted that a rule jumps to",
            [Step::AddTable, chain("c"), chain("d"), rule("d", [Statement::Jump("c".into())])],
            [delete("c")],
            0,
            Errno::EBUSY,
        ),
        refused(
            "a chain is deleted that an element leads to",
            [Step::AddTable, chain("c"), add_services(), goto(1, "c")],
            [delete("c")],
            0,
            Errno::EBUSY,
        ),
        accepted(
            "a chain is deleted after the element that led to it",
            program(),
            [Step::DeleteElements(of_services(), vec![service(1, "pick")]), flush("pick"), delete("pick")],
        ),
        accepted(
            "a chain is deleted after the map that led to it",
            [Step::AddTable, chain("c"), add_services(), goto(1, "c")],
            [Step::DeleteSet("services".into()), delete("c")],
        ),
        refused("a missing chain is flushed", table(), [flush("c")], 0, Errno::ENOENT),
        refused(
            "a rule is added to a missing chain",
            table(),
            [rule("c", [Statement::Drop])],
            0,
            Errno::ENOENT,
        ),
    ]
}
