//! The quorum with its hysteresis, and the readiness of services.

mod common;

use common::service;
use proptest::prelude::*;
use sluice_core::model::{Quorum, Service};
use sluice_core::pool::readiness::{NotReady, Tally, readiness};
use sluice_core::pool::{BackendState, effective_service};
use sluice_nft::Ip;

const FOUR: [&str; 4] = ["10.0.2.11:80", "10.0.2.12:80", "10.0.2.13:80", "10.0.2.14:80"];

fn web(quorum: Quorum) -> Service {
    Service { quorum, ..service(&["203.0.113.10:80"], &FOUR) }
}

fn state(is_up: bool, is_full: bool) -> BackendState {
    BackendState { is_up, is_full, ..BackendState::default() }
}

#[test]
fn quorum_between_its_bounds_stays_as_it_was() {
    let quorum = Quorum { up: 3, down: 2 };
    let mut is_met = false;
    let decisions = [2, 3, 2, 1, 2, 0, 4, 2, 1].map(|eligible| {
        is_met = quorum.is_met(eligible, is_met);
        is_met
    });
    assert_eq!(decisions, [false, true, true, false, false, false, true, true, false]);
}

proptest! {
    #[test]
    fn decision_about_a_quorum_is_that_of_the_last_count_outside_its_bounds(
        (a, b) in (1u16..6, 1u16..6),
        counts in prop::collection::vec(0usize..8, 1..20),
    ) {
        let quorum = Quorum { up: a.max(b), down: a.min(b) };
        let mut is_met = false;
        for eligible in &counts {
            is_met = quorum.is_met(*eligible, is_met);
            prop_assert_eq!(quorum.is_met(*eligible, is_met), is_met, "deciding twice is deciding once");
        }
        let outside = |count: &&usize| **count >= quorum.up.into() || **count < quorum.down.into();
        let last = counts.iter().rev().find(outside);
        prop_assert_eq!(is_met, last.is_some_and(|count| *count >= quorum.up.into()));
    }

    #[test]
    fn backups_serve_exactly_while_the_quorum_is_lost_or_too_few_are_not_full(
        states in prop::collection::vec(any::<[bool; 2]>(), 3),
        (a, b) in (1u16..4, 1u16..4),
        was_met in any::<bool>(),
    ) {
        let mut web = web(Quorum { up: a.max(b), down: a.min(b) });
        web.backends[3].backup = true;
        let standing = |index: usize| states.get(index).map_or(state(true, false), |[up, full]| state(*up, *full));
        let at = |name: &str| FOUR.iter().position(|address| *address == name).unwrap();
        let now = effective_service(&web, |backend| standing(at(backend.name.as_str())), |_| was_met);
        let eligible = states.iter().filter(|[up, _]| *up).count();
        let free = states.iter().filter(|[up, full]| *up && !full).count();
        let serve = web.quorum.is_met(eligible, was_met) && free >= web.quorum.down.into();
        let weights: Vec<_> = now.backends.iter().map(|backend| backend.weight > 0).collect();
        let expected = states.iter().map(|[up, full]| serve && *up && !full).chain([!serve]);
        prop_assert_eq!(weights, expected.collect::<Vec<_>>());
    }
}

#[test]
fn tally_counts_full_backends_and_leaves_out_those_that_may_take_nothing() {
    let mut web = web(Quorum::default());
    web.backends[2].weight = 0;
    web.backends[3].backup = true;
    let states = [state(true, true), state(false, false), state(true, false), state(true, false)];
    let tally = Tally::of(Ip::V4, web.backends.iter().zip(states));
    assert_eq!(tally, Tally { eligible: 1, all: 3, backups: 1 });
    assert_eq!(Tally::of(Ip::V6, web.backends.iter().zip(states)), Tally::default());
}

#[test]
fn service_that_is_not_ready_says_why() {
    let (web, up) = (web(Quorum { up: 3, down: 2 }), Tally { eligible: 1, all: 4, backups: 0 });
    let why = |service: &Service, sync: Option<&str>, lost: &[(Ip, Tally)]| {
        let lost = lost.iter().map(|(ip, tally)| (*ip, tally));
        let node = sync.map(|why| NotReady::OutOfSync(why.to_owned()));
        readiness(service, node.as_ref(), lost).map_err(|why| why.to_string())
    };
    let told = |text: &str| Err(text.to_owned());
    assert_eq!(why(&web, None, &[]), Ok(()));
    assert_eq!(why(&web, None, &[(Ip::V4, up)]), told("quorum lost: 1 of 4 backends eligible, needs 3"));
    assert_eq!(why(&web, None, &[(Ip::V4, Tally { backups: 1, ..up })]), Ok(()), "a backup serves");
    assert_eq!(why(&web, Some("a reason"), &[(Ip::V4, up)]), told("not in sync: a reason"));
    let disabled = Service { enabled: false, ..web.clone() };
    assert_eq!(why(&disabled, Some("a reason"), &[]), told("disabled"));
    let empty = Service { backends: vec![], ..web };
    assert_eq!(readiness(&empty, None, []), Err(NotReady::NoBackends));
    assert_eq!(readiness(&empty, Some(&NotReady::Left), []), Err(NotReady::Left));

    let both = service(&["203.0.113.10:80", "[2001:db8::10]:80"], &[FOUR[0], "[fd00::1]:80"]);
    let none = Tally { eligible: 0, all: 1, backups: 0 };
    let lost = told("quorum lost: 0 of 1 IPv6 backends eligible, needs 1");
    assert_eq!(why(&both, None, &[(Ip::V6, none)]), lost, "one version is not enough");
}
