//! The ruleset, rule by rule. The goldens contain whole rulesets.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::kinds::kinds;
use common::{Services, With, service, services};
use sluice_core::model::{
    Guard, HashOn, Limits, Midstream, OnDeny, OnDown, OnFull, Scheduler, Service, ServiceName,
};
use sluice_core::render::render;
use sluice_nft::{ChainName, Data, Rate, Statement, Table};

fn fresh(services: &Services) -> Table {
    render(services, None).table
}

#[test]
fn sets_and_chains_of_services_of_any_kind_are_all_used() {
    for (kind, services) in kinds() {
        let table = fresh(&services);
        let statements = || table.chains.values().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.0);
        let looked_up: BTreeSet<_> = statements().filter_map(Statement::set).collect();
        assert_eq!(looked_up, table.sets.keys().collect(), "{kind}");
        let by_rules = statements().filter_map(|statement| match statement {
            Statement::Goto(chain) | Statement::Jump(chain) => Some(chain),
            _ => None,
        });
        let elements = table.sets.values().flat_map(|set| set.elements.values());
        let by_elements = elements.filter_map(|element| match &element.data {
            Data::Goto(chain) => Some(chain),
            Data::Value(_) | Data::KeyEnd(_) | Data::None => None,
        });
        let led_to: BTreeSet<_> = by_rules.chain(by_elements).collect();
        let inner = table.chains.iter().filter(|(_, chain)| chain.base.is_none());
        assert_eq!(led_to, inner.map(|(name, _)| name).collect(), "{kind}");
    }
}

fn rules(table: &Table, chain: &str) -> Vec<String> {
    table
        .chains
        .get(&ChainName::from(chain))
        .map_or(vec![], |c| c.rules.iter().map(|r| r.to_string()).collect())
}

fn elements(table: &Table, set: &str) -> Vec<String> {
    let set = &table.sets[&set.into()];
    let mut elements: Vec<_> = set.elements.iter().collect();
    elements.sort_by_key(|(key, _)| set.sort_key(key));
    elements.into_iter().map(|(key, element)| set.element(key, &element.data).to_string()).collect()
}

#[test]
fn random_services_with_equal_slot_counts_share_one_rule() {
    let random = |listen, backends: &[&str]| service(&[listen], backends).scheduler(Scheduler::Random);
    let table = fresh(&services([
        ("a", random("203.0.113.10:80", &["10.0.2.11:8080", "10.0.2.12:8080"])),
        ("b", random("203.0.113.11:80", &["10.0.2.13:8080*2", "10.0.2.14:8080*2"])),
    ]));
    assert_eq!(
        rules(&table, "random4-2"),
        ["dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 2 map @random4-2", "goto miss"]
    );
    assert_eq!(rules(&table, "miss"), ["counter drop"]);
    assert_eq!(
        elements(&table, "services4"),
        ["203.0.113.10 . tcp . 80 : goto random4-2", "203.0.113.11 . tcp . 80 : goto random4-2"]
    );
    assert_eq!(table.sets[&"random4-2".into()].elements.len(), 4);
}

#[test]
fn round_robin_listeners_each_have_a_counter_and_a_stripe() {
    let table = fresh(&services([(
        "a",
        service(&["203.0.113.10:80", "203.0.113.10:81"], &["10.0.2.11:8080", "10.0.2.12:8080"]),
    )]));
    assert_eq!(
        rules(&table, "pick/a/tcp/203.0.113.10/81"),
        ["meta l4proto tcp dnat ip to numgen inc mod 2 offset 65536 map @slots4-0", "goto miss"]
    );
    assert_eq!(
        elements(&table, "slots4-0"),
        [
            "0 : 10.0.2.11 . 8080",
            "1 : 10.0.2.12 . 8080",
            "65536 : 10.0.2.11 . 8080",
            "65537 : 10.0.2.12 . 8080"
        ]
    );
}

#[test]
fn as_many_listeners_as_a_map_has_stripes_share_it_and_the_next_one_opens_another() {
    let listen: Vec<String> = (1..=129).map(|port| format!("203.0.113.10:{port}")).collect();
    let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
    let table = fresh(&services([("a", service(&listen, &["10.0.2.11:8080"]))]));
    let sizes: Vec<_> = ["slots4-0", "slots4-1"].map(|map| table.sets[&map.into()].elements.len()).into();
    assert_eq!(sizes, [128, 1]);
}

#[test]
fn stripe_when_the_slot_count_changes_moves_and_otherwise_stays() {
    let before = services([
        ("a", service(&["203.0.113.10:80"], &["10.0.2.11:8080"])),
        ("b", service(&["203.0.113.11:80"], &["10.0.2.11:8080", "10.0.2.12:8080"])),
    ]);
    let after = services([
        ("a", service(&["203.0.113.10:80"], &["10.0.2.11:8080*2", "10.0.2.12:8080"])),
        ("b", service(&["203.0.113.11:80"], &["10.0.2.11:8080", "10.0.2.13:8080"])),
    ]);
    let first = fresh(&before);
    let second = render(&after, Some(&first)).table;
    assert_eq!(
        rules(&second, "pick/a/tcp/203.0.113.10/80")[0],
        "meta l4proto tcp dnat ip to numgen inc mod 3 offset 131072 map @slots4-0"
    );
    assert_eq!(rules(&second, "pick/b/tcp/203.0.113.11/80"), rules(&first, "pick/b/tcp/203.0.113.11/80"));
}

#[test]
fn layout_of_a_rendered_table_renders_the_same_table() {
    let services = services([
        ("a", service(&["203.0.113.10:80", "*:81"], &["10.0.2.11:8080", "10.0.2.12:8080"])),
        ("b", service(&["203.0.113.10:1000-1009"], &["10.0.2.11:2000-2009", "10.0.2.12:80"])),
        ("c", service(&["203.0.113.10:*"], &["10.0.2.11"]).interface("eth0")),
    ]);
    let table = fresh(&services);
    assert_eq!(render(&services, Some(&table)).table, table);
}

#[test]
fn packets_of_unknown_connections_are_sorted_where_some_listeners_adopt_and_others_ignore() {
    let adopts = |listen| Service { midstream: Midstream::Adopt, ..service(&[listen], &["10.0.2.11"]) };
    let opens_none = "tcp flags != syn / fin,syn,rst,ack";
    let exact = [("a", adopts("203.0.113.10:80")), ("b", service(&["203.0.113.10:81"], &["10.0.2.11"]))];
    let table = fresh(&services(exact.clone()));
    assert_eq!(rules(&table, "prerouting")[0], format!("{opens_none} goto midstream"));
    assert_eq!(rules(&table, "midstream"), ["ip daddr . meta l4proto . th dport vmap @adopted4"]);
    assert_eq!(rules(&table, "output")[0], format!("{opens_none} accept"));

    let [a, b] = exact;
    let ignores = ("d", service(&["203.0.113.10:90-99"], &["10.0.2.11"]));
    let table = fresh(&services([a.clone(), b, ("c", adopts("*:80")), ignores]));
    assert_eq!(
        rules(&table, "midstream"),
        [
            "ip daddr . meta l4proto . th dport vmap @adopted4",
            "ip daddr . meta l4proto . th dport @ignored4 accept",
            "meta nfproto ipv4 fib daddr type local tcp dport 80 goto pick/c/tcp/any4/80",
            "ip daddr 203.0.113.10 tcp dport 90-99 accept",
        ]
    );

    let udp = ("udp", service(&["203.0.113.10:80/udp"], &["10.0.2.11"]));
    let table = fresh(&services([a, udp]));
    assert_eq!(rules(&table, "prerouting"), ["ip daddr . meta l4proto . th dport vmap @services4"]);
}

#[test]
fn listeners_that_are_not_exact_stand_in_order_of_precedence() {
    let table = fresh(&services([
        ("a-range", service(&["203.0.113.10:80-90"], &["10.0.2.11"])),
        ("b-any-port", service(&["203.0.113.10:*"], &["10.0.2.11"])),
        ("c-wildcard", service(&["*:80"], &["10.0.2.11"])),
        ("d-interface-wide", service(&["*:80"], &["10.0.2.11"]).interface("eth0")),
        ("e-interface", service(&["203.0.113.10:80"], &["10.0.2.11"]).interface("eth1")),
        ("f-exact", service(&["203.0.113.10:80"], &["10.0.2.11"])),
    ]));
    assert_eq!(
        rules(&table, "prerouting"),
        [
            "tcp flags != syn / fin,syn,rst,ack accept",
            "ip daddr . meta l4proto . th dport vmap @services4",
            "iifname \"eth1\" ip daddr 203.0.113.10 tcp dport 80 goto pick/e-interface/tcp/203.0.113.10/80",
            "iifname \"eth0\" fib daddr type != broadcast fib daddr type != multicast meta nfproto ipv4 \
             tcp dport 80 goto pick/d-interface-wide/tcp/any4/80",
            "meta nfproto ipv4 fib daddr type local tcp dport 80 goto pick/c-wildcard/tcp/any4/80",
            "ip daddr 203.0.113.10 tcp dport 80-90 goto pick/a-range/tcp/203.0.113.10/80-90",
            "ip daddr 203.0.113.10 meta l4proto tcp goto pick/b-any-port/tcp/203.0.113.10/any",
        ]
    );
    assert_eq!(
        rules(&table, "output"),
        [
            "tcp flags != syn / fin,syn,rst,ack accept",
            "ip daddr . meta l4proto . th dport vmap @services4",
            "ip daddr != 127.0.0.0/8 fib daddr type local tcp dport 80 goto pick/c-wildcard/tcp/any4/80",
            "ip daddr 203.0.113.10 tcp dport 80-90 goto pick/a-range/tcp/203.0.113.10/80-90",
            "ip daddr 203.0.113.10 meta l4proto tcp goto pick/b-any-port/tcp/203.0.113.10/any",
        ]
    );
}

#[test]
fn port_ranges_use_the_cheapest_map_that_says_what_happens_to_the_port() {
    let table = fresh(&services([
        ("keep", service(&["203.0.113.10:1000-1009"], &["10.0.2.11", "10.0.2.12:1000-1009"])),
        ("one", service(&["203.0.113.10:2000-2009"], &["10.0.2.11:80"])),
        ("shift", service(&["203.0.113.10:3000-3001"], &["10.0.2.11:4000-4001", "10.0.2.12"])),
    ]));
    assert_eq!(elements(&table, "addresses4-0"), ["0 : 10.0.2.11", "1 : 10.0.2.12"]);
    assert_eq!(elements(&table, "slots4-0"), ["0 : 10.0.2.11 . 80"]);
    assert_eq!(
        elements(&table, "ports4-0"),
        [
            "3000 . 0 : 10.0.2.11 . 4000",
            "3000 . 1 : 10.0.2.12 . 3000",
            "3001 . 0 : 10.0.2.11 . 4001",
            "3001 . 1 : 10.0.2.12 . 3001"
        ]
    );
}

#[test]
fn hash_reads_what_the_file_says_with_a_fixed_seed() {
    let hash = |on| service(&["[2001:db8::10]:80"], &["[fd00::11]:80"]).scheduler(Scheduler::SourceHash(on));
    let table = fresh(&services([("a", hash(HashOn::AddressAndPort))]));
    assert_eq!(
        rules(&table, "hash-port6-1")[0],
        "dnat ip6 to ip6 daddr . meta l4proto . th dport . \
         jhash ip6 saddr . th sport mod 1 seed 0x736c7569 map @hash-port6-1"
    );
}

#[test]
fn rule_that_resets_connections_is_there_where_a_service_may_reset_some() {
    let web = |listen| service(&[listen], &["10.0.2.11:8080"]);
    let guard = |limits, deny: &[&str]| {
        let deny = deny.iter().map(|net| net.parse().unwrap()).collect();
        Some(Arc::new(Guard { deny, limits, ..Guard::default() }))
    };
    let limits = Limits { connections_per_client: Some(9), ..Limits::default() };
    let resets = |guard| Service { guard, on_deny: OnDeny::Reset, ..web("203.0.113.10:80") };
    let (refuses, limited) = (guard(Limits::default(), &["192.0.2.7/32"]), guard(limits, &[]));
    for (web, expected) in [
        (web("203.0.113.10:80"), false),
        (Service { on_down: OnDown::Reset, ..web("203.0.113.10:80") }, true),
        (Service { on_down: OnDown::Reset, ..web("203.0.113.10:80/udp") }, false),
        (resets(None), false),
        (resets(limited), false),
        (resets(refuses.clone()), true),
        (Service { on_deny: OnDeny::Keep, ..resets(refuses.clone()) }, false),
        (Service { guard: refuses, on_deny: OnDeny::Reset, ..web("203.0.113.10:80/udp") }, false),
    ] {
        let rules = rules(&fresh(&services([("web", web.clone())])), "forward");
        assert_eq!(!rules.is_empty(), expected, "{web:?}");
    }
}

#[test]
fn service_without_backends_leads_to_the_answer_for_empty_pools() {
    let table = fresh(&services([
        ("none", service(&["203.0.113.10:80"], &[])),
        ("weightless", service(&["203.0.113.11:80"], &["10.0.2.11:80*0"])),
    ]));
    assert_eq!(
        elements(&table, "services4"),
        ["203.0.113.10 . tcp . 80 : goto no-backend", "203.0.113.11 . tcp . 80 : goto no-backend"]
    );
    assert_eq!(
        rules(&table, "no-backend"),
        ["ct state new meta l4proto tcp reject with tcp reset", "ct state new reject"]
    );
}

#[test]
fn disabled_service_leaves_an_empty_table() {
    let mut off = service(&["203.0.113.10:80"], &["10.0.2.11:80"]);
    off.enabled = false;
    assert_eq!(fresh(&services([("off", off)])), Table::default());
}

#[test]
fn masquerade_is_one_rule_and_preserve_one_for_the_hairpin() {
    let table = fresh(&services([
        ("a", service(&["203.0.113.10:80"], &["10.0.2.11:8080"])),
        ("b", service(&["203.0.113.11:80"], &["10.0.2.11:8080"]).preserve()),
    ]));
    assert_eq!(
        rules(&table, "postrouting"),
        [
            "ct status dnat ct original ip daddr . meta l4proto . ip daddr . th dport @masquerade4 \
          masquerade fully-random",
            "ct status dnat iifname . oifname @same-interface oifname . ip saddr @on-link4 \
          ct original ip daddr . meta l4proto @preserve4 masquerade fully-random"
        ]
    );
    assert_eq!(elements(&table, "masquerade4"), ["203.0.113.10 . tcp . 10.0.2.11 . 8080"]);
}

#[test]
fn services_that_differ_only_in_port_and_source_are_compared_one_by_one() {
    let table = fresh(&services([
        ("http", service(&["203.0.113.10:80"], &["10.0.2.11:8080", "10.0.2.12:8080"])),
        ("https", service(&["203.0.113.10:443"], &["10.0.2.11:8080"]).preserve()),
    ]));
    assert_eq!(elements(&table, "masquerade4"), ["203.0.113.10 . tcp . 10.0.2.12 . 8080"]);
    assert_eq!(
        rules(&table, "source"),
        ["meta l4proto tcp ct original ip daddr 203.0.113.10 ct original proto-dst 80 \
          jump masquerade/http/tcp/203.0.113.10/80"]
    );
    assert_eq!(
        rules(&table, "masquerade/http/tcp/203.0.113.10/80"),
        ["ip daddr . th dport @masquerade/http/tcp/203.0.113.10/80 masquerade fully-random"]
    );
}

#[test]
fn exact_listener_that_preserves_is_kept_apart_from_a_wildcard_that_masquerades() {
    let table = fresh(&services([
        ("any", service(&["*:80"], &["10.0.2.11:8080"])),
        ("exact", service(&["203.0.113.10:80"], &["10.0.2.11:8080"]).preserve()),
    ]));
    assert_eq!(
        rules(&table, "source"),
        [
            "meta l4proto tcp ct original ip daddr 203.0.113.10 ct original proto-dst 80 \
             jump preserve/exact/tcp/203.0.113.10/80",
            "meta nfproto ipv4 meta l4proto tcp ct original proto-dst 80 jump masquerade/any/tcp/any4/80",
        ]
    );
}

#[test]
fn set_that_outgrows_its_size_makes_way_for_a_larger_one_and_no_chain_changes_its_name() {
    let many = |ports: u16| {
        let listen: Vec<String> = (1..=ports).map(|port| format!("203.0.113.10:{port}")).collect();
        let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
        services([("a", service(&listen, &["10.0.2.11:8080"]).scheduler(Scheduler::Random))])
    };
    let small = fresh(&many(1024));
    let large = render(&many(1025), Some(&small)).table;
    assert_eq!(small.sets[&"services4".into()].size, Some(1024));
    assert_eq!(large.sets[&"services4_4096".into()].size, Some(4096));
    assert_eq!(
        rules(&large, "random4-1")[0],
        "dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 1 map @random4-1_4096"
    );
    let shrunk = render(&many(1000), Some(&large)).table;
    assert!(shrunk.sets.contains_key(&"services4_4096".into()), "a little too large is no reason to change");
    let few = render(&many(10), Some(&render(&many(4097), Some(&large)).table)).table;
    assert!(few.sets.contains_key(&"services4".into()));
}

#[test]
fn set_that_replaces_a_full_one_keeps_its_size() {
    let on = |address: &str, ports: u16| {
        let listen: Vec<String> = (1..=ports).map(|port| format!("{address}:{port}")).collect();
        let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
        services([("a", service(&listen, &["10.0.2.11:8080"]).scheduler(Scheduler::Random))])
    };
    let full = fresh(&on("203.0.113.10", 1024));
    let others = on("203.0.113.11", 2);
    let replaced = render(&others, Some(&full)).table;
    assert!(replaced.sets.contains_key(&"services4_4096".into()), "both do not fit");
    assert_eq!(render(&others, Some(&replaced)).table, replaced);
}

#[test]
fn stripes_that_do_not_fit_into_a_map_open_another() {
    let heavy = |weight| {
        service(
            &["203.0.113.10:80", "203.0.113.10:81", "203.0.113.10:82"],
            &["10.0.2.11:80*256", "10.0.2.12:80*255", weight],
        )
    };
    let table = fresh(&services([("a", heavy("10.0.2.13:80*1"))]));
    let sizes: Vec<_> = ["slots4-0", "slots4-1"].map(|map| table.sets[&map.into()].elements.len()).into();
    assert_eq!(sizes, [1024, 512]);
}

#[test]
fn maglev_rendered_again_or_with_backends_in_another_order_is_the_same_table() {
    let render = |backends: [&str; 3]| {
        let web = service(&["203.0.113.10:80", "*:81"], &backends);
        fresh(&services([("web", web.scheduler(Scheduler::Maglev(HashOn::Address, 251)))])).to_string()
    };
    let table = render(["10.0.2.11:8080", "10.0.2.12:8080*3", "10.0.2.13:8080"]);
    assert_eq!(table, render(["10.0.2.11:8080", "10.0.2.12:8080*3", "10.0.2.13:8080"]));
    assert_eq!(table, render(["10.0.2.13:8080", "10.0.2.11:8080", "10.0.2.12:8080*3"]));
}

#[test]
fn names_of_the_longest_guard_are_no_longer_than_the_kernel_takes() {
    let rate = Rate { packets: 10_000_000, unit: 60, burst: 10_000_000 };
    let limits = Limits {
        new_connections: Some(rate),
        new_connections_per_client: Some(rate),
        connections_per_client: Some(u32::MAX),
        clients: 4_194_304,
        on_full: OnFull::Accept,
    };
    let nets = |from: u8| (0..4).map(|n| format!("2001:db8:{n}::/{}", from + n).parse().unwrap()).collect();
    let guard = Guard { allow: nets(100), deny: nets(110), limits, drop_invalid: true };
    let mut web =
        service(&["2001:db8:1111:2222:3333:4444:5555:6666:80", "*:60000-65535"], &["[fd00::11]:8080"]);
    web.guard = Some(Arc::new(guard));
    let name = ServiceName::new(&"x".repeat(63)).unwrap();
    let table = fresh(&[(name, web)].into());
    let sets = table.sets.keys().map(|name| name.as_str());
    for name in table.chains.keys().map(|name| name.as_str()).chain(sets) {
        assert!(name.len() <= 255, "{}: {name}", name.len());
    }
}
