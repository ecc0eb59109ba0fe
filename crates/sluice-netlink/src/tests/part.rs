//! The cost of reading a part of the table is proportional to the part.

use sluice_nft::{Dataplane, Key, Part, Set, Table};

use super::large::large;
use super::{commit, in_namespace, nft, open, steps};
use crate::Netlink;

fn read_part(netlink: &mut Netlink, part: &Part) -> Option<Table> {
    netlink.read_part(part).unwrap_or_else(|error| panic!("{error}: {}", error.errno))
}

/// Every `nth` slot, keys of the same length that do not exist, and the pick chain.
fn part_of(table: &Table, nth: usize) -> Part {
    let name = "random4-4".into();
    let slots = table.sets[&name].elements.keys().step_by(nth);
    let missing = |key: &Key| Key::new(&key.as_slice().iter().map(|byte| !byte).collect::<Vec<_>>());
    let keys = slots.clone().copied().chain(slots.filter_map(missing)).collect();
    Part { chains: ["random4-4".into(), "missing".into()].into(), sets: [(name, keys)].into() }
}

#[test]
fn part_of_a_large_table_takes_questions_for_the_part() {
    in_namespace(|| {
        let mut netlink = open();
        let held = large();
        commit(&mut netlink, &steps(&held));
        let part = part_of(&held, 16_000);
        assert_eq!(part.len(), 2 + 1 + 10);
        let asked = netlink.requests_sent();
        let read = read_part(&mut netlink, &part).expect("the table exists");
        assert_eq!(read, held.part(&part));
        assert_eq!((read.chains.len(), read.sets[&"random4-4".into()].elements.len()), (1, 5));
        // The table, two chains, the rules of one, the set, and keys up to each that is missing.
        assert!(netlink.requests_sent() - asked <= 5 + 6, "{}", netlink.requests_sent() - asked);
    });
}

#[test]
fn part_with_many_keys_has_those_that_exist() {
    in_namespace(|| {
        let mut netlink = open();
        let held = large();
        commit(&mut netlink, &steps(&held));
        let part = part_of(&held, 50);
        assert_eq!(read_part(&mut netlink, &part), Some(held.part(&part)));
    });
}

#[test]
fn part_of_what_others_made_reads_as_the_whole_does() {
    in_namespace(|| {
        let mut netlink = open();
        assert_eq!(read_part(&mut netlink, &Part::default()), None);
        nft("add table inet sluice
             add set inet sluice a { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }
             add chain inet sluice c { type filter hook forward priority 3; }
             add rule inet sluice c ip saddr { 192.0.2.1, 192.0.2.2 } limit rate 1/second accept");
        let keys = [Key::EMPTY.address([192, 0, 2, 0].into())].into();
        let part = Part { chains: ["c".into()].into(), sets: [("a".into(), keys)].into() };
        let whole = super::table(&mut netlink);
        assert_eq!(whole.sets[&"a".into()], Set::plain(vec![]));
        assert_eq!(read_part(&mut netlink, &part), Some(whole));
    });
}
