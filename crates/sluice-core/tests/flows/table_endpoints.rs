//! Flows that a table found in the kernel may have translated.

use sluice_core::flows::{Affected, Flow, TableEndpoints};
use sluice_core::model::{Scheduler, Service};
use sluice_core::render::render;
use sluice_nft::Table;

use crate::common::{Services, With, service, services};
use crate::{TCP, VIP, tcp, udp};

#[test]
fn table_that_was_found_tells_which_flows_it_translated() {
    let services = services([
        ("any", service(&["*:80"], &["10.0.2.11", "[fd00::11]"]).preserve()),
        ("dns", service(&["203.0.113.10:53/udp"], &["10.0.2.11:5353", "10.0.2.12:5353*0"])),
        ("range", service(&["203.0.113.10:70-79/udp"], &["10.0.2.13"])),
        ("shared", service(&["203.0.113.10:60/udp"], &["10.0.2.14"]).scheduler(Scheduler::Random)),
        ("six", service(&["[2001:db8::10]:90-99/udp"], &["[fd00::12]:9"])),
        ("six-kept", service(&["[2001:db8::10]:70-79/udp"], &["[fd00::13]"])),
    ]);
    let rendered = render(&services, None);
    let found = TableEndpoints::of(&rendered.table);
    let affected = Affected::at_start(&Services::new(), found);
    for (flow, expected) in [
        (udp(VIP, "10.0.2.11:5353"), true),
        (udp(VIP, "10.0.2.12:5353"), true),
        (udp(VIP, "10.0.2.11:53"), false),
        (udp(VIP, "10.0.9.9:5353"), false),
        (udp("203.0.113.10:54", "10.0.2.11:5353"), false),
        (udp("203.0.113.10:71", "10.0.2.13:71"), true),
        (udp("203.0.113.10:71", "10.0.2.13:72"), false),
        (udp("203.0.113.10:60", "10.0.2.14:60"), true),
        (udp("203.0.113.10:60", "10.0.2.14:61"), false),
        (Flow { protocol: TCP, ..udp("203.0.113.10:60", "10.0.2.14:60") }, false),
        (udp("[2001:db8::10]:91", "[fd00::12]:9"), true),
        (udp("[2001:db8::10]:71", "[fd00::13]:71"), true),
        (udp("[2001:db8::10]:71", "[fd00::13]:72"), false),
        (tcp("10.9.9.9:80", "10.0.2.11:80"), true),
        (tcp("[2001:db8::1]:80", "[fd00::11]:80"), true),
        (tcp("10.9.9.9:81", "10.0.2.11:81"), false),
        (udp(VIP, VIP), false),
    ] {
        assert_eq!(affected.later.index().contains(&flow, |_| false), expected, "{flow:?}");
    }
}

#[test]
fn table_that_was_found_is_empty_unless_it_leads_a_listener_to_a_backend() {
    let found = |service: Service| TableEndpoints::of(&render(&services([("web", service)]), None).table);
    assert!(TableEndpoints::of(&Table::default()).is_empty());
    assert!(found(service(&["203.0.113.10:80"], &[])).is_empty(), "no backends");
    let random = |listen| service(&[listen], &["10.0.2.11"]).scheduler(Scheduler::Random);
    assert!(!found(random("203.0.113.10:80")).is_empty(), "only the map of services names the listener");
    assert!(!found(random("203.0.113.10:80-89")).is_empty(), "only a chain names the listener");
    let mut table = render(&services([("web", random("203.0.113.10:80"))]), None).table;
    table.sets.remove(&"services4".into());
    assert!(TableEndpoints::of(&table).is_empty(), "no listener");
}
