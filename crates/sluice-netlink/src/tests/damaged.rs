//! Answers of the kernel with bytes changed, cut out and doubled.

use std::env;
use std::fs;
use std::path::Path;

use nftnl::nftnl_sys::libc;
use nix::poll::PollTimeout;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::shapes::rendered;
use super::{commit, conntrack, elsewhere, in_namespace, open, steps};
use crate::attr::Write;
use crate::datagram::{self, Decoded};
use crate::message;
use crate::monitor::Monitor;
use crate::socket::Socket;
use crate::target::Target;
use crate::uapi;

/// Longer answers only say more of the same.
const LENGTH: usize = 2000;

#[test]
fn answers_that_are_damaged_are_read_without_harm() {
    in_namespace(|| {
        let answers = answers();
        // Undamaged messages have contents, so that the decoders read damaged ones up to the damage.
        let said: Vec<Decoded> = answers.iter().map(|answer| datagram::read(answer)).collect();
        assert!(said.iter().any(|said| said.table.chains.values().any(|chain| !chain.rules.is_empty())));
        assert!(said.iter().any(|said| said.table.sets.values().any(|set| !set.elements.is_empty())));
        assert!(said.iter().any(|said| !said.flows.is_empty()));
        assert!(said.iter().any(|said| !said.commits.is_empty()));
        if let Some(folder) = env::var_os("SLUICE_SEEDS") {
            write(Path::new(&folder), &answers);
        }
        let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..5_u8), 1..8);
        let cases = (prop::sample::select(answers), damage);
        let cases_times = |config: ProptestConfig| ProptestConfig { cases: config.cases * 16, ..config };
        TestRunner::new(cases_times(ProptestConfig::default()))
            .run(&cases, |(mut answer, damage)| {
                damage.iter().for_each(|(at, byte, how)| harm(&mut answer, at, *byte, *how));
                datagram::read(&answer).table.to_string();
                Ok(())
            })
            .unwrap();
    });
}

fn harm(answer: &mut Vec<u8>, at: &prop::sample::Index, byte: u8, how: u8) {
    if answer.is_empty() {
        return;
    }
    let at = at.index(answer.len());
    match how {
        0 => answer[at] = byte,
        1 => answer[at] ^= 1 << (byte % 8),
        2 => answer.truncate(at),
        3 => drop(answer.drain(at..answer.len().min(at + usize::from(byte)))),
        _ => answer.extend_from_within(at..answer.len().min(at + usize::from(byte))),
    }
}

/// Of every kind: a chain with a rule, a set with elements, flows, an event.
fn answers() -> Vec<Vec<u8>> {
    let mut monitor = Monitor::open(0).unwrap();
    commit(&mut open(), &steps(&rendered()));
    commit(&mut elsewhere(), &steps(&rendered()));
    let mut answers = vec![];
    while monitor.listener.wait(PollTimeout::from(100_u8)).unwrap() {
        monitor.listener.socket.receive(|event| answers.push(event.to_vec())).unwrap();
    }
    let mut socket = Socket::open().unwrap();
    let mut dump = |kind, more: &[(u16, &str)]| {
        let mut question = message::start(kind, libc::NLM_F_DUMP);
        question.put_text(1, Target::SLUICE.name);
        more.iter().for_each(|(attribute, text)| question.put_text(*attribute, text));
        let mut found = vec![];
        socket.ask(question, |answer| found.push(answer.to_vec())).unwrap();
        found
    };
    let text = |answer: &[u8], attribute| message::attributes(answer).text(attribute).unwrap().to_owned();
    for chain in dump(libc::NFT_MSG_GETCHAIN, &[]) {
        let name = text(&chain, uapi::chain::NAME);
        let rules = dump(libc::NFT_MSG_GETRULE, &[(uapi::rule::CHAIN, &name)]);
        answers.extend(rules.into_iter().map(|rule| [&chain[..], &rule].concat()));
    }
    for set in dump(libc::NFT_MSG_GETSET, &[]) {
        let name = text(&set, uapi::set::NAME);
        let elements = dump(libc::NFT_MSG_GETSETELEM, &[(uapi::element::SET, &name)]);
        answers.push([set, elements.concat()].concat());
    }
    answers.extend(conntrack::answers());
    answers.retain(|answer| answer.len() <= LENGTH);
    answers.sort();
    answers.dedup();
    answers
}

/// A file for each, for `cargo fuzz` to begin with.
fn write(folder: &Path, answers: &[Vec<u8>]) {
    fs::create_dir_all(folder).unwrap();
    for (n, answer) in answers.iter().enumerate() {
        fs::write(folder.join(format!("answer-{n:04}")), answer).unwrap();
    }
}
