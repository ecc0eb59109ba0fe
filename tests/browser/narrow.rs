//! A small screen, a keyboard, and who does not see the page.

use serde_json::json;
use sluice_api::ServiceStatus;

use crate::fixtures::{many, three};
use crate::mock::Mock;
use crate::page::{Page, Scheme};

#[test]
fn page_360_pixels_wide_does_not_scroll_sideways() {
    let mut told = three();
    told.services.push(ServiceStatus {
        name: "a-name-that-is-as-long-as-a-name-may-be".repeat(2),
        ..told.services[2].clone()
    });
    told.reload.problems =
        vec!["/etc/sluice/a/long/path/without/a/space/sluice.yaml:3:5: error: unknown key".into()];
    told.reload.ok = false;
    let mock = Mock::start(told);
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#list", "web4");
    page.resize(360, 780, Scheme::Light);
    page.wait_for("innerWidth === 360");
    assert!(page.number("document.documentElement.scrollWidth") <= 360.0);
    let outside = "Array.from(document.querySelectorAll('main *')).filter((node) => !node.closest('.unseen') && \
                   node.getBoundingClientRect().right > 360).map((node) => node.outerHTML)";
    assert_eq!(page.value(outside), json!([]));
    page.picture("three-360-light");
    page.resize(360, 780, Scheme::Dark);
    page.value("document.querySelector('#services').scrollIntoView()");
    page.picture("three-360-dark");
    page.resize(768, 900, Scheme::Light);
    page.picture("three-768-light");
    page.assert_clean();
}

#[test]
fn very_many_services_fit_360_pixels() {
    let mock = Mock::start(many(2000));
    let mut page = Page::open(&mock.origin);
    page.resize(360, 780, Scheme::Light);
    page.wait_for_text("#found", "2,000 services");
    assert!(page.number("document.documentElement.scrollWidth") <= 360.0);
    page.value("document.querySelector('.stick').scrollIntoView()");
    page.wait_for_text("#list", "shop-0007");
    page.picture("many-360-light");
    page.assert_clean();
}

#[test]
fn everything_can_be_reached_and_worked_with_the_keyboard() {
    let mock = Mock::start(three());
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#list", "web4");
    let focused = "document.activeElement.id || document.activeElement.innerText";
    let mut reached = vec![];
    for _ in 0..10 {
        page.press("Tab");
        reached.push(page.value(focused).as_str().unwrap().to_owned());
        let outline = page.value("getComputedStyle(document.activeElement).outlineStyle");
        assert_ne!(outline, "none", "focus on {} is not seen", reached.last().unwrap());
    }
    let expected = [
        "Skip to services",
        "theme",
        "severity",
        "events",
        "find",
        "problems",
        "unfolded",
        "dns",
        "mail",
        "web",
    ];
    assert_eq!(reached, expected);
    page.press("Enter");
    page.wait_for("document.activeElement.ariaExpanded === 'false'");
    // Folded: those with problems alone.
    let rows = "Array.from(document.querySelectorAll('#list .service:last-child .row > .name'), (row) => row.innerText)";
    assert_eq!(page.value(rows), json!(["web2", "web3"]));
    page.assert_clean();
}

#[test]
fn who_does_not_see_the_page_is_told_names_and_values() {
    let mock = Mock::start(three());
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#list", "web4");
    let nameless = "Array.from(document.querySelectorAll('button, input, select, svg, [role=table], [role=meter], section'))\
                    .filter((node) => !node.innerText?.trim() && !node.labels?.length && \
                    !node.getAttribute('aria-label')).map((node) => node.outerHTML)";
    assert_eq!(page.value(nameless), json!([]));
    assert_eq!(page.value("document.querySelector('#list [role=table]').ariaLabel"), "Backends of dns");
    assert_eq!(
        page.number("document.querySelectorAll('#list .service:first-child [role=columnheader]').length"),
        10.0
    );
    assert_eq!(page.value("document.querySelector('#conntrack').ariaValueNow"), "1.5");
    // A state has a word beside its colour, everywhere.
    assert_eq!(page.value("Array.from(document.querySelectorAll('.state')).filter((state) => !state.innerText.trim()).length"), 0);
    page.assert_clean();
}

#[test]
fn colours_follow_the_system_until_the_reader_chooses() {
    let mock = Mock::start(three());
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#list", "web4");
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = page.value(ground);
    page.resize(1280, 900, Scheme::Dark);
    let dark = page.value(ground);
    assert_ne!(light, dark);
    page.value("document.querySelector('#theme').click()");
    assert_eq!(page.value(ground), light);
    page.reload();
    page.wait_for_text("#list", "web4");
    assert_eq!(page.value(ground), light, "it is remembered");
    page.assert_clean();
}
