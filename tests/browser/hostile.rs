//! Text from outside that would like to be markup.

use sluice_api::{ForeignChange, ForeignChanges, Severity, Status, StatusChanges};

use crate::fixtures::{ago, backend, event, service, status, told, unhealthy};
use crate::mock::Mock;
use crate::page::Page;

const HOSTILE: &str = r#"<img src=x onerror="window.hit=1"><script>window.hit=1</script>'"`&amp;"#;

/// Every text of a status is hostile.
fn hostile() -> Status {
    let down = unhealthy(backend(HOSTILE, HOSTILE, 0.5), HOSTILE);
    let mut web = service(HOSTILE, &[HOSTILE], vec![told(down, None, Some(3))]);
    web.scheduler = HOSTILE.into();
    web.dropped = [(HOSTILE.into(), 5)].into();
    let mut status = status(vec![web]);
    status.table.name = HOSTILE.into();
    status.table.flags = vec![HOSTILE.into()];
    status.table.synced = false;
    status.table.error = Some(HOSTILE.into());
    status.table.differences = vec![HOSTILE.into()];
    status.table.foreign_changes = ForeignChanges {
        total: 1,
        last: Some(ForeignChange { at: ago(3), process: HOSTILE.into(), pid: 1 }),
    };
    status.reload.ok = false;
    status.reload.problems = vec![HOSTILE.into()];
    status.reload.warnings = vec![HOSTILE.into()];
    status.reload.summary = HOSTILE.into();
    status.daemon.version = HOSTILE.into();
    status.daemon.config = HOSTILE.into();
    status.daemon.socket = HOSTILE.into();
    status.events = vec![event(5, Severity::Error, Some((HOSTILE, HOSTILE)), HOSTILE)];
    status
}

#[test]
fn markup_in_every_text_is_shown_and_does_nothing() {
    let mock = Mock::start(hostile());
    let mut page = Page::open(&mock.origin);
    page.value("document.querySelector('#warnings').open = true");
    page.wait_for_text("#list", HOSTILE);
    let happened = vec![event(1, Severity::Error, Some((HOSTILE, HOSTILE)), HOSTILE)];
    mock.tell(StatusChanges { services: hostile().services, events: happened, ..StatusChanges::default() });
    page.wait_for_text("#said", HOSTILE);
    page.wait_for("document.querySelectorAll('#events li').length === 2");
    for (place, expected) in [
        ("#list .head .name", 2),
        ("#list .head .address", 1),
        ("#list .dropped", 1),
        ("#list .row .name", 1),
        ("#list .row .address", 1),
        ("#list .notes", 1),
        ("#alerts", 4),
        ("#kernel-fine", 2),
        ("#reload-fine", 2),
        ("#warnings", 1),
        ("#foreign-fine", 1),
        ("#daemon-headline", 1),
        ("#daemon-fine", 1),
        ("#events", 6),
    ] {
        let text = page.text(place);
        // Words of a service and a backend are joined, texts of elements stand on lines of their own.
        assert_eq!(text.matches(HOSTILE).count(), expected, "{place}: {text}");
    }
    assert_eq!(page.number("document.querySelectorAll('img').length"), 0.0);
    assert_eq!(page.number("document.scripts.length"), 1.0);
    assert_eq!(page.value("window.hit ?? null"), serde_json::Value::Null);
    page.assert_clean();
}

#[test]
fn markup_would_be_refused_if_the_page_made_any() {
    let mock = Mock::start(hostile());
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#list", HOSTILE);
    let tried = "try { document.body.innerHTML = '<p>'; 'made' } catch (e) { e.name }";
    assert_eq!(page.value(tried), "TypeError");
    page.value("const script = document.createElement('style'); script.append('body { color: red }'); document.head.append(script)");
    page.wait_for("getComputedStyle(document.body).color !== 'rgb(255, 0, 0)'");
    let complaints = page.complaints();
    let policy = complaints.iter().filter(|one| one.to_string().contains("Content Security Policy")).count();
    assert!(policy >= 1, "{complaints:?}");
}
