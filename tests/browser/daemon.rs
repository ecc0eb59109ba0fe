//! The page of a real daemon, with real connections and backends that really die.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use sluice_testkit::{Lab, eventually};
use sluiced::api::http::page as status_page;

use crate::page::{Page, Scheme};

const VIP: &str = "203.0.113.10:80";
const ORIGIN: &str = "http://127.0.0.1:9180";

/// Service `web` with four backends, and others in `more`.
fn configuration(more: &str) -> String {
    let backends = (1..=4).map(|n| format!("{{name: web{n}, address: '10.0.2.1{n}:8080'}}"));
    format!(
        "http: {{listen: 127.0.0.1:9180, accounting: true}}\n\
         defaults: {{health: {{tcp: {{}}, interval: 200ms, timeout: 200ms, rise: 2, fall: 2}}}}\n\
         services:\n  web: {{listen: ['{VIP}', '203.0.113.10:443'], backends: [{}]}}\n{more}",
        backends.collect::<Vec<_>>().join(", ")
    )
}

/// The text of the page's row of a backend of `web`.
fn row(n: usize) -> String {
    format!("#list .service:last-child .row:nth-child({n})")
}

#[test]
fn page_of_a_running_daemon_follows_what_happens_to_it() {
    let lab = Lab::new();
    let mut daemon = lab.start(&configuration(""));
    let mut page = lab.balancer.run(|| Page::open(ORIGIN));
    page.value("window.mark = 'the same document'");
    page.wait_for_text("#list", "4 of 4 serve");
    (1..=4).for_each(|n| page.wait_for_text(&row(n), "healthy"));
    let web = page.text("#list .service");
    for text in ["web", "round-robin", "203.0.113.10:80/tcp", "web3", "10.0.2.13:8080", "25.0 %"] {
        assert!(web.contains(text), "no {text:?} in {web}");
    }
    assert_eq!(page.text("#kernel-state"), "in sync");
    assert!(page.text("#reload-fine").starts_with(&lab.config().display().to_string()));
    assert_eq!(page.text("#daemon-headline"), format!("sluiced {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(page.text("#problems-count"), "0");
    let policy = page.value("fetch('/').then((answer) => answer.headers.get('content-security-policy'))");
    assert_eq!(policy, status_page::page().policy);

    eventually("new connections are seen", || {
        lab.client.tcp_times(20, VIP);
        (page.text("#total-rate").trim().parse::<f64>().ok()? > 0.0).then_some(())
    });
    page.wait_for("Number(document.querySelector('#list .rate').innerText) > 0");

    lab.backends[0].silence();
    page.wait_for_text(&row(1), "unhealthy");
    page.wait_for_text(&row(1), "connect 10.0.2.11:8080: connection refused, 2 of 2");
    page.wait_for_text("#list", "3 of 4 serve");
    page.wait_for_text("#events li:first-child", "unhealthy");
    page.wait_for("document.title === '(1) sluice'");

    let _open = lab.client.open(VIP).expect("a connection");
    lab.sluice(&["drain", "web/web2"]).expect(0);
    page.wait_for_text(&row(2), "drain");
    page.wait_for_text(&row(2), "drain by uid 0, ");
    lab.sluice(&["weight", "web/web3", "3"]).expect(0);
    page.wait_for_text(&row(3), "75.0 %");

    lab.backends[0].serve(8080);
    page.wait_for_text(&row(1), "healthy");
    page.wait_for(&format!("!document.querySelector('{}').innerText.includes('refused')", row(1)));

    daemon.reload("services: {web: {lisen: '203.0.113.10:80'}}");
    page.wait_for_text("#alerts", "unknown key `lisen`");
    page.wait_for_text("#reload-state", "failed");
    page.picture("daemon-1280-light");
    daemon.reload(&configuration("  api: {listen: '203.0.113.10:8443', backends: ['10.0.2.11:8080']}\n"));
    page.wait_for_text("#reload-state", "applied");
    page.wait_for_text("#list .service:first-child", "api");
    assert_eq!(page.text("#alerts"), "");

    assert_eq!(page.value("window.mark"), "the same document");
    page.assert_clean();
    daemon.stop();
    page.wait_for_text("#lost", "Not connected to sluiced since ");
}

#[test]
#[ignore = "draws docs/status-page.png in two minutes: \
            cargo test -p sluice-tests --test browser picture_for -- --ignored"]
fn picture_for_the_documentation_is_of_a_real_daemon() {
    let lab = Lab::with_backends(12);
    lab.serve(8080);
    lab.serve(5353);
    let more = "  api: {listen: '203.0.113.10:8443', scheduler: least-connections, backends: [\
                {name: api1, address: '10.0.2.15:8080', max_connections: 200}, \
                {name: api2, address: '10.0.2.16:8080', max_connections: 200}, \
                {name: spare, address: '10.0.2.17:8080', backup: true}]}\n  \
                dns: {listen: '203.0.113.53:53/udp', deny: [198.51.100.7], source: preserve, backends: [\
                {name: ns1, address: '10.0.2.18:5353', weight: 3}, {name: ns2, address: '10.0.2.19:5353'}]}\n";
    let _daemon = lab.start(&configuration(more));
    let mut page = lab.balancer.run(|| Page::open(ORIGIN));
    page.wait_for_text("#found", "3 services");
    let begun = Instant::now();
    let second = || begun.elapsed().as_secs();
    thread::scope(|scope| {
        // Waits for answers in vain.
        scope.spawn(|| {
            while second() < 120 {
                let _denied = lab.client.udp_from("198.51.100.7:0", "203.0.113.53:53");
            }
        });
        scope.spawn(|| {
            sleep(Duration::from_secs(80));
            lab.backends[2].silence();
            lab.sluice(&["drain", "api/api2"]).expect(0);
        });
        let mut open = vec![];
        while second() < 125 {
            for _ in 0..4 + second() / 7 % 3 + second() / 11 % 4 + second() % 2 {
                // One in the wrong moment is lost with the backend that goes away.
                open.extend(lab.client.open(VIP).ok().filter(|_| open.len() < 40));
                lab.client.udp("203.0.113.53:53").expect("an answer");
            }
            if open.len() % 5 == 0 && second() < 100 {
                open.push(lab.client.open("203.0.113.10:8443").expect("a connection"));
            }
            sleep(Duration::from_millis(120));
        }
        page.wait_for_text("#list", "connection refused, 2 of 2");
        page.resize(1280, 850, Scheme::Light);
        page.picture("../../docs/status-page");
    });
    page.assert_clean();
}
