//! Laws for random services: every plan reaches the desired table, in any order of events.

mod common;

use std::net::IpAddr;

use common::strategy::{any_services, disjoint_services};
use common::trial::{Fate, host, meetings, midstream_meetings, outcomes, packets, states, takes};
use common::{With, service, services};
use proptest::prelude::*;
use sluice_core::model::{Midstream, OnEmpty, Protocol, Scheduler, Service};
use sluice_core::plan::Change;
use sluice_core::plan::diff;
use sluice_core::plan::report;
use sluice_core::render::render;
use sluice_nft::fake::FakeKernel;
use sluice_nft::trace::{Ingress, Outcome, Packet, Tracer};
use sluice_nft::{Dataplane, Field, Ip, Operand, Rule, SetName, SetUpdate, Statement, Step};

proptest! {
    #[test]
    fn plan_for_any_change_leads_to_what_is_desired(before in any_services(), after in any_services()) {
        let first = render(&before, None).table;
        let (states, desired, plan) = states(&first, &after);
        prop_assert!(!plan.changes().any(|change| matches!(change.step, Step::DeleteTable)));
        prop_assert_eq!(states.last().unwrap(), &desired.table);
    }

    #[test]
    fn plan_from_nothing_leads_to_what_is_desired_and_back(services in any_services()) {
        let desired = render(&services, None);
        let mut kernel = FakeKernel::default();
        for batch in diff(None, Some(&desired.table), &desired.owners).batches {
            kernel.commit(&batch.steps(), None).unwrap();
        }
        prop_assert_eq!(kernel.table(), Some(&desired.table));
        for batch in diff(kernel.read().unwrap().table.as_ref(), None, &desired.owners).batches {
            kernel.commit(&batch.steps(), None).unwrap();
        }
        prop_assert_eq!(kernel.table(), None);
    }

    #[test]
    fn plan_for_what_is_there_is_empty(services in any_services()) {
        let first = render(&services, None).table;
        let (_, desired, plan) = states(&first, &services);
        prop_assert_eq!(desired.table, first);
        prop_assert!(plan.is_empty());
    }

}

proptest! {
    // Each case runs some thousand packets.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    /// Between any two commits, and with one falling between any two reads of a packet, a packet meets
    /// what it met before the change or what it meets after it.
    #[test]
    fn packet_during_any_change_meets_the_old_or_the_new(
        before in disjoint_services(),
        after in disjoint_services(),
    ) {
        let first = render(&before, None).table;
        for meeting in meetings(&first, &before, &after) {
            prop_assert!(meeting.is_close(), "{meeting}");
        }
    }

    /// Where listeners overlap, a packet that began before the change may for a moment meet the next best
    /// one; it never leaves untranslated.
    #[test]
    fn packet_of_overlapping_listeners_during_any_change_stays_translated(
        before in any_services(),
        after in any_services(),
    ) {
        let first = render(&before, None).table;
        for meeting in meetings(&first, &before, &after) {
            prop_assert!(meeting.stays_translated(), "{meeting}");
        }
    }
}

proptest! {
    #[test]
    fn packet_of_an_unknown_connection_is_translated_where_its_service_adopts_and_untouched_elsewhere(
        services in disjoint_services(),
    ) {
        let table = render(&services, None).table;
        for packet in packets(&services).into_iter().filter(|packet| packet.protocol == Protocol::Tcp) {
            let midstream = packet.clone().midstream();
            let service = services.values().find(|service| takes(service, &packet));
            if service.is_some_and(|service| service.synproxy) {
                continue;
            }
            let adopts = service.is_some_and(|service| service.midstream == Midstream::Adopt);
            let met = outcomes(&table, &midstream);
            if adopts && packet.ingress != Ingress::Local {
                prop_assert_eq!(met, outcomes(&table, &packet), "{:?}", midstream);
            } else {
                prop_assert_eq!(met, ["Untranslated { masqueraded: false }".to_owned()].into(), "{:?}", midstream);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    #[test]
    fn packet_of_an_unknown_connection_meets_nothing_else_during_any_change(
        before in disjoint_services(),
        after in disjoint_services(),
    ) {
        let first = render(&before, None).table;
        for (packet, fate, others) in midstream_meetings(&first, &before, &after) {
            prop_assert!(others.is_empty(), "{packet:?} is not {fate:?}: {others}");
        }
    }

    /// Also where listeners overlap: a connection of a program on this host ends if one of its packets is translated.
    #[test]
    fn packet_of_an_unknown_connection_that_is_ignored_is_never_translated_during_any_change(
        before in any_services(),
        after in any_services(),
    ) {
        let first = render(&before, None).table;
        let meetings = midstream_meetings(&first, &before, &after);
        for (packet, fate, others) in meetings.into_iter().filter(|(_, fate, _)| *fate == Fate::Ignored) {
            prop_assert!(others.is_empty(), "{packet:?} is not {fate:?}: {others}");
        }
    }
}

/// A program on this host has had the address until then.
#[test]
fn packet_of_an_unknown_connection_is_ignored_while_the_first_service_comes_that_ignores_it() {
    let ignores = |listen| service(&[listen], &["10.0.2.11:80"]);
    let adopts = |listen| Service { midstream: Midstream::Adopt, ..ignores(listen) };
    // The verdict map leads to a chain that is there already, or that comes.
    let others = [Scheduler::Random, Scheduler::RoundRobin].into_iter().flat_map(|scheduler| {
        let others =
            [ignores("203.0.113.10:80/udp"), adopts("203.0.113.10:81"), adopts("203.0.113.10:81-90")];
        others.map(|other| (other.scheduler(scheduler), ignores("203.0.113.10:80").scheduler(scheduler)))
    });
    for (other, web) in others {
        let before = services([("other", other)]);
        let after = before.clone().into_iter().chain(services([("web", web)])).collect();
        let first = render(&before, None).table;
        let (states, ..) = states(&first, &after);
        let packet = Packet::arriving(
            Protocol::Tcp,
            "192.0.2.7:1".parse().unwrap(),
            "203.0.113.10:80".parse().unwrap(),
        );
        for pair in states.windows(2) {
            for trace in
                Tracer::new(host()).trace_interleavings(&[&pair[0], &pair[1]], &packet.clone().midstream())
            {
                assert_eq!(trace.outcome, Outcome::Untranslated { masqueraded: false });
            }
        }
    }
}

#[test]
fn listener_that_moves_to_a_new_chain_is_prepared_for_in_a_commit_of_its_own() {
    let random = |backends: &[&str]| {
        services([("a", service(&["203.0.113.10:80"], backends).scheduler(Scheduler::Random))])
    };
    let first = render(&random(&["10.0.2.11:80", "10.0.2.12:80"]), None).table;
    let (_, _, plan) = states(&first, &random(&["10.0.2.11:80"]));
    let purposes: Vec<_> = plan.batches.iter().map(|batch| batch.purpose.as_str()).collect();
    assert_eq!(purposes, ["prepare", "switch", "retire"]);
}

#[test]
fn pick_chains_that_ended_in_a_drop_of_their_own_never_let_a_packet_through_while_that_changes() {
    let web = services([("web", service(&["203.0.113.10:80"], &["10.0.2.11:8080", "10.0.2.12:8080"]))]);
    let mut first = render(&web, None).table;
    let drop = first.chains.remove(&"miss".into()).unwrap().rules;
    first.chains.get_mut(&"pick/web/tcp/203.0.113.10/80".into()).unwrap().rules[1..].clone_from_slice(&drop);
    // Deleted slots make every lookup miss.
    first.sets.get_mut(&"slots4-0".into()).unwrap().elements.clear();
    let (states, ..) = states(&first, &web);
    let packet =
        Packet::arriving(Protocol::Tcp, "192.0.2.7:1".parse().unwrap(), "203.0.113.10:80".parse().unwrap());
    for pair in states.windows(2) {
        for trace in Tracer::new(host()).trace_interleavings(&[&pair[0], &pair[1]], &packet) {
            let outcome = trace.outcome;
            assert!(matches!(outcome, Outcome::Translated { .. } | Outcome::Dropped), "{outcome:?}");
        }
    }
}

#[test]
fn every_packet_to_a_listener_is_translated_to_its_backends_by_their_weights() {
    for scheduler in [Scheduler::RoundRobin, Scheduler::Random] {
        let web = service(&["203.0.113.10:80"], &["10.0.2.11:8080*5", "10.0.2.12:8080*2", "10.0.2.13:8080"]);
        let table = render(&services([("web", web.scheduler(scheduler))]), None).table;
        let mut tracer = Tracer::new(host());
        let mut hits = [0; 3];
        for n in 0..8u32 {
            let packet = Packet::arriving(
                Protocol::Tcp,
                "192.0.2.7:1".parse().unwrap(),
                "203.0.113.10:80".parse().unwrap(),
            );
            match tracer.trace(&table, &Packet { random: n << 29, ..packet }).outcome {
                Outcome::Translated { to, masqueraded: true } => {
                    let IpAddr::V4(address) = to.ip() else { panic!("{to}") };
                    hits[usize::from(address.octets()[3] - 11)] += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(hits, [5, 2, 1], "{scheduler:?}");
    }
}

/// Every statement that can look into a set, or lead to a chain, that is part of its rule.
fn nameless() -> Vec<Statement> {
    let key = || vec![Operand::Field(Field::Saddr(Ip::V4))];
    let set = || SetName::from("__set0");
    let update = SetUpdate::CtCountOver(7);
    vec![
        Statement::InSet(key(), set()),
        Statement::NotInSet(key(), set()),
        Statement::VerdictMap(key(), set()),
        Statement::Dnat { ip: Ip::V4, key: key(), map: set(), port: false },
        Statement::Update { key: key(), set: set(), update },
        // A meter's.
        Statement::Update { key: key(), set: "their-count".into(), update: SetUpdate::CtCountOver(5) },
        Statement::Goto("__chain0".into()),
        Statement::Jump("__chain0".into()),
    ]
}

#[test]
fn plan_over_a_foreign_rule_with_a_set_or_chain_of_its_own_never_writes_it_again() {
    let web = |backends: &[&str]| {
        services([("a", service(&["203.0.113.10:80"], backends).scheduler(Scheduler::Random))])
    };
    for statement in nameless() {
        for last in [None, Some(Statement::Accept)] {
            let mut table = render(&web(&["10.0.2.11:80", "10.0.2.12:80"]), None).table;
            let rule = Rule([statement.clone()].into_iter().chain(last).collect());
            for chain in table.chains.values_mut() {
                chain.rules.insert(0, rule.clone());
            }
            let desired = render(&web(&["10.0.2.11:80"]), Some(&table));
            let plan = diff(Some(&table), Some(&desired.table), &desired.owners);
            let text = report(&plan).to_string();
            let written = |change: &Change| matches!(&change.step, Step::AddRule(_, added) if *added == rule);
            assert!(!plan.changes().any(written), "{text}");
            assert!(text.contains("sluice cannot read "), "{text}");
        }
    }
}

#[test]
fn plan_over_a_foreign_rule_never_writes_it_again() {
    let random = |backends: &[&str]| service(&["203.0.113.10:80"], backends).scheduler(Scheduler::Random);
    let two = services([("a", random(&["10.0.2.11:80", "10.0.2.12:80"]))]);
    let mut table = render(&two, None).table;
    for chain in ["prerouting", "postrouting"] {
        let rules = &mut table.chains.get_mut(&chain.into()).unwrap().rules;
        rules.insert(0, Rule(vec![Statement::Foreign("limit rate 1/second".into())]));
    }
    let one = services([("a", random(&["10.0.2.11:80"]))]);
    let desired = render(&one, Some(&table));
    let plan = diff(Some(&table), Some(&desired.table), &desired.owners);
    assert_eq!(plan.batches.len(), 3);
    assert!(!plan.changes().any(|change| change.step.to_string().contains("limit rate")), "{plan:?}");
    let text = report(&plan).to_string();
    let named = "- flush chain inet sluice prerouting  # sluice cannot read limit rate 1/second\n";
    assert!(text.contains(named), "{text}");
}

/// An empty pool may refuse in the new way before its listener leaves an interface.
#[test]
fn packet_to_an_empty_pool_whose_listener_leaves_an_interface_meets_an_old_or_a_new_refusal() {
    let empty = || service(&["*:1-65535"], &[]);
    let before = services([("s0", Service { midstream: Midstream::Adopt, ..empty().interface("eth0") })]);
    let after = services([("s0", Service { on_empty: OnEmpty::Drop, ..empty() })]);
    let first = render(&before, None).table;
    for meeting in meetings(&first, &before, &after) {
        assert!(meeting.is_close(), "{meeting}");
    }
}
