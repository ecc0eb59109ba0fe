//! The fake kernel: its likeness to the kernel, and its functions for tests.

use std::sync::Arc;

use proptest::prelude::*;
use sluice_conformance::Balancer;
use sluice_nft::fake::{FakeKernel, Reads};
use sluice_nft::trace::{Outcome, Packet};
use sluice_nft::{
    Counter, Counters, Data, Dataplane, Errno, Key, Part, Protocol, Receipt, SetRef, SetType, SlotExpr,
    Snapshot, Statement, Step, Table,
};

#[test]
fn fake_conforms_to_the_kernel() {
    sluice_conformance::conformance(&mut FakeKernel::default());
}

proptest! {
    #[test]
    fn random_commits_leave_a_sound_table_or_no_trace(seed: u64) {
        let mut kernel = FakeKernel::default();
        let mut before = read(&mut kernel);
        for batch in sluice_conformance::walk(seed) {
            let answer = kernel.commit(&batch, None);
            let after = read(&mut kernel);
            match answer {
                Err(error) => {
                    prop_assert_eq!(&after, &before);
                    prop_assert!(batch.iter().any(|step| step.to_string() == error.operation));
                }
                Ok(_) => prop_assert!(after.generation - before.generation <= 1),
            }
            sound(&after);
            before = after;
        }
    }

    #[test]
    fn steps_committed_one_by_one_do_what_the_batch_does(seed: u64) {
        let mut whole = FakeKernel::default();
        for batch in sluice_conformance::walk(seed) {
            let mut steps = whole.clone();
            if whole.commit(&batch, None).is_ok() {
                let each =
                    batch.iter().try_for_each(|step| steps.commit(std::slice::from_ref(step), None).map(drop));
                // A batch may put right what it did wrong; its steps alone may not.
                prop_assert!(each.is_err() || read(&mut steps).table == read(&mut whole).table);
            }
        }
    }
}

/// Everything that is referred to is there and of the right type, and what should be counted is.
fn sound(snapshot: &Snapshot) {
    let nothing = Table::default();
    let table = snapshot.table.as_ref().unwrap_or(&nothing);
    let led_to = |chain| assert_eq!(table.chains[chain].base, None, "{chain} is led to");
    for statement in table.chains.values().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.0) {
        match statement {
            Statement::Goto(chain) | Statement::Jump(chain) => led_to(chain),
            Statement::InSet(key, set)
            | Statement::VerdictMap(key, set)
            | Statement::Dnat { key, map: set, .. } => {
                assert!(key.len() >= table.sets[set].key.len());
            }
            _ => {}
        }
    }
    for (name, set) in &table.sets {
        for element in set.elements.values() {
            match (&set.data, &element.data) {
                (SetType::Verdicts, Data::Goto(chain)) => led_to(chain),
                (SetType::Set, Data::None | Data::KeyEnd(_)) | (SetType::Map(_), Data::Value(_)) => {}
                (_, data) => panic!("{name} holds {data:?}"),
            }
        }
        let counted = snapshot.counters.get(name).into_iter().flat_map(|counters| counters.keys());
        assert!(counted.eq(set.elements.keys().filter(|_| set.counter)), "counters of {name}");
    }
    assert!(snapshot.counters.keys().all(|set| table.sets.contains_key(set)));
}

#[test]
fn commits_are_recorded_and_counted_unless_empty_or_failed() {
    let mut kernel = FakeKernel::default();
    kernel.commit(&[], None).expect("nothing to do");
    kernel.commit(&[Step::AddTable], None).expect("it is missing");
    kernel.commit(&[Step::AddTable], None).expect_err("it is there");
    kernel.commit(&[Step::AddChain("c".into(), None)], None).expect("it is missing");
    assert_eq!(kernel.commits(), [vec![Step::AddTable], vec![Step::AddChain("c".into(), None)]]);
    assert_eq!(read(&mut kernel).generation, 2);
}

#[test]
fn commit_told_to_fail_fails_once_and_changes_nothing() {
    let mut kernel = FakeKernel::default();
    kernel.fail_commit(1, Errno(105));
    kernel.commit(&[Step::AddTable], None).expect("the first one is none of our business");
    let error = kernel.commit(&[Step::DeleteTable], None).expect_err("the second one fails");
    assert_eq!((error.operation.as_str(), error.errno), ("commit a batch", Errno(105)));
    assert!(kernel.table().is_some());
    kernel.commit(&[Step::DeleteTable], None).expect("the third one does not");
}

#[test]
fn elements_count_packets_until_they_are_replaced() {
    let mut kernel = FakeKernel::with_table(balancer());
    assert_eq!(counter(&mut kernel), Some(Counter::default()));
    for _ in 0..3 {
        assert!(matches!(kernel.send(&packet()).outcome, Outcome::Translated { .. }));
    }
    assert_eq!(counter(&mut kernel), Some(Counter { packets: 3, bytes: 3 * 40 }));

    kernel.edit(|table| {
        table.as_mut().expect("it is there").chains.retain(|name, _| name.as_str() != "output")
    });
    assert_eq!(counter(&mut kernel), Some(Counter { packets: 3, bytes: 3 * 40 }));

    let declaration = kernel.table().expect("it is there").sets[&"slots".into()].clone();
    let element =
        vec![(Key::EMPTY.slot(0), sluice_conformance::value("10.0.2.12:8080".parse().expect("an address")))];
    let of = SetRef { name: "slots".into(), declaration: Arc::new(declaration) };
    let replace = [Step::DeleteElements(of.clone(), element.clone()), Step::AddElements(of, element)];
    let Receipt { deleted, .. } = kernel.commit(&replace, None).expect("it can be replaced");
    assert_eq!(counter(&mut kernel), Some(Counter::default()));
    assert_eq!(deleted, counted(3));

    kernel.send(&packet());
    let whole = kernel.commit(&[Step::DeleteTable], None).expect("it is there");
    assert_eq!(whole.deleted, counted(1));
}

/// The counter of a slot after this number of packets.
fn counted(packets: u64) -> Counters {
    let counter = Counter { packets, bytes: packets * 40 };
    [("slots".into(), [(Key::EMPTY.slot(0), counter)].into())].into()
}

#[test]
fn part_of_a_table_is_what_steps_are_about_and_costs_a_read_of_a_part() {
    let mut kernel = FakeKernel::with_table(balancer());
    let declaration = Arc::new(kernel.table().expect("it is there").sets[&"slots".into()].declaration_only());
    let of = SetRef { name: "slots".into(), declaration };
    let gone = (Key::EMPTY.slot(7), sluice_conformance::value("10.0.2.12:8080".parse().expect("an address")));
    let there = (Key::EMPTY.slot(0), gone.1.clone());
    let steps = [
        Step::FlushChain("output".into()),
        Step::DeleteChain("missing".into()),
        Step::DeleteSet("services".into()),
        Step::DeleteElements(of, vec![there.clone(), gone]),
    ];
    let part = Part::of(&steps);
    assert_eq!((part.len(), part.is_empty()), (6, false));
    let read = kernel.read_part(&part).expect("reading never fails").expect("it is there");
    let whole = kernel.table().expect("it is there");
    assert_eq!(read.chains, [("output".into(), whole.chains[&"output".into()].clone())].into());
    let elements = |name: &str| read.sets[&name.into()].elements.keys().copied().collect::<Vec<_>>();
    assert_eq!(elements("services"), []);
    assert_eq!(elements("slots"), [there.0]);
    assert_eq!(kernel.reads(), Reads { parts: 1, ..Reads::default() });
    kernel.edit(|table| *table = None);
    assert_eq!(kernel.read_part(&part).expect("reading never fails"), None);
}

#[test]
fn edits_elsewhere_are_no_change_and_edits_are() {
    let mut kernel = FakeKernel::with_table(balancer());
    let before = read(&mut kernel).generation;
    let unchanged = |kernel: &mut FakeKernel, since| kernel.unchanged_since(since).expect("never fails");
    kernel.edit_elsewhere();
    assert_eq!(unchanged(&mut kernel, before), Some(before + 1));
    let stale = kernel.commit(&[Step::DeleteTable], Some(before)).expect_err("there was a commit");
    assert_eq!(stale.errno, Errno::ERESTART);
    kernel.edit(|_| {});
    assert_eq!(unchanged(&mut kernel, before), None);
    assert_eq!(unchanged(&mut kernel, before + 1), None);
    assert_eq!(unchanged(&mut kernel, before + 2), Some(before + 2));
}

#[test]
fn foreign_edit_counts_as_a_commit_and_takes_counters_along() {
    let mut kernel = FakeKernel::with_table(balancer());
    let before = read(&mut kernel).generation;
    kernel.edit(|table| *table = None);
    let after = read(&mut kernel);
    assert_eq!(after, Snapshot { generation: before + 1, ..Snapshot::default() });
    assert_eq!(kernel.send(&packet()).outcome, Outcome::Untranslated { masqueraded: false });
}

fn balancer() -> Table {
    let address = |text: &str| text.parse().expect("an address");
    let pick = SlotExpr::Inc { modulus: 1, offset: 0 };
    let (listener, backends) = (address("203.0.113.10:80"), vec![address("10.0.2.11:8080")]);
    Balancer { protocol: Protocol::Tcp, listener, pick, backends }.table()
}

fn packet() -> Packet {
    let address = |text: &str| text.parse().expect("an address");
    Packet::arriving(Protocol::Tcp, address("198.51.100.1:40000"), address("203.0.113.10:80"))
}

fn counter(kernel: &mut FakeKernel) -> Option<Counter> {
    read(kernel).counters.get(&"slots".into())?.get(&Key::EMPTY.slot(0)).copied()
}

fn read(kernel: &mut FakeKernel) -> Snapshot {
    kernel.read().expect("reading never fails")
}
