//! Reads are consistent while other programs change the ruleset.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sluice_nft::{Data, Dataplane, Field, Ip, Key, Operand, Set, SetName, SetRef, Step, Table};

use super::{commit, in_namespace, open, read};

const READS: usize = 50;

fn of(name: &str) -> SetRef {
    let key = vec![Operand::Field(Field::Saddr(Ip::V4))];
    SetRef { name: name.into(), declaration: Arc::new(Set::plain(key)) }
}

/// Elements for several datagrams of a dump.
fn many() -> Vec<(Key, Data)> {
    (0..2000_u32).map(|n| (Key::EMPTY.address(std::net::Ipv4Addr::from(n).into()), Data::None)).collect()
}

#[test]
fn read_while_elements_move_between_sets_finds_them_in_one() {
    in_namespace(|| {
        let mut netlink = open();
        let declare = |name: &str| Step::AddSet(name.into(), (*of(name).declaration).clone());
        commit(
            &mut netlink,
            &[Step::AddTable, declare("a"), declare("b"), Step::AddElements(of("a"), many())],
        );
        let done = Arc::new(AtomicBool::new(false));
        let mover = thread::spawn({
            let done = done.clone();
            move || {
                let mut netlink = open();
                let go = |from: &str, to: &str| {
                    [Step::DeleteElements(of(from), many()), Step::AddElements(of(to), many())]
                };
                let mut moves = 0;
                while !done.load(Ordering::Relaxed) {
                    commit(&mut netlink, &go("a", "b"));
                    // In small steps, so that reads have a chance.
                    thread::yield_now();
                    commit(&mut netlink, &go("b", "a"));
                    moves += 2;
                }
                moves
            }
        });
        let mut consistent = 0;
        for _ in 0..READS {
            match netlink.read() {
                Ok(snapshot) => consistent += usize::from(whole(&snapshot.table.expect("a table"))),
                Err(error) => assert_eq!(error.operation, "read table inet sluice while it changes"),
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(mover.join().expect("no panic") > 0);
        assert!(whole(&read(&mut netlink).table.expect("a table")));
        assert!(consistent > 0, "every read was too slow");
    });
}

/// # Panics
/// If the elements are not all in one of the sets.
fn whole(table: &Table) -> bool {
    let count = |name: &str| table.sets[&SetName::from(name)].elements.len();
    let counts = [count("a"), count("b")];
    assert!(counts == [2000, 0] || counts == [0, 2000], "{counts:?}");
    true
}
