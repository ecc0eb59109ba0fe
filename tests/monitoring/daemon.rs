//! What a running daemon says, against the page and promtool.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use sluice_testkit::{Lab, eventually};

use crate::page::Page;
use crate::promtool_path;

/// Everything that has figures of its own.
const EVERYTHING: &str = "http: {listen: '10.0.1.1:9180', accounting: true}
services:
  web:
    listen: 203.0.113.10:80
    deny: [198.51.100.66]
    health: {tcp: {}, interval: 200ms, timeout: 100ms, rise: 1, fall: 2}
    backends: [10.0.2.11:8080, 10.0.2.12:8080]
";

#[test]
fn metrics_of_a_daemon_are_those_of_the_page_and_pass_promtool() {
    let lab = Lab::new();
    let _daemon = lab.start(EVERYTHING);
    lab.client.tcp_times(4, "203.0.113.10:80");
    lab.client.tcp_from("198.51.100.66:0", "203.0.113.10:80").expect_err("it is denied");
    let ready =
        ["sluice_backend_healthy{", "sluice_backend_bytes_total{", "sluice_service_dropped_packets_total{"];
    let metrics = eventually("everything has happened", || {
        let metrics = metrics(&lab);
        ready.iter().all(|name| metrics.contains(name)).then_some(metrics)
    });

    let page = Page::read();
    let mut told = BTreeSet::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let (metric, known) = page.labels(name).unwrap_or_else(|| panic!("{name} is not in the page"));
        told.insert(metric.to_owned());
        for label in labels(line) {
            assert!(
                known.contains(&label),
                "{metric} has a label {label} that the page does not know: {line}"
            );
        }
    }
    assert_eq!(told, page.metrics.keys().cloned().collect(), "told by the daemon, and in the page");

    let mut promtool = Command::new(promtool_path())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start promtool");
    promtool.stdin.take().expect("it was piped").write_all(metrics.as_bytes()).expect("promtool reads");
    let output = promtool.wait_with_output().expect("wait for promtool");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

/// Names of the labels of a series. No value here has a quote in it.
fn labels(line: &str) -> BTreeSet<String> {
    let Some((_, rest)) = line.split_once('{') else { return BTreeSet::new() };
    let (inside, _) = rest.rsplit_once('}').expect("it is closed");
    inside.split("\",").filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect()
}

fn metrics(lab: &Lab) -> String {
    lab.client.run(|| {
        let mut stream = TcpStream::connect("10.0.1.1:9180").expect("connect to the daemon");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
    })
}
