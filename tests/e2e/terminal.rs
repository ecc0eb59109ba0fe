//! Output on a terminal, and keys.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use sluice_testkit::{Lab, Shares, Terminal, eventually, program};

const VIP: &str = "203.0.113.10:80";

/// `web` with one and two, and `mail` with three and four.
const PAIRS: &str = "
on_stop: keep
services:
  web:
    listen: '203.0.113.10:80'
    backends: [{address: '10.0.2.11:8080', name: one}, {address: '10.0.2.12:8080', name: two}]
  mail:
    listen: '203.0.113.10:25'
    backends: [{address: '10.0.2.13:8080', name: three}, {address: '10.0.2.14:8080', name: four, weight: 3}]
";

/// Backends in the table, from the top. Output is read in pieces, so a part of the screen may be old.
fn order(screen: &str) -> Vec<&str> {
    let rows = screen.lines().filter(|line| line.starts_with("web ") || line.starts_with("mail "));
    rows.filter_map(|line| line.split_whitespace().nth(1)).collect()
}

/// Admin state of a backend in the status.
fn admin(lab: &Lab, service: &str, backend: &str) -> String {
    let status = lab.sluice(&["status", service, "--json"]).expect(0).json();
    let backends = status["services"][0]["backends"].as_array().unwrap().clone();
    let backend = backends.into_iter().find(|it| it["name"] == backend).unwrap();
    backend["admin"].as_str().unwrap().to_owned()
}

#[test]
fn top_filters_sorts_and_drains_the_selected_backend_after_y_only() {
    let lab = Lab::new();
    let _daemon = lab.start(PAIRS);
    let top = lab.terminal(&["top"], &[]);
    top.shows("kernel in sync");
    top.shows("4 of 4 backends eligible");
    assert!(top.is_on_the_other_screen());
    top.shows_that("services, and backends as in the file", |screen| {
        order(screen) == ["three", "four", "one", "two"]
    });
    top.type_keys("s");
    top.shows("BACKEND▼");
    top.shows_that("backends by name", |screen| order(screen) == ["four", "one", "three", "two"]);
    top.type_keys("r");
    top.shows("BACKEND▲");
    top.shows_that("the other way round", |screen| order(screen) == ["two", "three", "one", "four"]);
    top.type_keys("/web one");
    top.shows_that("only one", |screen| order(screen) == ["one"]);
    top.type_keys("\rd");
    top.shows("drain (y/n)? web/one");
    top.type_keys("n");
    top.shows("cancelled");
    assert_eq!(admin(&lab, "web", "one"), "enabled");
    assert_eq!(lab.client.tcp_shares(10, VIP), Shares::from([("b1", 5), ("b2", 5)]));

    top.type_keys("d");
    top.shows("drain (y/n)? web/one");
    top.type_keys("y");
    top.shows("web/one: drain, 0.0 % of new connections");
    top.shows("web      one      drain");
    assert_eq!(admin(&lab, "web", "one"), "drain");
    assert_eq!(lab.client.tcp_shares(10, VIP), Shares::from([("b2", 10)]));

    top.type_keys("ey");
    top.shows("web/one: enabled, 50.0 % of new connections");
    assert_eq!(lab.client.tcp_shares(10, VIP), Shares::from([("b1", 5), ("b2", 5)]));
    // Esc alone differs from the start of a sequence only in the missing rest.
    top.type_keys("\x1b");
    top.shows(" three ");
}

#[test]
fn top_of_ten_thousand_backends_follows_keys() {
    let lab = Lab::with_backends(0);
    let service = |n: u32| {
        let backends: Vec<_> = (11..15).map(|host| format!("'10.0.2.{host}:8080'")).collect();
        format!("\n  s{n:04}: {{listen: '203.0.113.10:{}', backends: [{}]}}", 1000 + n, backends.join(", "))
    };
    let _daemon = lab.start(&format!("services:{}", (0..2500).map(service).collect::<String>()));
    let top = lab.terminal(&["top"], &[]);
    top.shows("10,000 of 10,000 backends eligible");
    top.shows_that("the first", |screen| screen.contains("s0000 ") && !screen.contains("s0010 "));
    // End, page up, down.
    top.type_keys("\x1b[F");
    top.shows("s2499/10.0.2.14:8080 at");
    top.type_keys("\x1b[5~j");
    top.shows_that("a page before the end", |screen| screen.contains("s2494") && !screen.contains("s2499/"));
    top.type_keys("/s1234 .12:");
    top.shows("filter s1234 .12:: 1 of 10,000");
    top.shows("s1234/10.0.2.12:8080 at");
}

#[test]
fn top_shows_the_rate_of_new_connections() {
    let lab = Lab::new();
    let _daemon = lab.start(PAIRS);
    let top = lab.terminal(&["top"], &[]);
    top.shows("0.0 new/s");
    lab.client.tcp_times(50, VIP);
    let rate = |screen: &str| -> Option<f64> {
        let row = screen.lines().find(|line| line.starts_with("web      two"))?;
        row.split_whitespace().nth(3)?.parse().ok()
    };
    top.shows_that("a rate", |screen| rate(screen).is_some_and(|rate| rate > 0.0));
    top.shows_that("a rate of 0 again", |screen| rate(screen) == Some(0.0));
}

#[test]
fn live_view_that_ends_in_any_way_gives_the_terminal_back() {
    let lab = Lab::new();
    let _daemon = lab.start(PAIRS);
    let typed = |keys| move |live: &Terminal| live.type_keys(keys);
    let (top, watch) = (&["top"][..], &["status", "--watch"][..]);
    for (arguments, end) in [
        (top, &typed("q") as &dyn Fn(&Terminal)),
        (top, &typed("\x03")),
        (top, &typed("d\x03")),
        (top, &typed("?qq")),
        (top, &Terminal::terminate),
        (watch, &typed("\x03")),
        (watch, &Terminal::terminate),
    ] {
        let mut live = lab.terminal(arguments, &[]);
        live.shows("two");
        assert!(!live.is_restored());
        end(&live);
        assert!(live.ends().success());
        eventually("the terminal is as before", || live.is_restored().then_some(()));
        assert!(!live.screen().contains("two"), "nothing is left of it");
    }
}

#[test]
fn top_on_a_terminal_that_changes_its_size_fits_again() {
    let lab = Lab::new();
    let _daemon = lab.start(PAIRS);
    let top = lab.terminal(&["top"], &[]);
    top.shows("WEIGHT");
    top.resize(8, 34);
    top.shows_that("a small screen", |screen| screen.contains("STATE") && !screen.contains("WEIGHT"));
    top.resize(30, 120);
    top.shows("WEIGHT");
    top.shows("? help  q quit");
}

#[test]
fn top_while_the_daemon_restarts_says_what_to_do_and_goes_on() {
    let lab = Lab::new();
    let daemon = lab.start(PAIRS);
    let top = lab.terminal(&["top"], &[]);
    top.shows("web      two");
    daemon.stop();
    top.shows("sluiced is not running, or its socket is elsewhere");
    top.shows_that("what to do", |screen| {
        screen.replace('\n', " ").contains("(start it with systemctl start sluiced")
    });
    // Long messages are wrapped.
    let is_stale = |screen: &str| screen.replace('\n', " ").contains("last answer");
    top.shows_that("how old it is", is_stale);
    top.type_keys("dy");
    top.shows("mail/three: not done: sluiced is not running");
    let _daemon = lab.start(PAIRS);
    top.shows_that("it is back", |screen| !is_stale(screen));
    top.type_keys("j");
    top.shows("? help  q quit");
    top.shows_that("the table", |screen| order(screen) == ["three", "four", "one", "two"]);
    assert_eq!(admin(&lab, "mail", "three"), "enabled", "what failed is not done later");
}

#[test]
fn top_without_a_terminal_names_what_needs_none() {
    let lab = Lab::with_backends(0);
    let refused = lab.sluice(&["top"]).expect(1);
    assert!(
        refused.stderr.starts_with("sluice: top: ") && refused.stderr.contains("`sluice status --watch`")
    );
    assert_eq!(refused.stdout, "");
}

#[test]
fn watched_status_shows_what_changes_and_gives_the_terminal_back() {
    let lab = Lab::new();
    let daemon = lab.start(PAIRS);
    let mut watch = lab.terminal(&["status", "--watch", "web"], &[]);
    watch.shows("NEW/S");
    watch.shows("web: up");
    assert!(watch.is_on_the_other_screen());
    assert!(!watch.screen().contains("mail: up"), "only the service that was named");
    lab.sluice(&["disable", "web/one"]).expect(0);
    watch.shows("one: disabled by uid 0");
    lab.client.tcp_times(20, VIP);
    let row = |screen: &str| screen.lines().find(|line| line.contains("10.0.2.12:8080")).map(str::to_owned);
    watch.shows_that("a rate", |screen| {
        row(screen).is_some_and(|row| {
            row.split_whitespace().nth_back(1).is_some_and(|rate| rate != "0.0" && rate != "-")
        })
    });
    daemon.stop();
    watch.shows("sluiced is not running");
    let _daemon = lab.start(PAIRS);
    watch.shows_that("it is back", |screen| !screen.contains("not running") && screen.contains("web: up"));
    watch.type_keys("\x03");
    assert!(watch.ends().success());
    eventually("the terminal is as before", || watch.is_restored().then_some(()));
}

/// Starts the command line with its output in a pipe.
fn piped(lab: &Lab, arguments: &[&str]) -> (std::process::Child, BufReader<std::process::ChildStdout>) {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program("sluice")).args(arguments);
    command.env("SLUICE_SOCKET", lab.path("sluice.sock")).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = lab.balancer.run(|| command.spawn()).unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

#[test]
fn watched_status_in_a_pipe_is_a_block_or_an_object_a_second_until_nobody_reads() {
    let lab = Lab::new();
    let _daemon = lab.start(PAIRS);
    let (mut child, output) = piped(&lab, &["status", "--watch"]);
    let lines: Vec<String> = output
        .lines()
        .map(Result::unwrap)
        .scan(0, |blocks, line| {
            *blocks += usize::from(line.starts_with("kernel "));
            (*blocks < 3).then_some(line)
        })
        .collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("web: up")).count(), 2, "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some(""), "a blank line between: {lines:?}");
    assert!(lines.iter().all(|line| !line.contains('\x1b')), "{lines:?}");
    eventually("it ends", || child.try_wait().unwrap());

    let (mut child, output) = piped(&lab, &["status", "--watch", "--json", "mail"]);
    for line in output.lines().take(2) {
        let status: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(status["services"][0]["name"], "mail");
        assert_eq!(status["services"].as_array().unwrap().len(), 1);
    }
    assert!(eventually("it ends", || child.try_wait().unwrap()).success());
}

#[test]
fn colour_is_on_a_terminal_only_and_not_with_no_color() {
    let lab = Lab::new();
    let _daemon = lab.start(PAIRS);
    assert!(!lab.sluice(&["status"]).expect(0).stdout.contains('\x1b'));
    let whole = |terminal: &mut Terminal| {
        terminal.ends();
        terminal.shows("daemon  sluiced");
    };
    let mut coloured = lab.terminal(&["status"], &[]);
    whole(&mut coloured);
    assert!(coloured.is_coloured() && coloured.written().contains("\x1b[32mup\x1b[0m"));
    for command in ["status", "plan", "events"] {
        assert!(!lab.sluice(&[command, "--color", "never"]).stdout.contains('\x1b'), "{command}");
    }
    let forced = lab.sluice(&["--color", "always", "status"]).expect(0).stdout;
    assert!(forced.contains("\x1b[32mup\x1b[0m"), "{forced}");
    lab.sluice(&["status", "--color", "sometimes"]).expect(2);
    let mut never = lab.terminal(&["status", "--color", "never"], &[]);
    whole(&mut never);
    assert!(!never.written().contains('\x1b'), "{}", never.written());
    let mut always = lab.terminal(&["status", "--color=always"], &[("NO_COLOR", "1")]);
    whole(&mut always);
    assert!(always.is_coloured(), "--color is stronger than NO_COLOR");
    let mut plain = lab.terminal(&["status"], &[("NO_COLOR", "1")]);
    whole(&mut plain);
    assert!(!plain.written().contains('\x1b'), "{}", plain.written());
    for (environment, is_coloured) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        for arguments in [&["top"][..], &["status", "--watch"]] {
            let live = lab.terminal(arguments, environment);
            live.shows("two");
            assert_eq!(live.is_coloured(), is_coloured, "{arguments:?} {environment:?}");
        }
    }
}

#[test]
fn what_takes_long_says_so_on_a_terminal_and_erases_it() {
    let lab = Lab::with_backends(0);
    let socket = UnixListener::bind(lab.path("sluice.sock")).unwrap();
    let answer = |is_awaited: &dyn Fn()| {
        let (mut stream, _) = socket.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        assert!(request[..length].starts_with(b"POST /api/v1/reload "));
        is_awaited();
        let body = r#"{"at":"2025-01-02T03:04:05Z","ok":true,"problems":[],"warnings":[],"summary":"all done","generation":2}"#;
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    };
    let mut reload = lab.terminal(&["reload"], &[]);
    answer(&|| drop(reload.shows("reload: waiting for sluiced, 1 s")));
    assert!(reload.ends().success());
    assert_eq!(reload.shows("all done"), "all done");

    // Its standard error is not a terminal.
    let (mut child, mut output) = piped(&lab, &["reload"]);
    answer(&|| {});
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "all done\n");
    assert!(eventually("it ends", || child.try_wait().unwrap()).success());
}
