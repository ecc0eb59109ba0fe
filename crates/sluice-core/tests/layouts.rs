//! Migration from the table of another version follows the same packet laws as any change.

mod common;

use common::older::{Older, any_older};
use common::strategy::{any_services, disjoint_services};
use common::trial::{meetings, states};
use common::{Services, With, service, services};
use proptest::prelude::*;
use sluice_core::model::Scheduler;
use sluice_core::plan::Plan;
use sluice_core::plan::diff;
use sluice_core::plan::report;
use sluice_core::render::render;
use sluice_nft::{
    Base, Chain, Data, Element, Field, Hook, Ip, Object, Operand, Rule, Set, Statement, Step, Table,
};

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
    fn table_of_any_layout_under_our_names_becomes_what_is_desired_in_one_switch(
        before in any_services(),
        older in any_older(),
        after in any_services(),
    ) {
        let first = older.under_our_names().layout(&render(&before, None).table);
        let (states, desired, plan) = states(&first, &after);
        prop_assert_eq!(states.last().unwrap(), &desired.table);
        if plan.findings().iter().any(|finding| finding.ends_with("another declaration")) {
            prop_assert_eq!(purposes(&plan)[0], "switch");
        }
    }

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
fn map_with_another_declaration_is_replaced_with_the_rules_that_use_it_and_nothing_else() {
    let (services, mut table) = two();
    table.sets.get_mut(&"slots4-0".into()).unwrap().counter = false;
    let (states, desired, plan) = states(&table, &services);
    assert_eq!(states.last(), Some(&desired.table));
    assert_eq!(purposes(&plan), ["switch"]);
    for change in plan.changes() {
        let text = change.step.to_string();
        assert!(text.contains("slots4-0") || text.contains("pick/a/tcp/203.0.113.10/80"), "{text}");
    }
    let text = report(&plan).to_string();
    assert!(
        text.contains("delete set inet sluice slots4-0  # map slots4-0 has another declaration"),
        "{text}"
    );
    assert_eq!(plan.findings().into_iter().collect::<Vec<_>>(), ["map slots4-0 has another declaration"]);
}

#[test]
fn set_with_another_declaration_that_no_rule_uses_is_replaced() {
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
fn base_chain_of_another_priority_is_replaced_in_one_commit() {
    let (services, mut table) = two();
    let chain = table.chains.get_mut(&"prerouting".into()).unwrap();
    chain.base = Some(Base { priority: -90, ..Base::PREROUTING });
    let (states, desired, plan) = states(&table, &services);
    assert_eq!(purposes(&plan), ["switch"]);
    assert_eq!(states, [table, desired.table]);
    assert_eq!(plan.findings().into_iter().collect::<Vec<_>>(), ["chain prerouting has another declaration"]);
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

#[test]
fn chain_of_our_name_goes_with_rules_and_elements_of_others_that_lead_to_it() {
    let (services, mut table) = two();
    let map = table.sets[&"services4".into()].clone();
    let theirs = Rule(vec![
        Statement::VerdictMap(map.key.clone(), "theirs".into()),
        Statement::Goto("prerouting".into()),
    ]);
    let elements = map.elements.keys().map(|key| (*key, Element { data: Data::Goto("prerouting".into()) }));
    table.sets.insert("theirs".into(), Set { elements: elements.collect(), ..map });
    table.chains.insert("prerouting".into(), Chain::default());
    table.chains.insert("theirs".into(), Chain { rules: vec![theirs], ..Chain::default() });
    let (states, desired, plan) = states(&table, &services);
    assert_eq!(states.last(), Some(&desired.table));
    assert_eq!(purposes(&plan), ["switch", "retire"]);
}

#[test]
fn chain_that_elements_should_lead_to_is_replaced_when_it_is_a_base_chain() {
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
    }
}

#[test]
fn set_that_cannot_be_read_goes_before_a_chain_that_its_elements_may_lead_to() {
    let (services, mut table) = two();
    table.sets.insert("theirs".into(), Set::plain(vec![]));
    let gone = |table: &Table| {
        let desired = render(&services, Some(table));
        let plan = diff(Some(table), Some(&desired.table), &desired.owners);
        let deletes = plan.batches[0].changes.iter().filter_map(|change| match &change.step {
            Step::DeleteSet(name) => Some(name.to_string()),
            Step::DeleteChain(name) => Some(name.to_string()),
            _ => None,
        });
        (plan.batches[0].purpose.as_str(), deletes.collect::<Vec<_>>())
    };
    assert_eq!(gone(&table), ("retire", vec!["theirs".to_owned()]), "nothing else goes");
    let base = Base { priority: -90, ..Base::PREROUTING };
    table.chains.get_mut(&"prerouting".into()).unwrap().base = Some(base);
    assert_eq!(gone(&table), ("switch", vec!["theirs".to_owned(), "prerouting".to_owned()]));
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
