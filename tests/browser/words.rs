//! The words of the page, which are those of the command line.

use sluice_api::{Admin, BackendStatus, Health, StatusChanges};

use crate::fixtures::{ago, backend, service, status, three, told, unhealthy};
use crate::mock::Mock;
use crate::page::{Page, Scheme};

/// The golden of `sluice status`, whose backends have these names and states.
const GOLDEN: &str = include_str!("../../crates/sluice/tests/golden/status-backends.txt");

#[test]
fn states_of_backends_are_called_as_the_command_line_calls_them() {
    let any = |name: &str| BackendStatus {
        active: None,
        health: Health::Unknown,
        ..backend(name, "10.0.2.11:8080", 0.0)
    };
    let left = |name: &str, admin, active| BackendStatus {
        active: Some(active),
        ..told(any(name), Some(admin), None)
    };
    let backends = vec![
        BackendStatus {
            active: None,
            ..unhealthy(any("sick"), "connect 10.0.2.11:8080: connection refused")
        },
        left("leaving", Admin::Drain, 12),
        left("left", Admin::Drain, 0),
        left("gone", Admin::Disabled, 0),
        BackendStatus { full: true, max_connections: Some(500), active: Some(500), ..any("busy") },
        told(any("heavy"), None, Some(5)),
        BackendStatus { backup: true, health: Health::Healthy, ..any("spare") },
    ];
    let names: Vec<_> = backends.iter().map(|backend| backend.name.clone()).collect();
    let mock = Mock::start(status(vec![service("web", &["203.0.113.10:80/tcp"], backends)]));
    let mut page = Page::open(&mock.origin);
    page.wait_for("document.querySelectorAll('#list .row').length === 7");
    for (index, name) in names.iter().enumerate() {
        let state = page.text(&format!("#list .row:nth-child({}) .health", index + 1));
        let line = GOLDEN.lines().find(|line| line.trim_start().starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in the golden"));
        assert!(
            line.contains(&format!("  {state}  ")),
            "{name}: the page says {state:?}, the command line {line:?}"
        );
    }
    assert!(page.text("#list").contains("connect 10.0.2.11:8080: connection refused, 3 of 3"));
    assert!(page.text("#list").contains("weight 5 by uid 1000, 1m "));
    page.assert_clean();
}

#[test]
fn everything_that_is_told_is_on_the_page() {
    let mut told = three();
    told.host.conntrack_entries = Some(230_000);
    told.reload.warnings = vec!["sluice.yaml:4:5: warning: no health check".into()];
    let mock = Mock::start(told);
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#list", "web4");
    for (place, texts) in [
        ("#services-headline", &["3"][..]),
        ("#services-fine", &["2 up, 1 without backends"]),
        ("#backends-headline", &["9"]),
        ("#backends-fine", &["4 serve, 3 unhealthy, 1 full, 1 draining"]),
        ("#conntrack-headline", &["87.7 %"]),
        (
            "#conntrack-fine",
            &["230,000 of 262,144 entries: nearly full, raise net.netfilter.nf_conntrack_max"],
        ),
        ("#kernel-state", &["in sync"]),
        (
            "#kernel-fine",
            &["table inet sluice (owner, persist)", "3 services, 3 sets, 6 chains, 24 elements"],
        ),
        ("#reload-state", &["applied"]),
        (
            "#reload-fine",
            &["/etc/sluice/sluice.yaml\nloaded 8m ", "number 2\n4 added", "\ndigest 0123456789ab"],
        ),
        ("#warnings", &["1 warning"]),
        ("#foreign-state", &["2 times"]),
        ("#foreign-fine", &["by nft (pid 815)"]),
        ("#daemon-headline", &["sluiced 0.1.0"]),
        ("#daemon-fine", &["pid 4711, started 1d 1h ago\n/run/sluice/sluice.sock"]),
        ("#total-active", &["548 active"]),
        ("#problems-count", &["2"]),
    ] {
        let shown = page.text(place);
        for text in texts {
            assert!(shown.contains(text), "{place}: no {text:?} in {shown:?}");
        }
    }
    let web = page.text("#list .service:last-child");
    for text in [
        "least-connections",
        "203.0.113.10:80/tcp",
        "[2001:db8::10]:80/tcp",
        "3 of 5 serve",
        "dropped: 1,204 client-rate, 3 denied",
        "500 / 500",
        "1.2 GB, 20.5 GB",
        "84 %",
        "84 % of source ports in use: set `source` to a range of addresses",
        "connect 10.0.2.13:8080: connection refused, 3 of 3",
        "drain by uid 1000, 1m ",
        "drain, 12 left",
        "healthy backup",
        "1h 2m",
    ] {
        assert!(web.contains(text), "no {text:?} in {web}");
    }
    page.assert_clean();
    // Two minutes of connections, for the pictures.
    let mut services = three().services;
    for second in 0..=120 {
        for (n, backend) in services.iter_mut().flat_map(|service| &mut service.backends).enumerate() {
            let often =
                if backend.share > 0.0 { second * (17 + n as u64) % 29 + 30 - 20 * (second / 70) } else { 0 };
            backend.connections_total += often;
        }
        mock.tell_at(
            ago(121 - second as i64),
            StatusChanges { services: services.clone(), ..StatusChanges::default() },
        );
    }
    page.wait_for("!document.querySelector('#total-active').innerText.endsWith('peak 0 /s')");
    page.wait_for("document.querySelector('#total-graph .line').getAttribute('d').startsWith('M0 ')");
    for (width, height, scheme) in [(1280, 900, Scheme::Light), (1280, 900, Scheme::Dark)] {
        page.resize(width, height, scheme);
        page.picture(&format!("three-{width}-{scheme:?}").to_lowercase());
    }
}

#[test]
fn what_went_wrong_is_told_in_full() {
    let mut told = status(vec![]);
    told.table.synced = false;
    told.table.error = Some("verify: table inet sluice is not what was committed: 1 difference".into());
    told.table.differences = vec!["+     203.0.113.10 . tcp . 80 : goto random4-4".into()];
    told.table.retry_at = Some(ago(-60));
    told.reload.ok = false;
    told.reload.summary = "2 services with 8 backends as before".into();
    told.reload.problems = vec!["sluice.yaml:3:5: error: unknown key lisen (did you mean listen?)".into()];
    let mock = Mock::start(told);
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#alerts", "goto random4-4");
    let alerts = page.text("#alerts");
    for text in [
        "not what was committed: 1 difference",
        "2 services with 8 backends as before",
        "did you mean listen?",
    ] {
        assert!(alerts.contains(text), "no {text:?} in {alerts}");
    }
    assert_eq!(page.text("#kernel-state"), "not in sync");
    assert!(page.text("#kernel-fine").contains("next retry in "));
    assert_eq!(page.text("#reload-state"), "failed");
    assert_eq!(page.text("#none"), "The configuration has no services.");
    assert_eq!(page.value("document.title"), "(2) sluice");
    page.assert_clean();
    page.picture("wrong-1280-light");
}
