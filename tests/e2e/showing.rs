//! `http.listen`: metrics, live changes, health; read-only.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;
use sluice_testkit::{Host, Lab, eventually};

const HTTP: &str = "10.0.1.1:9180";

const WEB: &str = r#"http: {listen: '10.0.1.1:9180'}
services:
  web:
    listen: 203.0.113.10:80
    deny: [198.51.100.66]
    health: {tcp: {}, interval: 200ms, timeout: 100ms, rise: 1, fall: 2}
    backends: [{address: '10.0.2.11:8080', name: 'b"1\'}, 10.0.2.12:8080]
"#;

/// Connects from a host and sends a request.
fn ask(from: &Host, to: &str, request: &str) -> TcpStream {
    from.run(|| {
        let mut stream = TcpStream::connect(to).unwrap_or_else(|e| panic!("connect {to}: {e}"));
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set a timeout");
        stream.write_all(request.as_bytes()).expect("ask");
        stream
    })
}

/// The whole response to a request without a body.
fn answer(from: &Host, request: &str, headers: &str) -> String {
    let text = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    let mut answer = String::new();
    ask(from, HTTP, &text).read_to_string(&mut answer).expect("an answer");
    answer
}

fn metrics(lab: &Lab) -> String {
    answer(&lab.client, "GET /metrics", "")
}

fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
}

#[test]
fn metrics_tell_what_happened_in_both_formats() {
    let lab = Lab::new();
    let mut daemon = lab.start(WEB);
    lab.client.tcp_times(20, "203.0.113.10:80");
    lab.client.tcp_from("198.51.100.66:0", "203.0.113.10:80").expect_err("it is denied");
    lab.backends[1].silence();
    eventually("the second backend is down", || {
        (value(&metrics(&lab), r#"sluice_backend_healthy{service="web",backend="10.0.2.12:8080"}"#) == 0.0)
            .then_some(())
    });
    daemon.reload("services: 7");

    let text = metrics(&lab);
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert!(text.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{text}");
    let of = |name: &str| value(&text, name);
    let connections = |backend: &str| {
        of(&format!(
            r#"sluice_backend_connections_total{{service="web",listener="203.0.113.10:80/tcp",backend="{backend}"}}"#
        ))
    };
    assert_eq!(connections(r#"b\"1\\"#) + connections("10.0.2.12:8080"), 20.0);
    for (name, expected) in [
        (r#"sluice_service_state{service="web",state="up"}"#, 1.0),
        (r#"sluice_service_state{service="web",state="empty"}"#, 0.0),
        (r#"sluice_backend_eligible{service="web",backend="10.0.2.12:8080"}"#, 0.0),
        (r#"sluice_backend_share_ratio{service="web",backend="b\"1\\"}"#, 1.0),
        (r#"sluice_config_reloads_total{result="failed"}"#, 1.0),
        (r#"sluice_config_reloads_total{result="ok"}"#, 0.0),
        ("sluice_config_last_reload_successful", 0.0),
        ("sluice_table_synced", 1.0),
        ("sluice_state_directory_writable", 1.0),
        ("sluice_foreign_changes_total", 0.0),
    ] {
        assert_eq!(of(name), expected, "{name} in\n{text}");
    }
    for name in [
        r#"sluice_service_dropped_packets_total{service="web",reason="denied"}"#,
        r#"sluice_probe_duration_seconds_count{service="web"}"#,
        r#"sluice_reconcile_duration_seconds_count{trigger="health"}"#,
        "sluice_commit_duration_seconds_count",
        r#"sluice_table_objects{kind="elements"}"#,
        "sluice_conntrack_entries",
        "sluice_conntrack_entries_limit",
        "sluice_config_last_reload_success_timestamp_seconds",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
    ] {
        assert!(of(name) > 0.0, "{name} in\n{text}");
    }

    // Metrics of removed backends are dropped.
    daemon.reload(&WEB.replace(", 10.0.2.12:8080]", "]"));
    let fewer = metrics(&lab);
    assert!(fewer.contains(r#"backend="b\"1\\""#) && !fewer.contains("10.0.2.12:8080"), "{fewer}");

    let open = answer(&lab.client, "GET /metrics", "accept: application/openmetrics-text; version=1.0.0\r\n");
    assert!(open.contains("content-type: application/openmetrics-text; version=1.0.0"), "{open}");
    assert!(open.contains("# TYPE sluice_backend_connections counter\n"), "{open}");
    assert!(open.trim_end().ends_with("# EOF"), "{open}");
}

#[test]
fn followers_hear_of_a_backend_that_dies() {
    let lab = Lab::new();
    let _daemon = lab.start(WEB);
    // With HTTP/1.0 the body is not chunked.
    let stream = ask(&lab.client, HTTP, "GET /api/v1/live HTTP/1.0\r\n\r\n");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("the daemon goes on telling"));
    let mut next = move |name: &str| -> Value {
        let event = format!("event: {name}");
        lines.by_ref().find(|line| *line == event).expect("an event");
        let data = lines.next().expect("its data");
        serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON")
    };
    let status = next("status");
    assert_eq!(status["services"][0]["name"], "web");
    lab.backends[1].silence();
    let told = (0..20).map(|_| next("changes")).find(|changes| {
        changes["services"].as_array().is_some_and(|services| {
            services.iter().any(|service| service["backends"][1]["health"] == "unhealthy")
        })
    });
    let told = told.expect("it is told");
    // It may have become healthy within the same second.
    let events = told["events"].as_array().expect("events");
    let said = |event: &&Value| event["kind"] == "health" && event["backend"] == "10.0.2.12:8080";
    let event = events.iter().rfind(said).unwrap_or_else(|| panic!("{told}"));
    assert_eq!(event["severity"], "error");
    assert!(event["text"].as_str().expect("a text").contains("connection refused"), "{event}");
}

#[test]
fn nothing_can_be_changed_from_outside() {
    let lab = Lab::new();
    let _daemon = lab.start(WEB);
    let before = lab.sluice(&["status", "--json"]).expect(0).json()["services"].clone();
    for (request, code) in [
        ("POST /api/v1/reload", 404),
        ("POST /api/v1/override", 404),
        ("GET /api/v1/connections", 404),
        ("PUT /api/v1/status", 405),
        ("DELETE /", 405),
        ("POST /metrics", 405),
        ("PATCH /healthz", 405),
    ] {
        let answer = answer(&lab.client, request, "content-length: 0\r\n");
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{request}: {answer}");
        assert!(answer.contains("\"hint\":"), "{request}: {answer}");
    }
    assert_eq!(lab.sluice(&["status", "--json"]).expect(0).json()["reload"]["generation"], 1);
    let after = lab.sluice(&["status", "--json"]).expect(0).json()["services"].clone();
    let admin = |services: &Value| services[0]["backends"][0]["admin"].clone();
    assert_eq!(admin(&before), admin(&after));
    let page = answer(&lab.client, "GET /", "");
    assert!(
        page.starts_with("HTTP/1.1 200 ") && page.contains("content-security-policy: default-src 'none'"),
        "{page}"
    );
    assert_eq!(answer(&lab.client, "GET /healthz", "").lines().last(), Some("ok"));
}

#[test]
fn reload_moves_the_status_page_or_changes_nothing() {
    let lab = Lab::new();
    let mut daemon = lab.start(WEB);
    // The address is in use.
    let taken = lab.balancer.run(|| TcpListener::bind("10.0.1.1:9181")).expect("bind");
    daemon.reload(&WEB.replace("9180", "9181"));
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    let problem = status["reload"]["problems"][0].as_str().unwrap_or_default().to_owned();
    assert!(problem.contains("10.0.1.1:9181") && problem.contains("http.listen"), "{status}");
    assert_eq!(answer(&lab.client, "GET /healthz", "").lines().last(), Some("ok"));

    drop(taken);
    daemon.hang_up();
    let is_shut = |address| lab.client.run(|| TcpStream::connect(address)).is_err().then_some(());
    eventually("it is not there any more", || is_shut(HTTP));
    drop(ask(&lab.client, "10.0.1.1:9181", ""));
    // From one address to all addresses and back: the old listener of the daemon does not block the new one.
    for address in ["0.0.0.0:9181", "10.0.1.1:9181"] {
        daemon.reload(&WEB.replace(HTTP, address));
        assert_eq!(lab.sluice(&["status", "--json"]).expect(0).json()["reload"]["ok"], true, "{address}");
        eventually("it is there", || is_shut("10.0.1.1:9181").is_none().then_some(()));
    }
    daemon.reload(&WEB.replace("http: {listen: '10.0.1.1:9180'}", ""));
    eventually("it is off", || is_shut("10.0.1.1:9181"));
}
