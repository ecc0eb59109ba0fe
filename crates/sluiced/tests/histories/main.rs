//! Histories of the whole daemon: random events, one after the other, on the fake kernel or the real one, with a clock
//! that only moves when nothing is left to do. After each event oracles compare what the daemon did with what a model of a few
//! lines says. What fails is shrunk to the shortest history, which stands as a test in `stories` afterwards.

#![forbid(unsafe_code)]

mod conntrack;
mod disk;
mod event;
mod file;
mod foreign;
mod former;
mod history;
mod hooks;
mod hosts;
mod life;
mod lists;
mod machine;
mod model;
mod oracles;
mod packets;
mod plane;
mod quorums;
mod reach;
mod shrink;
mod stories;
mod whose;

use std::env;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use event::{Event, Story, any_history};
use plane::Plane;
use proptest::prelude::ProptestConfig;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use reach::Reach;
use sluice_testkit::Namespace;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// Events of a history.
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
    let cases = number("SLUICE_HISTORIES", 1800);
    // One a core.
    let threads: Vec<_> =
        (0..2u64).map(|n| thread::spawn(move || explore(n, cases / 2, Plane::fake))).collect();
    let done = threads.into_iter().map(|thread| thread.join().expect("a thread that reports"));
    report(done.collect());
}

#[test]
fn histories_on_the_kernel_end_as_the_model_says() {
    let _turn = turn();
    let cases = number("SLUICE_KERNEL_HISTORIES", 200);
    let namespace = Namespace::new();
    report(vec![explore(7, cases, || Plane::real(&namespace))]);
}

#[test]
fn history_that_takes_place_twice_is_the_same_in_each_commit_and_status() {
    let _turn = turn();
    let mut histories = Histories::new(1 + u64::from(number("SLUICE_SEED", 0)) * 1000);
    for _ in 0..number("SLUICE_REPEATS", 10) {
        let events = histories.next();
        let [once, again] = [events.clone(), events.clone()]
            .map(|events| thread::spawn(move || log(&events)).join().expect("a log"));
        let differs = once.iter().zip(&again).position(|(a, b)| a != b);
        if let Some(index) = differs.or((once.len() != again.len()).then_some(once.len().min(again.len()))) {
            let line = |log: &[String]| log.get(index).cloned();
            panic!(
                "after {:?}\nthe first time:  {:?}\nthe second time: {:?}\n{}",
                index.checked_sub(1).and_then(|before| line(&once).filter(|_| before > 0)),
                line(&once),
                line(&again),
                Story(&events)
            );
        }
        assert!(once.len() > EVENTS, "nothing was noted");
    }
}

/// A history as a test of its own; panics if it does not end as the model says.
fn story(events: &[Event]) {
    let _turn = turn();
    let mut reach = Reach::default();
    if let Err(wrong) = play(Plane::fake, events, &mut reach) {
        // For whoever looks for the fault: all that happened.
        if env::var_os("SLUICE_LOG").is_some() {
            log(events).iter().for_each(|line| eprintln!("{line}"));
        }
        panic!("{wrong}\n{}", Story(events));
    }
}

fn number(variable: &str, default: u32) -> u32 {
    env::var(variable).map_or(default, |text| text.parse().expect("a number of histories"))
}

/// Random histories. A seed makes them the same ones each time.
struct Histories(TestRunner);

impl Histories {
    fn new(seed: u64) -> Self {
        let bytes: Vec<u8> = seed.to_le_bytes().into_iter().cycle().take(32).collect();
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Histories(TestRunner::new_with_rng(ProptestConfig::default(), rng))
    }

    fn next(&mut self) -> Vec<Event> {
        any_history(EVENTS).new_tree(&mut self.0).expect("nothing is left out").current()
    }
}

/// Runs random histories; `SLUICE_SEED` asks for others. Returns what they reached, and the shortest one that fails.
fn explore(seed: u64, cases: u32, plane: impl Fn() -> Plane) -> (Reach, Option<String>) {
    let mut histories = Histories::new(seed + u64::from(number("SLUICE_SEED", 0)) * 1000);
    // For whoever looks for one fault among several: all kinds of them, or those with some words in common.
    let (survey, only) = (env::var_os("SLUICE_SURVEY").is_some(), env::var("SLUICE_ONLY").ok());
    let mut total = Reach::default();
    for _ in 0..cases {
        let (events, mut reach) = (histories.next(), Reach::default());
        let verdict = play(&plane, &events, &mut reach);
        let wrong = verdict.err().filter(|wrong| only.as_ref().is_none_or(|only| wrong.contains(only)));
        let failed = wrong.as_ref().map(|wrong| format!("FAILED: {}", kind(wrong)));
        let is_news = failed.as_ref().is_some_and(|failed| !total.has(failed));
        failed.iter().for_each(|failed| reach.hit(failed));
        reach.close();
        total.add(&reach);
        let Some(wrong) = wrong.filter(|_| is_news) else { continue };
        let fails = |events: &[Event]| {
            let verdict = play(&plane, events, &mut Reach::default());
            verdict.err().filter(|other| kind(other) == kind(&wrong))
        };
        let events = shrink::shortest(events, &fails);
        let why = fails(&events).unwrap_or(wrong);
        let story = format!("{why}\nthe shortest history:\n{}", Story(&events));
        match survey {
            true => eprintln!("{story}"),
            false => return (total, Some(story)),
        }
    }
    (total, None)
}

/// What a failure has in common with others of its kind: its words without names and numbers.
fn kind(wrong: &str) -> String {
    let line = wrong.split_once("): ").map_or(wrong, |(_, rest)| rest).lines().next().unwrap_or_default();
    let words = line.split(' ').filter(|word| !word.contains(['/', '{', '.', '[', '"']));
    words.take(12).collect::<Vec<_>>().join(" ")
}

fn play(plane: impl Fn() -> Plane, events: &[Event], reach: &mut Reach) -> history::Verdict {
    at_a_standstill(async { history::run(plane(), events, reach).await })
}

/// All that happens in a history on the fake kernel.
fn log(events: &[Event]) -> Vec<String> {
    at_a_standstill(async {
        let plane = Plane::fake();
        plane.keep_log();
        let verdict = history::run(plane.clone(), events, &mut Reach::default()).await;
        plane.note(|| format!("ends with {verdict:?}"));
        plane.take_log()
    })
}

/// Runs something while the clock only moves when nothing is left to do.
fn at_a_standstill<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, work)
}

fn report(done: Vec<(Reach, Option<String>)>) {
    let mut all = Reach::default();
    done.iter().for_each(|(reach, _)| all.add(reach));
    eprintln!("{all}");
    let failed: Vec<_> = done.into_iter().filter_map(|(_, failed)| failed).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    let rare = all.rare();
    assert!(rare.is_empty(), "histories hardly reach what they are for: {rare:#?}");
}
