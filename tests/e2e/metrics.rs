//! Figures for Prometheus, and what else `http.listen` says.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use sluice_testkit::{Daemon, Host, Lab, eventually};

const HTTP: &str = "10.0.1.1:9180";

const WEB: &str = "http: {listen: '10.0.1.1:9180'}
services:
  web:
    listen: 203.0.113.10:80
    health: {tcp: {}, interval: 200ms, timeout: 100ms, rise: 1, fall: 2}
    backends: [{address: '10.0.2.11:8080', name: 'b\"1\\'}, 10.0.2.12:8080]
";

/// The answer to a GET from a host, head and body.
fn get(from: &Host, path: &str, headers: &str) -> String {
    from.run(|| {
        let mut stream = TcpStream::connect(HTTP).expect("connect to the status page");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set a timeout");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n").expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    })
}

fn value(lab: &Lab, name: &str) -> f64 {
    let text = get(&lab.client, "/metrics", "");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{text}"))
}
