//! A table of another layout becomes ours as gently as one of ours does.

mod common;

use common::older::{Older, any_older};
use common::strategy::{any_services, disjoint_services};
use common::trial::{meetings, states};
use common::{Services, With, service, services};
use proptest::prelude::*;
use sluice_core::diff::diff;
use sluice_core::model::Scheduler;
use sluice_core::plan::{Change, Plan};
use sluice_core::render::render;
use sluice_core::report::report;
use sluice_nft::{Base, Chain, Field, Hook, Ip, Object, Operand, Rule, Set, Statement, Step, Table};

proptest! {
    #[test]
    fn plan_for_any_older_layout_leads_to_what_is_desired_and_stays_there(
        before in any_services(),
        older in any_older(),
        after in any_services(),
    ) {
        let first = older.layout(&render(&before, None).table);
        let (states, desired, plan) = states(&first, &after);
        prop_assert!(!plan.changes().any(|change| matches!(change.step, Step::DeleteTable)));
        let last = states.last().unwrap();
        prop_assert_eq!(last, &desired.table);
        let next = render(&after, Some(last));
        prop_assert!(diff(Some(last), Some(&next.table), &next.owners).is_empty());
    }
}

proptest! {
    // Each case runs some thousand packets.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    #[test]
    fn packet_during_any_migration_meets_the_old_or_the_new(
        before in disjoint_services(),
        older in any_older(),
        after in disjoint_services(),
    ) {
        let first = older.layout(&render(&before, None).table);
        let moves = before.iter().any(|(name, old)| {
            after.get(name).is_none_or(|new| new.interface != old.interface)
        });
        for meeting in meetings(&first, &before, &after) {
            let bearable = meeting.is_put_off() || moves && meeting.keeps_its_source();
            prop_assert!(meeting.is_close() || bearable, "{older:?}\n{meeting}");
        }
    }

    #[test]
    fn packet_of_overlapping_listeners_during_any_migration_stays_translated(
        before in any_services(),
        older in any_older(),
        after in any_services(),
    ) {
        let first = older.layout(&render(&before, None).table);
        for meeting in meetings(&first, &before, &after) {
            prop_assert!(meeting.stays_translated(), "{older:?}\n{meeting}");
        }
    }
}

/// A round-robin service and a random one, and their table.
fn two() -> (Services, Table) {
    let backends = ["10.0.2.11:80", "10.0.2.12:80"];
    let random = service(&["203.0.113.10:81"], &backends).scheduler(Scheduler::Random);
    let services = services([("a", service(&["203.0.113.10:80"], &backends)), ("b", random)]);
    let table = render(&services, None).table;
    (services, table)
}

fn purposes(plan: &Plan) -> Vec<&str> {
    plan.batches.iter().map(|batch| batch.purpose.as_str()).collect()
}

#[test]
fn map_declared_otherwise_is_replaced_with_the_rules_that_use_it_and_nothing_else() {
    let (services, mut table) = two();
    table.sets.get_mut(&"slots4-0".into()).unwrap().counter = false;
    let (states, desired, plan) = states(&table, &services);
    assert_eq!(states.last(), Some(&desired.table));
    assert_eq!(purposes(&plan), ["switch", "switch", "retire"]);
    for change in plan.changes() {
        let text = change.step.to_string();
        assert!(text.contains("slots4-0") || text.contains("pick/a/tcp/203.0.113.10/80"), "{text}");
    }
    let text = report(&plan).to_string();
    assert!(text.contains("delete set inet sluice slots4-0  # map slots4-0 is declared otherwise"), "{text}");
    assert_eq!(plan.findings().into_iter().collect::<Vec<_>>(), ["map slots4-0 is declared otherwise"]);
}

#[test]
fn set_declared_otherwise_that_no_rule_uses_is_replaced_at_once() {
    let (services, mut table) = two();
    table.chains.values_mut().for_each(|chain| chain.rules.clear());
    table.sets.insert("services4".into(), Set::plain(vec![]));
    let (states, desired, plan) = states(&table, &services);
    assert_eq!(states.last(), Some(&desired.table));
    assert_eq!(purposes(&plan), ["switch"]);
    let text = report(&plan).to_string();
    assert!(text.contains("# sluice cannot read the declaration of services4"), "{text}");
}

#[test]
fn base_chain_of_another_priority_is_in_force_until_ours_is() {
    let (services, mut table) = two();
    let chain = table.chains.get_mut(&"prerouting".into()).unwrap();
    chain.base = Some(Base { priority: -90, ..Base::PREROUTING });
    let (states, _, plan) = states(&table, &services);
    assert_eq!(purposes(&plan), ["prepare", "switch", "prepare", "switch", "retire"]);
    for state in states {
        let bases =
            state.chains.values().filter(|chain| chain.base.is_some_and(|b| b.hook == Base::PREROUTING.hook));
        assert!(bases.into_iter().any(|chain| !chain.rules.is_empty()), "{state}");
    }
}

#[test]
fn base_chain_of_a_type_or_hook_that_sluice_never_uses_is_deleted_and_named() {
    let (services, mut table) = two();
    let base = Some(Base { hook: Hook::Foreign, ..Base::PREROUTING });
    table.chains.insert("theirs".into(), Chain { base, ..Chain::default() });
    let (states, desired, plan) = states(&table, &services);
    assert_eq!(states.last(), Some(&desired.table));
    let findings: Vec<_> = plan.findings().into_iter().collect();
    assert_eq!(findings, ["sluice cannot read type, hook or policy of chain theirs"]);
}

/// Sets and chains that a plan adds and deletes, and whether it says that they are declared otherwise.
fn declared(plan: &Plan) -> Vec<(String, bool)> {
    let of = |change: &Change| {
        let text = match &change.step {
            Step::AddSet(name, _) => format!("add {name}"),
            Step::DeleteSet(name) => format!("delete {name}"),
            Step::AddChain(name, _) => format!("add {name}"),
            Step::DeleteChain(name) => format!("delete {name}"),
            _ => return None,
        };
        Some((text, change.reason.to_string().ends_with("is declared otherwise")))
    };
    plan.changes().filter_map(of).collect()
}

#[test]
fn stand_in_and_what_it_stands_in_for_are_explained_and_nothing_else_is() {
    let (services, mut table) = two();
    let unneeded = table.sets[&"slots4-0".into()].clone();
    table.sets.insert("unneeded".into(), Set { elements: Default::default(), ..unneeded });
    table.chains.insert("old".into(), Chain::default());
    let mut of_set = table.clone();
    of_set.sets.get_mut(&"slots4-0".into()).unwrap().counter = false;
    let mut of_chain = table.clone();
    let base = Base { priority: -90, ..Base::PREROUTING };
    of_chain.chains.get_mut(&"prerouting".into()).unwrap().base = Some(base);
    for (table, name) in [(of_set, "slots4-0"), (of_chain, "prerouting")] {
        let mut declared = declared(&states(&table, &services).2);
        declared.sort();
        let mut expected = [
            (format!("add {name}"), false),
            (format!("add {name}/1"), true),
            (format!("delete {name}"), true),
            (format!("delete {name}/1"), false),
            ("delete old".to_owned(), false),
            ("delete unneeded".to_owned(), false),
        ];
        expected.sort();
        assert_eq!(declared, expected);
    }
}

#[test]
fn chain_declared_otherwise_is_replaced_at_once_if_it_is_empty_and_nothing_leads_to_it() {
    let (services, mut table) = two();
    let prerouting = table.chains.get_mut(&"prerouting".into()).unwrap();
    *prerouting = Chain::default();
    let (last, desired, plan) = states(&table, &services);
    assert_eq!(last.last(), Some(&desired.table));
    assert_eq!(
        declared(&plan),
        [("delete prerouting".to_owned(), true), ("add prerouting".to_owned(), false)]
    );

    let rule = Rule(vec![Statement::Goto("prerouting".into())]);
    table.chains.insert("theirs".into(), Chain { rules: vec![rule], ..Chain::default() });
    let (last, desired, plan) = states(&table, &services);
    assert_eq!(last.last(), Some(&desired.table));
    assert!(declared(&plan).contains(&("add prerouting/1".to_owned(), true)), "{plan:?}");
}

#[test]
fn chain_that_elements_lead_to_is_replaced_with_these_when_it_is_a_base_chain() {
    let (others, mut table) = two();
    let mut services = others.clone();
    services.extend(common::services([("empty", service(&["203.0.113.10:82"], &[]))]));
    let base = Base { priority: 7, ..Base::PREROUTING };
    let rules = vec![Rule(vec![Statement::Accept])];
    table.chains.insert("no-backend".into(), Chain { base: Some(base), rules });
    let (states, desired, _) = states(&table, &services);
    assert!(desired.table.chains.contains_key(&"no-backend".into()));
    assert_eq!(states.last(), Some(&desired.table));
}

#[test]
fn interrupted_migration_is_taken_up_where_it_stopped() {
    let (services, table) = two();
    let (states, ..) = states(&Older::without_sizes().layout(&table), &services);
    for state in states {
        let (rest, desired, _) = self::states(&state, &services);
        assert_eq!(rest.last(), Some(&desired.table), "after\n{state}");
        assert!(!desired.table.to_string().contains("/1 {"), "{}", desired.table);
    }
}

#[test]
fn dormant_table_is_replaced_and_the_plan_says_why() {
    let (services, table) = two();
    for table in [Table { dormant: true, ..Table::default() }, Table { dormant: true, ..table }] {
        let (states, desired, plan) = states(&table, &services);
        assert_eq!(states.last(), Some(&desired.table));
        let text = report(&plan).to_string();
        assert!(text.contains("- delete table inet sluice  # the table is dormant\n"), "{text}");
    }
}

#[test]
fn stateful_objects_go_with_what_refers_to_them() {
    let (services, mut table) = two();
    table.objects.insert(Object { kind: 1, name: "seen".to_owned() });
    let rules = &mut table.chains.get_mut(&"postrouting".into()).unwrap().rules;
    rules.push(Rule(vec![Statement::Foreign("objref type 1 name seen".to_owned())]));
    let (states, desired, plan) = states(&table, &services);
    assert_eq!(states.last(), Some(&desired.table));
    let findings = plan.findings().into_iter().collect::<Vec<_>>();
    assert_eq!(findings, ["sluice cannot read counter seen", "sluice cannot read objref type 1 name seen"]);
    let last = plan.changes().last().unwrap();
    assert_eq!(
        format!("{}  # {}", last.step, last.reason),
        "delete counter inet sluice seen  # sluice cannot read counter seen"
    );
}

#[test]
fn rules_with_sets_and_chains_of_their_own_are_never_written_again() {
    let (services, mut table) = two();
    let key = vec![Operand::Field(Field::Saddr(Ip::V4))];
    for chain in ["prerouting", "postrouting"] {
        let rules = &mut table.chains.get_mut(&chain.into()).unwrap().rules;
        rules.push(Rule(vec![Statement::InSet(key.clone(), "__set0".into()), Statement::Drop]));
        rules.push(Rule(vec![Statement::Jump("__chain1".into())]));
    }
    table.chains.insert("theirs".into(), Chain::default());
    let desired = render(&services, Some(&table));
    let plan = diff(Some(&table), Some(&desired.table), &desired.owners);
    assert!(!plan.changes().any(|change| change.step.to_string().contains("__")), "{plan:?}");
    let text = report(&plan).to_string();
    assert!(
        text.contains("- flush chain inet sluice postrouting  # sluice cannot read a set without a name\n"),
        "{text}"
    );
}
