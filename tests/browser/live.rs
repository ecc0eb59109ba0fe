//! The page follows what it is told, and says when it is told nothing.

use sluice_api::{ServiceState, Severity, StatusChanges};

use crate::fixtures::{backend, event, service, status, three, unhealthy};
use crate::mock::Mock;
use crate::page::Page;

#[test]
fn changes_are_shown_without_a_reload() {
    let mock = Mock::start(three());
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#list", "web1");
    page.value("window.mark = 'the same document'");
    let mut told = three();
    let web = &mut told.services[2];
    web.backends[0] = unhealthy(web.backends[0].clone(), "http 10.0.2.11:8080: 503");
    let mut new = service("api", &["203.0.113.11:443/tcp"], vec![]);
    new.state = ServiceState::Disabled;
    mock.tell(StatusChanges {
        services: vec![new, web.clone()],
        gone: vec!["mail".into()],
        events: vec![event(
            0,
            Severity::Error,
            Some(("web", "web1")),
            "unhealthy: http 10.0.2.11:8080: 503, 3 of 3",
        )],
        ..StatusChanges::default()
    });
    page.wait_for_text("#list", "http 10.0.2.11:8080: 503, 3 of 3");
    let names = "Array.from(document.querySelectorAll('#list h3'), (name) => name.innerText)";
    assert_eq!(page.value(names), serde_json::json!(["api", "dns", "web"]));
    assert!(page.text("#events li:first-child").contains("unhealthy: http 10.0.2.11:8080: 503"));
    assert_eq!(page.text("#problems-count"), "1");
    assert_eq!(page.value("window.mark"), "the same document");
    page.assert_clean();
}

#[test]
fn new_connections_per_second_come_from_totals() {
    let told = |total: u64| {
        let mut backend = backend("b1", "10.0.2.11:8080", 1.0);
        backend.connections_total = total;
        vec![service("web", &["203.0.113.10:80/tcp"], vec![backend])]
    };
    let mock = Mock::start(status(told(1_000_000)));
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#list", "b1");
    // 200 with every look, however long it is after the one before.
    let mut total = 1_000_000;
    mock.tell(StatusChanges::default());
    let mut tell = || {
        total += 200;
        mock.tell(StatusChanges { services: told(total), ..StatusChanges::default() });
        total
    };
    sluice_testkit::eventually("a rate is shown", || {
        tell();
        // Both in one step, which no frame comes between.
        let shown = page
            .value("['#list .head .rate', '#total-rate'].map((at) => document.querySelector(at).innerText)");
        let rates = [0, 1].map(|at| shown[at].as_str().unwrap().trim().replace(',', ""));
        let service = rates[0].parse::<f64>().ok().filter(|rate| *rate > 100.0)?;
        assert_eq!(rates[1].parse(), Ok(service), "the only service has all connections");
        Some(())
    });
    page.wait_for("document.querySelector('#list .graph .line').getAttribute('d') !== ''");
    let label = page.value("document.querySelector('#list .graph').getAttribute('aria-label')");
    assert!(label.as_str().unwrap().starts_with("New connections per second in the last two minutes: now "));
    // What was counted before the page was opened is not new.
    assert!(page.text("#total-rate").replace(',', "").parse::<f64>().unwrap() < 500_000.0);
    page.assert_clean();
}

#[test]
fn connection_that_is_lost_is_said_to_be_and_made_again() {
    let mock = Mock::start(three());
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#live", "live");
    page.assert_clean();
    mock.leave();
    page.wait_for_text("#lost", "Not connected to sluiced since ");
    assert_eq!(page.text("#live"), "not connected");
    assert!(page.text("#list").contains("web1"), "what was known stays");
    page.picture("lost-1280-light");
    mock.come_back(status(vec![service("other", &["203.0.113.11:80/tcp"], vec![])]));
    page.wait_for_text("#live", "live");
    page.wait_for_text("#list", "other");
    assert_eq!(page.value("document.querySelector('#lost').hidden"), true);
    assert!(!page.text("#list").contains("web1"));
    sluice_testkit::eventually("one listens", || (mock.listeners() >= 1).then_some(()));
}

#[test]
fn events_can_be_filtered_by_severity() {
    let mock = Mock::start(three());
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#events", "drain by uid 1000");
    assert_eq!(page.number("document.querySelectorAll('#events li').length"), 4.0);
    assert!(page.text("#events li:first-child").contains("drain by uid 1000"), "newest first");
    for (severity, left) in [("warning", 2.0), ("error", 1.0), ("info", 4.0)] {
        page.value(&format!(
            "document.querySelector('#severity').value = '{severity}'; \
             document.querySelector('#severity').dispatchEvent(new Event('change'))"
        ));
        assert_eq!(page.number("document.querySelectorAll('#events li').length"), left, "{severity}");
    }
    page.assert_clean();
}
