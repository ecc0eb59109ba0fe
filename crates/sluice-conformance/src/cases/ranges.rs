//! Cases of sets of ranges, whose elements must not overlap.

use super::{Case, accepted, refused};
use crate::objects::*;
use sluice_nft::{Data, Errno, Key, Step};

/// The end of a range is inclusive.
pub(super) fn ranges() -> Vec<Case> {
    let empty = || vec![Step::AddTable, add_deny()];
    let holding = || vec![Step::AddTable, add_deny(), add_ranges([(16, 31)])];
    let overlaps =
        |name, (first, last)| refused(name, holding(), [add_ranges([(first, last)])], 0, Errno::EEXIST);
    let udp = (Key::EMPTY.protocol(17).with(&[10, 0, 0, 20]), range(0, 40).1);
    vec![
        accepted("ranges are added", empty(), [add_ranges([(16, 31), (0, 15), (32, 32)])]),
        accepted(
            "a range overlaps one of another listener",
            holding(),
            [Step::AddElements(of_deny(), vec![udp])],
        ),
        overlaps("a range is added again", (16, 31)),
        overlaps("a range begins like another and ends before it", (16, 20)),
        overlaps("a range begins like another and ends after it", (16, 40)),
        overlaps("a range ends like another and begins after it", (20, 31)),
        overlaps("a range ends like another and begins before it", (8, 31)),
        overlaps("a range lies within another", (20, 24)),
        overlaps("a range ends in another", (8, 20)),
        overlaps("a range begins in another", (24, 40)),
        overlaps("an address lies in a range", (20, 20)),
        accepted("a range encloses another", holding(), [add_ranges([(8, 40)])]),
        refused("ranges of a step overlap", empty(), [add_ranges([(16, 31), (20, 24)])], 0, Errno::EEXIST),
        refused(
            "ranges of a batch overlap",
            empty(),
            [add_ranges([(16, 31)]), add_ranges([(8, 20)])],
            1,
            Errno::EEXIST,
        ),
        accepted(
            "a range is narrowed in one batch",
            holding(),
            [delete_range(16, 31), add_ranges([(20, 24)])],
        ),
        accepted("a range is widened in one batch", holding(), [delete_range(16, 31), add_ranges([(8, 40)])]),
        accepted(
            "ranges are exchanged for one that encloses them",
            [holding(), vec![add_ranges([(0, 15)])]].concat(),
            [delete_range(16, 31), delete_range(0, 15), add_ranges([(0, 31)])],
        ),
        refused(
            "a range is deleted after one is added that overlaps it",
            holding(),
            [add_ranges([(20, 40)]), delete_range(16, 31)],
            0,
            Errno::EEXIST,
        ),
        accepted(
            "a range that encloses another is deleted",
            [holding(), vec![add_ranges([(8, 40)])]].concat(),
            [delete_range(8, 40)],
        ),
        accepted(
            "a range within another is deleted",
            [holding(), vec![add_ranges([(8, 40)])]].concat(),
            [delete_range(16, 31)],
        ),
        refused("a missing range is deleted", holding(), [delete_range(32, 40)], 0, Errno::ENOENT),
        accepted("a range is deleted by an address in it", holding(), [delete_range(20, 24)]),
        refused("a range ends before it begins", empty(), [add_ranges([(31, 16)])], 0, Errno::EINVAL),
        accepted(
            "a range is deleted whatever end it is said to have",
            holding(),
            [Step::DeleteElements(of_deny(), vec![(range(16, 31).0, Data::None)])],
        ),
    ]
}
