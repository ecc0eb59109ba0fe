//! Conformance tests of sluice-nft's models: one test body runs on the fake kernel and on the real one, so that
//! the fake cannot drift. It checks what is refused, why and at which step, and that nothing remains of a
//! refused commit. As of Linux 6.18.
//!
//! The tests of this crate compare the text form with nft and the packet trace with the kernel. They need root,
//! nft and a network namespace of their own.

#![forbid(unsafe_code)]

mod balancer;
mod cases;
mod objects;
mod walk;

pub use balancer::{Balancer, run, value};

use sluice_nft::fake::FakeKernel;
use sluice_nft::{CommitError, Dataplane, Errno, Part, Receipt, Snapshot, Step, generation_after};

/// A case of [`conformance`].
struct Case {
    name: &'static str,
    /// Committed before the case.
    before: Vec<Step>,
    /// The batch under test.
    steps: Vec<Step>,
    /// Index and error of the refused step; `None` if the batch is accepted.
    refused: Option<(usize, Errno)>,
}

/// Tries every case on a dataplane that nobody else uses. What it holds goes.
///
/// # Panics
/// If it behaves otherwise than the kernel, with the name of the case.
pub fn conformance(dataplane: &mut impl Dataplane) {
    for case in cases::all() {
        check(dataplane, &case);
    }
    compare_and_swap(dataplane);
    own_commits(dataplane);
    clear(dataplane);
}

/// Commits random batches to a dataplane that nobody else uses and to a fake, which have to answer alike and
/// to hold the same afterwards. What it holds goes.
///
/// # Panics
/// At the first difference, with the batch that shows it.
pub fn agree(dataplane: &mut impl Dataplane, seed: u64) {
    clear(dataplane);
    let mut fake = FakeKernel::default();
    let mut held = [read(dataplane), read(&mut fake)];
    for batch in walk(seed) {
        let answers = [dataplane.commit(&batch, None), fake.commit(&batch, None)]
            .map(|answer| answer.map_err(describe));
        let now = [read(dataplane), read(&mut fake)];
        let text = batch.iter().map(|step| format!("{step}\n")).collect::<String>();
        assert_eq!(answers[0], answers[1], "seed {seed}, the fake (right) answers otherwise to:\n{text}");
        assert_eq!(now[0].table, now[1].table, "seed {seed}, the fake (right) differs after:\n{text}");
        assert_eq!(
            now[0].counters, now[1].counters,
            "seed {seed}, the fake (right) counts otherwise:\n{text}"
        );
        check_parts(dataplane, &now[0], &batch, &text);
        let commits = |n: usize| now[n].generation.wrapping_sub(held[n].generation);
        assert_eq!(commits(0), commits(1), "seed {seed}, commits counted by each after:\n{text}");
        held = now;
    }
    clear(dataplane);
}

/// Random batches over few names, so that they often get in each other's way.
pub fn walk(seed: u64) -> Vec<Vec<Step>> {
    walk::batches(seed)
}

/// What is read in part is what is read whole, and the counters of a set are those of the whole.
fn check_parts(dataplane: &mut impl Dataplane, whole: &Snapshot, steps: &[Step], text: &str) {
    let part = Part::of(steps);
    let read = dataplane.read_part(&part).unwrap_or_else(|e| panic!("{e}: {}", e.errno));
    assert_eq!(read, whole.table.as_ref().map(|table| table.part(&part)), "read in part after:\n{text}");
    for (name, set) in whole.table.iter().flat_map(|table| &table.sets) {
        let mut counters = dataplane.counters(name, set).unwrap_or_else(|e| panic!("{e}: {}", e.errno));
        counters.sort_by_key(|(key, _)| *key);
        let known = whole.counters.get(name).into_iter().flatten();
        assert!(
            counters.into_iter().eq(known.map(|(key, counter)| (*key, *counter))),
            "counters after:\n{text}"
        );
    }
}

/// Commits of our own are no change, and what has not been is not known.
fn own_commits(dataplane: &mut impl Dataplane) {
    clear(dataplane);
    let unchanged = |dataplane: &mut _, since| {
        Dataplane::unchanged_since(dataplane, since).unwrap_or_else(|e| panic!("{e}: {}", e.errno))
    };
    let first = read(dataplane).generation;
    assert_eq!(unchanged(dataplane, first), Some(first), "nobody committed anything");
    let second = generation_after(first);
    assert_eq!(unchanged(dataplane, second), None, "it has not been yet");
    dataplane.commit(&[Step::AddTable], None).map_err(describe).expect("it was cleared");
    assert_eq!(unchanged(dataplane, first), Some(second));
    assert_eq!(unchanged(dataplane, second), Some(second));
}

/// A commit that is planned from a generation is refused once there is a newer one.
fn compare_and_swap(dataplane: &mut impl Dataplane) {
    clear(dataplane);
    let chain = |name: &str| [Step::AddChain(name.into(), None)];
    let stale = Err(("commit a batch".to_owned(), Errno::ERESTART));
    let commit = |dataplane: &mut _, steps: &[Step], planned_from| {
        Dataplane::commit(dataplane, steps, planned_from).map(|done| done.generation).map_err(describe)
    };
    let first = read(dataplane).generation;
    let second = generation_after(first);
    assert_eq!(commit(dataplane, &[Step::AddTable], Some(first)), Ok(Some(second)));
    let before = read(dataplane);
    assert_eq!(before.generation, second);
    assert_eq!(commit(dataplane, &chain("c"), Some(first)), stale, "planned from an older generation");
    assert_eq!(commit(dataplane, &chain("c"), Some(second.wrapping_add(7))), stale, "or from none there was");
    assert_eq!(read(dataplane), before, "nothing remains of a stale commit");
    assert_eq!(commit(dataplane, &chain("c"), Some(second)), Ok(Some(generation_after(second))));
    assert_eq!(commit(dataplane, &[], Some(first)), Ok(Some(first)), "nothing is sent for no steps");
    assert_eq!(commit(dataplane, &chain("d"), None), Ok(None), "planned from whatever there is");
}

fn check(dataplane: &mut impl Dataplane, case: &Case) {
    let name = case.name;
    clear(dataplane);
    let mut fake = FakeKernel::default();
    for prepared in [dataplane.commit(&case.before, None), fake.commit(&case.before, None)] {
        prepared.map_err(describe).unwrap_or_else(|error| panic!("{name}: preparing: {error:?}"));
    }
    let before = read(dataplane);
    assert_eq!(before.table.as_ref(), fake.table(), "{name}: prepared");

    let answer = dataplane.commit(&case.steps, None).map_err(describe);
    let after = read(dataplane);
    match case.refused {
        Some((at, errno)) => {
            assert_eq!(answer, Err((case.steps[at].to_string(), errno)), "{name}");
            assert_eq!(after, before, "{name}: nothing remains of a refused commit");
        }
        None => {
            assert_eq!(answer, Ok(Receipt::default()), "{name}");
            fake.commit(&case.steps, None)
                .map_err(describe)
                .unwrap_or_else(|e| panic!("{name}: the fake: {e:?}"));
            assert_eq!(after.table.as_ref(), fake.table(), "{name}: result");
            assert_eq!(after.generation, generation_after(before.generation), "{name}: a commit is counted");
        }
    }
}

fn clear(dataplane: &mut impl Dataplane) {
    if read(dataplane).table.is_some() {
        dataplane.commit(&[Step::DeleteTable], None).map_err(describe).expect("a table can be deleted");
    }
}

fn read(dataplane: &mut impl Dataplane) -> Snapshot {
    dataplane.read().unwrap_or_else(|e| panic!("{e}: {}", e.errno))
}

fn describe(CommitError { operation, errno }: CommitError) -> (String, Errno) {
    (operation, errno)
}
