//! Cases of sets and elements.

use super::{Case, accepted, refused};
use crate::objects::*;
use sluice_nft::{Base, Data, Errno, Key, Octets, Step};

pub(super) fn sets() -> Vec<Case> {
    let delete = |name: &str| Step::DeleteSet(name.into());
    let other = Step::AddSet("services".into(), slots());
    vec![
        refused("a set is added again", [Step::AddTable, add_services()], [add_services()], 0, Errno::EEXIST),
        refused(
            "a set is added as another",
            [Step::AddTable, add_services()],
            [other.clone()],
            0,
            Errno::EEXIST,
        ),
        accepted(
            "a set is deleted and added as another",
            [Step::AddTable, add_services()],
            [delete("services"), other],
        ),
        refused("a missing set is deleted", [Step::AddTable], [delete("services")], 0, Errno::ENOENT),
        refused("a set is deleted that a rule uses", program(), [delete("services")], 0, Errno::EBUSY),
        accepted(
            "a set is deleted after the rule that used it",
            program(),
            [flush("prerouting"), delete("services")],
        ),
        accepted(
            "a set is deleted with its elements",
            [Step::AddTable, add_slots(), slot(0)],
            [delete("slots")],
        ),
    ]
}

pub(super) fn elements() -> Vec<Case> {
    let map = || vec![Step::AddTable, add_slots()];
    let full = || vec![Step::AddTable, add_slots(), slot(0)];
    let sized = |size| vec![Step::AddTable, Step::AddSet(SLOTS.into(), slots().sized(size))];
    let values = |data| Step::AddElements(of_slots(), vec![(slot_key(0), data)]);
    let short = Key::EMPTY.address(VIP);
    vec![
        accepted("elements are added", map(), [slot(0), slot(1)]),
        refused("an element is added again", full(), [slot(0)], 0, Errno::EEXIST),
        refused("an element is added again with other data", full(), [values(backend(9))], 0, Errno::EEXIST),
        refused("an element is added twice in a batch", map(), [slot(0), slot(0)], 1, Errno::EEXIST),
        refused(
            "an element is added twice in a step",
            map(),
            [Step::AddElements(of_slots(), vec![(slot_key(0), backend(0)), (slot_key(0), backend(1))])],
            0,
            Errno::EEXIST,
        ),
        accepted("an element is replaced", full(), [unslot(0), values(backend(9))]),
        accepted("a set is filled", sized(1), [slot(0)]),
        refused("a set is overfilled", sized(1), [slot(0), slot(1)], 1, Errno::ENFILE),
        accepted(
            "an element of a full set is replaced",
            [sized(1), vec![slot(0)]].concat(),
            [unslot(0), slot(1)],
        ),
        refused(
            "an element of a full set is replaced by one that is added first",
            [sized(1), vec![slot(0)]].concat(),
            [slot(1), unslot(0)],
            0,
            Errno::ENFILE,
        ),
        refused(
            "a full set takes what is added and deleted in one batch",
            [sized(2), vec![slot(0)]].concat(),
            [slot(1), unslot(1), slot(2), slot(3)],
            3,
            Errno::ENFILE,
        ),
        accepted(
            "an element is deleted whatever it was said to hold",
            full(),
            [Step::DeleteElements(of_slots(), vec![(slot_key(0), backend(9))])],
        ),
        refused("a missing element is deleted", map(), [unslot(0)], 0, Errno::ENOENT),
        refused("an element is deleted twice", full(), [unslot(0), unslot(0)], 1, Errno::ENOENT),
        refused("an element is added to a missing set", [Step::AddTable], [slot(0)], 0, Errno::ENOENT),
        refused("an element is deleted from a missing set", [Step::AddTable], [unslot(0)], 0, Errno::ENOENT),
        refused("an element of a map has no data", map(), [values(Data::None)], 0, Errno::EINVAL),
        refused(
            "an element of a map holds too little",
            map(),
            [values(Data::Value(Octets::EMPTY.with(&[0; 4])))],
            0,
            Errno::EINVAL,
        ),
        refused(
            "an element of a verdict map holds a value",
            [Step::AddTable, add_services()],
            [Step::AddElements(of_services(), vec![(service_key(1), backend(1))])],
            0,
            Errno::EINVAL,
        ),
        refused(
            "a key is short",
            [Step::AddTable, chain("c"), add_services()],
            [Step::AddElements(of_services(), vec![(short, Data::Goto("c".into()))])],
            0,
            Errno::EINVAL,
        ),
        refused(
            "an element leads nowhere",
            [Step::AddTable, add_services()],
            [goto(1, "c")],
            0,
            Errno::ENOENT,
        ),
        refused(
            "an element leads to a base chain",
            [Step::AddTable, add_services(), base("b", Base::OUTPUT)],
            [goto(1, "b")],
            0,
            Errno::EOPNOTSUPP,
        ),
    ]
}
