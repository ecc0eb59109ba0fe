//! Foreign objects in our table are read, do no harm, and can be removed.

use sluice_core::plan::diff;
use sluice_core::render::owner::Owners;
use sluice_nft::{Data, Hook, Key, Statement, Table};

use super::shapes::rendered;
use super::{commit, in_namespace, nft, open, steps, table};

/// Our table after a foreign hand had its way with `edit`, and after that was put right.
fn edited(edit: &'static str, look: impl FnOnce(&Table) + Send + 'static) {
    in_namespace(move || {
        let desired = rendered();
        let mut netlink = open();
        commit(&mut netlink, &steps(&desired));
        nft(edit);
        let current = table(&mut netlink);
        assert_ne!(current, desired, "{edit}");
        look(&current);
        for batch in diff(Some(&current), Some(&desired), &Owners::default()).batches {
            commit(&mut netlink, &batch.steps());
        }
        assert_eq!(table(&mut netlink), desired, "put right after {edit}");
    });
}

/// Statements of the last rule of a chain.
fn last_rule<'a>(table: &'a Table, chain: &str) -> &'a [Statement] {
    &table.chains[&chain.into()].rules.last().expect("a rule").0
}

/// Adds a rule, which must be read as these foreign statements.
fn foreign_rule(rule: &'static str, words: &'static [&'static str]) {
    let edit = format!("add rule inet sluice prerouting {rule}");
    edited(edit.leak(), move |table| {
        let statements = last_rule(table, "prerouting");
        let foreign = |statement: &Statement| matches!(statement, Statement::Foreign(_));
        assert!(statements.iter().any(foreign), "{rule}: {statements:?}");
        let text = format!("{}", sluice_nft::Rule(statements.to_vec()));
        assert!(words.iter().all(|word| text.contains(word)), "{rule}: {text}");
    });
}

#[test]
fn rule_with_a_limit_is_foreign() {
    foreign_rule("tcp dport 22 limit rate 5/second drop", &["limit rate 5/second", "drop"]);
}

#[test]
fn rule_with_a_log_is_foreign() {
    foreign_rule(r#"log prefix "hello" counter"#, &["log prefix hello", "counter"]);
}

#[test]
fn rule_with_a_quota_is_foreign() {
    foreign_rule("quota over 10 mbytes drop", &["quota bytes 10485760"]);
}

#[test]
fn rule_with_an_anonymous_set_is_foreign() {
    foreign_rule("ip saddr { 192.0.2.1, 192.0.2.2 } limit rate 1/second accept", &["__set", "limit"]);
}

#[test]
fn chain_in_a_rule_goes_with_the_rule() {
    for chain in ["prerouting", "postrouting", "no-backend"] {
        edited(
            format!("add rule inet sluice {chain} tcp dport 22 jump {{ counter accept; }}").leak(),
            |_| {},
        );
    }
}

#[test]
fn set_in_a_rule_goes_with_the_rule() {
    for chain in ["prerouting", "postrouting", "no-backend"] {
        for test in ["ip saddr { 192.0.2.1, 192.0.2.2 } drop", "tcp dport vmap { 22 : accept, 1-10 : drop }"]
        {
            edited(format!("add rule inet sluice {chain} {test}").leak(), |_| {});
        }
    }
}

#[test]
fn rule_with_a_greater_than_is_foreign() {
    foreign_rule("tcp dport > 1024 drop", &["cmp gt"]);
    foreign_rule("tcp dport >= 1024 drop", &["cmp gte"]);
}

#[test]
fn rule_with_another_mark_is_foreign() {
    foreign_rule("meta mark set 1", &["meta set mark"]);
    foreign_rule("ct mark 1 drop", &["ct load mark"]);
}

#[test]
fn rule_with_another_nat_is_foreign() {
    foreign_rule("ip daddr 192.0.2.1 tcp dport 80 dnat ip to 10.0.0.1:80", &["nat dnat"]);
    foreign_rule("meta l4proto tcp redirect to :3128", &["redir"]);
    foreign_rule("return", &["immediate reg 0 return"]);
}

#[test]
fn rule_of_ours_elsewhere_is_no_foreign_statement() {
    edited("add rule inet sluice no-backend counter drop", |table| {
        assert_eq!(last_rule(table, "no-backend"), [Statement::Counter, Statement::Drop]);
    });
}

#[test]
fn sets_declared_otherwise_have_an_empty_key() {
    const SETS: [&str; 5] = [
        "set inet sluice a { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }",
        "set inet sluice b { type ipv4_addr; flags timeout; elements = { 192.0.2.1 timeout 1h }; }",
        "set inet sluice d { type ipv4_addr; elements = { 192.0.2.1 }; }",
        "map inet sluice e { type ipv4_addr : mark; elements = { 192.0.2.1 : 7 }; }",
        "set inet sluice f { typeof ip saddr; flags dynamic,timeout; limit rate 1/second; }",
    ];
    for set in SETS {
        edited(format!("add {set}").leak(), |table| {
            let foreign: Vec<_> = table.sets.values().filter(|set| set.key.is_empty()).collect();
            assert_eq!(foreign.len(), 1);
            assert!(foreign[0].elements.is_empty());
        });
    }
}

#[test]
fn set_of_ours_declared_otherwise_is_replaced() {
    edited(
        "flush chain inet sluice postrouting
         delete set inet sluice masquerade4
         add set inet sluice masquerade4 { type ipv4_addr; flags interval; }",
        |table| assert!(table.sets[&"masquerade4".into()].key.is_empty()),
    );
}

#[test]
fn element_with_another_verdict_has_no_data() {
    edited("add element inet sluice services4 { 192.0.2.1 . tcp . 80 : accept }", |table| {
        let key = Key::EMPTY.address([192, 0, 2, 1].into()).protocol(6).port(80);
        assert_eq!(table.sets[&"services4".into()].elements[&key].data, Data::None);
    });
}

#[test]
fn catch_all_element_has_an_empty_key() {
    edited("add element inet sluice services4 { * : drop }", |table| {
        assert!(table.sets[&"services4".into()].elements.contains_key(&Key::EMPTY));
    });
}

#[test]
fn elements_added_and_deleted_are_seen() {
    edited(
        "add element inet sluice services4 { 192.0.2.1 . tcp . 80 : goto no-backend }
         delete element inet sluice services4 { 203.0.113.10 . tcp . 80 }",
        |_| {},
    );
}

#[test]
fn chains_of_another_type_or_policy_have_a_foreign_hook() {
    edited("add chain inet sluice prerouting { policy drop; }", |table| {
        assert_eq!(table.chains[&"prerouting".into()].base.expect("a base").hook, Hook::Foreign);
    });
    edited("add chain inet sluice other { type route hook output priority 3; }", |table| {
        let base = table.chains[&"other".into()].base.expect("a base");
        assert_eq!((base.hook, base.priority), (Hook::Foreign, 3));
    });
}

#[test]
fn dormant_table_is_dormant_with_base_chains_or_without() {
    edited("add table inet sluice { flags dormant; }", |table| assert!(table.dormant));
    edited("delete table inet sluice\nadd table inet sluice { flags dormant; }", |table| {
        assert!(table.dormant && table.chains.is_empty());
    });
}

#[test]
fn stateful_objects_are_deleted_with_what_refers_to_them() {
    const OBJECTS: [&str; 6] = [
        "add counter inet sluice seen\nadd quota inet sluice seen { 10 mbytes }",
        "add counter inet sluice seen\nadd rule inet sluice postrouting counter name seen",
        "add limit inet sluice slow { rate 5/second }\nadd rule inet sluice no-backend limit name slow drop",
        "add quota inet sluice little { 10 mbytes }",
        "add ct timeout inet sluice short { protocol tcp; policy = { established: 100 }; l3proto ip; }",
        "add counter inet sluice seen
         add map inet sluice counters { type ipv4_addr : counter; elements = { 192.0.2.1 : \"seen\" }; }
         add rule inet sluice prerouting counter name ip saddr map @counters",
    ];
    for objects in OBJECTS {
        edited(objects, |table| assert!(!table.objects.is_empty()));
    }
}

#[test]
fn tables_of_others_are_passed_over() {
    in_namespace(|| {
        let mut netlink = open();
        commit(&mut netlink, &steps(&rendered()));
        nft("add table inet other
             add counter inet other seen
             add chain inet other output { type nat hook output priority 0; }
             add rule inet other output log
             add table ip sluice
             add set ip sluice services4 { type ipv4_addr; }
             add chain ip sluice prerouting");
        assert_eq!(table(&mut netlink), rendered());
    });
}
