//! Changes between services of every kind: the effect on packets during the change, and the number of
//! commits. `laws` and `layouts` test the same laws with random services; these cases do not vary.

mod common;

use common::kinds::{TWO, kinds};
use common::trial::{meetings, midstream_meetings, states};
use common::{Services, With, service, services};
use sluice_core::model::{Scheduler, Service};
use sluice_core::render::render;
use sluice_nft::{Rule, Statement};

#[test]
fn packet_during_a_change_of_any_kind_meets_the_old_or_the_new() {
    let kinds = kinds();
    for (from, before) in &kinds {
        let first = render(before, None).table;
        for (to, after) in &kinds {
            for meeting in meetings(&first, before, after) {
                assert!(meeting.is_close(), "{from} to {to}: {meeting}");
            }
            for (packet, fate, others) in midstream_meetings(&first, before, after) {
                assert!(others.is_empty(), "{from} to {to}: {packet:?} is not {fate:?}: {others}");
            }
        }
    }
}

/// Its chains and maps stay for the other one.
#[test]
fn packet_to_a_listener_that_goes_beside_another_meets_the_old_or_the_new() {
    let affine = |listen| Service { affinity: Some(60), ..service(&[listen], &TWO) };
    for (goes, stays) in [
        (affine("203.0.113.10:80"), affine("203.0.113.12:80")),
        (service(&["203.0.113.10:79-82"], &TWO), service(&["203.0.113.10:90-93"], &TWO)),
    ] {
        let after = services([("stays", stays)]);
        let before = services([("goes", goes)]).into_iter().chain(after.clone()).collect();
        for meeting in meetings(&render(&before, None).table, &before, &after) {
            assert!(meeting.is_close(), "{meeting}");
        }
    }
}

/// A foreign rule accepts packets that match no listener.
#[test]
fn packet_during_a_change_does_not_meet_a_foreign_rule_sooner_than_before() {
    let kinds = kinds();
    let [before, after] = ["random", "random, one backend"]
        .map(|kind| &kinds.iter().find(|(name, _)| *name == kind).unwrap().1);
    let mut first = render(before, None).table;
    for chain in first.chains.values_mut().filter(|chain| chain.base.is_some()) {
        chain.rules.push(Rule(vec![Statement::Accept]));
    }
    for meeting in meetings(&first, before, after) {
        assert!(meeting.is_close(), "{meeting}");
    }
}

/// Such a handshake may be under way from before the change.
#[test]
fn rule_that_lets_acks_to_synproxy_pass_is_the_first_as_long_as_a_listener_may_need_it() {
    let kinds = kinds();
    for (from, before) in &kinds {
        let first = render(before, None).table;
        for (to, after) in &kinds {
            for (n, state) in states(&first, after).0.iter().enumerate() {
                let proxied = state.sets.get(&"proxied4".into());
                if proxied.is_some_and(|set| !set.elements.is_empty()) {
                    let first = state.chains[&"prerouting".into()].rules[0].to_string();
                    assert!(first.ends_with(" accept"), "{from} to {to}, batch {n}: {first}");
                }
            }
        }
    }
}

fn purposes(before: &Services, after: &Services) -> Vec<&'static str> {
    let (_, _, plan) = states(&render(before, None).table, after);
    plan.batches.iter().map(|batch| batch.purpose.as_str()).collect()
}

#[test]
fn change_is_prepared_for_only_where_a_packet_under_way_would_meet_neither() {
    let web = |backends: &[&str]| service(&["203.0.113.10:80"], backends);
    let other = || ("other", service(&["203.0.113.10:81"], &TWO));
    let third = || ("third", service(&["203.0.113.10:83"], &TWO));
    let wildcard = || ("wildcard", service(&["*:82"], &TWO));
    let both = |web| services([("web", web), other()]);
    for (before, after, expected) in [
        (both(web(&TWO)), both(web(&TWO[..1])), &["switch", "retire"][..]),
        // A listener comes beside others, and goes.
        (services([other()]), both(web(&TWO)), &["switch"]),
        (both(web(&TWO)), services([other()]), &["switch", "retire"]),
        (both(web(&TWO)), services([other(), third()]), &["switch", "retire"]),
        // A listener that comes has a rule of its own in the base chains.
        (services([other()]), services([other(), wildcard()]), &["switch"]),
        // While one goes that the verdict map led away from that rule.
        (both(web(&TWO)), services([other(), wildcard()]), &["prepare", "switch", "retire"]),
        // An element leads to a chain that is new.
        (both(web(&TWO)), both(web(&TWO).scheduler(Scheduler::Random)), &["prepare", "switch", "retire"]),
    ] {
        assert_eq!(purposes(&before, &after), expected, "{before:?} {after:?}");
    }
}
