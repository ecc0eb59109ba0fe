//! 2,000 services with four backends each.

use sluice_api::StatusChanges;

use crate::fixtures::{many, unhealthy};
use crate::mock::Mock;
use crate::page::{Page, Scheme};

const NODES: &str = "document.querySelectorAll('*').length";
const NAMES: &str = "Array.from(document.querySelectorAll('#list h3'), (name) => name.innerText)";

#[test]
fn very_many_services_are_drawn_only_where_they_are_seen() {
    let mock = Mock::start(many(2000));
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#found", "2,000 services");
    assert!(page.number(NODES) < 3000.0, "folded: {}", page.number(NODES));
    page.picture("many-folded-1280-light");
    page.value("document.querySelector('#unfolded').click()");
    page.wait_for("document.querySelectorAll('#list .row').length > 4");
    assert!(page.number(NODES) < 3000.0, "unfolded: {}", page.number(NODES));
    // As high as if all were drawn, and the last can be scrolled to.
    assert!(page.number("document.documentElement.scrollHeight") > 2000.0 * 100.0);
    page.value("scrollTo(0, document.documentElement.scrollHeight)");
    page.wait_for_text("#list", "shop-1999");
    page.wait_for("!document.querySelector('#list').innerText.includes('shop-0000')");
    assert!(page.number(NODES) < 3000.0, "at the end: {}", page.number(NODES));
    page.value("scrollTo(0, document.documentElement.scrollHeight / 2)");
    page.wait_for_text("#list", "shop-1000");
    page.picture("many-1280-light");
    page.resize(1280, 900, Scheme::Dark);
    page.picture("many-1280-dark");
    page.assert_clean();
}

#[test]
fn search_among_very_many_finds_services_listeners_backends_and_addresses() {
    let mock = Mock::start(many(2000));
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#found", "2,000 services");
    for (words, found) in [
        ("SHOP-1234", "shop-1234"),
        ("203.0.113.77:80", "shop-0077"),
        ("10.17.3.4:8080", "shop-0253"),
        ("shop-05 10.18.0.2:", "shop-0500"),
        ("unhealthy shop-13", "shop-1307"),
    ] {
        page.search(words);
        page.wait_for_text("#found", "1 of 2,000 services");
        assert_eq!(page.value(NAMES), serde_json::json!([found]), "{words}");
    }
    // The one that was found, not its neighbours.
    assert_eq!(page.number("document.querySelectorAll('#list .row').length"), 1.0);
    assert!(page.text("#list .rest").contains("3 other backends not searched for."));
    page.search("nothing like it");
    page.wait_for_text("#none", "Nothing matches.");
    page.search("");
    page.wait_for_text("#found", "2,000 services");
    // From key to layout. Far more than it takes, on any machine.
    let took = page.number(
        "const box = document.querySelector('#find'); const before = performance.now(); \
         for (let n = 0; n < 20; n += 1) { box.value = `shop ${n} 10.`; box.dispatchEvent(new Event('input')); \
         document.body.offsetHeight } (performance.now() - before) / 20",
    );
    println!("search among 2,000 services: {took:.1} ms");
    assert!(took < 500.0, "{took} ms");
    page.assert_clean();
}

#[test]
fn only_services_with_problems_are_left_when_asked_for() {
    let mock = Mock::start(many(2000));
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#problems-count", "20");
    page.value("document.querySelector('#problems').focus()");
    page.press(" ");
    page.wait_for_text("#found", "20 of 2,000 services");
    assert!(page.text("#list").contains("connect 10.16.7.2:8080: connection refused, 3 of 3"));
    let mut changed = many(11).services.swap_remove(10);
    changed.backends[0] = unhealthy(changed.backends[0].clone(), "http 10.16.10.1:8080: 500");
    mock.tell(StatusChanges { services: vec![changed], ..StatusChanges::default() });
    page.wait_for_text("#found", "21 of 2,000 services");
    page.wait_for_text("#list", "http 10.16.10.1:8080: 500");
    page.assert_clean();
}

#[test]
fn changes_of_very_many_services_at_once_are_taken_in_less_than_their_second() {
    let mock = Mock::start(many(2000));
    let mut page = Page::open(&mock.origin);
    page.wait_for_text("#found", "2,000 services");
    page.value(
        "window.longest = 0; new PerformanceObserver((list) => list.getEntries().forEach(({duration}) => \
         { window.longest = Math.max(window.longest, duration) })).observe({entryTypes: ['longtask']})",
    );
    let mut told = many(2000).services;
    told[1999].backends[3] = unhealthy(told[1999].backends[3].clone(), "the last of all");
    for total in 1..=5 {
        told.iter_mut()
            .flat_map(|service| &mut service.backends)
            .for_each(|b| b.connections_total = 1000 + total);
        mock.tell(StatusChanges { services: told.clone(), ..StatusChanges::default() });
    }
    page.search("shop-1999");
    page.wait_for_text("#list", "the last of all");
    assert!(page.number(NODES) < 3000.0);
    let longest = page.number("window.longest");
    println!("taking and drawing 2,000 services: {longest:.0} ms at most");
    assert!(longest < 1000.0, "{longest} ms");
    page.assert_clean();
}
