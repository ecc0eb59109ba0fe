//! Histories of the whole daemon: random events, one after the other, on the fake kernel or the real one, with a clock
//! that only moves when nothing is left to do. After each event oracles compare what the daemon did with what a model of a few
//! lines says. What fails is shrunk to the shortest history, which stands as a test in `stories` afterwards.

#![forbid(unsafe_code)]

mod conntrack;
mod event;
mod file;
mod foreign;
mod history;
mod hosts;
mod machine;
mod model;
mod oracles;
mod plane;
mod reach;
mod stories;

use std::cell::RefCell;
use std::env;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use event::{Event, Story, any_history};
use plane::Plane;
use proptest::prelude::ProptestConfig;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use reach::Reach;
use sluice_testkit::Namespace;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// Events of a history, at most.
const EVENTS: usize = 40;

/// A process that is about to become nft holds the lock of a state directory for a moment, so only one test at a time
/// runs histories.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn histories_on_the_fake_kernel_end_as_the_model_says() {
    let _turn = turn();
    let cases = number("SLUICE_HISTORIES", 600);
    // One a core.
    let threads: Vec<_> =
        (0..2u64).map(|n| thread::spawn(move || explore(n, cases / 2, Plane::fake))).collect();
    report(threads.into_iter().map(|thread| thread.join().expect("a thread that reports")).collect());
}

#[test]
fn histories_on_the_kernel_end_as_the_model_says() {
    let _turn = turn();
    let cases = number("SLUICE_KERNEL_HISTORIES", 60);
    let namespace = Namespace::new();
    report(vec![explore(7, cases, || Plane::real(&namespace))]);
}

/// A history as a test of its own; panics if it does not end as the model says.
fn story(events: &[Event]) {
    let _turn = turn();
    let mut reach = Reach::default();
    if let Err(wrong) = play(Plane::fake, events, &mut reach) {
        panic!("{wrong}\n{}", Story(events));
    }
}

fn number(variable: &str, default: u32) -> u32 {
    env::var(variable).map_or(default, |text| text.parse().expect("a number of histories"))
}

/// Runs random histories. The seed makes them the same ones each time; `SLUICE_SEED` asks for others.
fn explore(seed: u64, cases: u32, plane: impl Fn() -> Plane) -> (Reach, Option<String>) {
    let seed = seed + u64::from(number("SLUICE_SEED", 0)) * 1000;
    let bytes: Vec<u8> = seed.to_le_bytes().into_iter().cycle().take(32).collect();
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        max_shrink_time: 240_000,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let total = RefCell::new(Reach::default());
    // For whoever looks for one fault among several: count their kinds, then shrink those with some words in common.
    let (survey, only) = (env::var_os("SLUICE_SURVEY").is_some(), env::var("SLUICE_ONLY").ok());
    let judge = |events: &[Event], reach: &mut Reach| match (play(&plane, events, reach), &only) {
        (Err(wrong), Some(only)) if !wrong.contains(only) => Ok(()),
        (verdict, _) => verdict,
    };
    let result = runner.run(&any_history(EVENTS), |events| {
        let mut reach = Reach::default();
        let mut verdict = judge(&events, &mut reach);
        if survey && let Err(wrong) = std::mem::replace(&mut verdict, Ok(())) {
            reach.hit(&format!("FAILED: {}", kind(&wrong)));
        }
        reach.close();
        total.borrow_mut().add(&reach);
        verdict.map_err(TestCaseError::fail)
    });
    let failed = result.err().map(|error| match error {
        TestError::Fail(why, events) => {
            let (events, why) =
                shortest(events, why.to_string(), |events| judge(events, &mut Reach::default()));
            format!("{why}\nthe shortest history:\n{}", Story(&events))
        }
        TestError::Abort(why) => why.to_string(),
    });
    (total.into_inner(), failed)
}

/// Leaves out one event or edit after the other as long as the history fails in the same way.
fn shortest(
    mut events: Vec<Event>,
    mut why: String,
    judge: impl Fn(&[Event]) -> history::Verdict,
) -> (Vec<Event>, String) {
    let mut index = 0;
    while index < events.len() {
        let mut fewer = events.clone();
        fewer.remove(index);
        match judge(&fewer) {
            // What went before may be left out now, too.
            Err(wrong) if kind(&wrong) == kind(&why) => (events, why, index) = (fewer, wrong, 0),
            _ => index += 1,
        }
    }
    (events, why)
}

/// What a failure has in common with others of its kind: its words without names and numbers.
fn kind(wrong: &str) -> String {
    let line = wrong.split_once("): ").map_or(wrong, |(_, rest)| rest).lines().next().unwrap_or_default();
    let words = line.split(' ').filter(|word| !word.contains(['/', '{', '.', '[', '"']));
    words.take(12).collect::<Vec<_>>().join(" ")
}

fn play(plane: impl Fn() -> Plane, events: &[Event], reach: &mut Reach) -> history::Verdict {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let local = LocalSet::new();
    let verdict = local.block_on(&runtime, async { history::run(plane(), events, reach).await });
    drop(local);
    verdict
}

fn report(done: Vec<(Reach, Option<String>)>) {
    let mut all = Reach::default();
    done.iter().for_each(|(reach, _)| all.add(reach));
    eprintln!("{all}");
    let failed: Vec<_> = done.into_iter().filter_map(|(_, failed)| failed).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
