//! A daemon that has no file descriptors left.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use sluice_testkit::{Daemon, Lab, Shares, eventually, program};

const VIP: &str = "203.0.113.10:80";
const PAGE: &str = "127.0.0.1:9180";
const NONE_LEFT: &str = "Too many open files";

/// With this variable other programs can change the table, and the daemon follows their changes.
const UNOWNED: &[(&str, &str)] = &[("SLUICE_UNOWNED", "1")];

/// Sets the largest number of a descriptor that the daemon can open from now on.
fn limit(lab: &Lab, daemon: &Daemon<'_>, files: u32) {
    let pid = daemon.pid().to_string();
    lab.finish(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:")])).expect(0);
}

/// A connection to the control socket from a time when there were descriptors.
struct Control(UnixStream);

impl Control {
    fn open(lab: &Lab) -> Self {
        let mut control = Control(UnixStream::connect(lab.path("sluice.sock")).unwrap());
        control.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        control.get("/healthz");
        control
    }

    fn get(&mut self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
    }

    fn post(&mut self, path: &str, json: &Value) -> Value {
        let json = json.to_string();
        let head = "host: x\r\ncontent-type: application/json";
        let answer = self
            .ask(&format!("POST {path} HTTP/1.1\r\n{head}\r\ncontent-length: {}\r\n\r\n{json}", json.len()));
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    fn status(&mut self) -> Value {
        serde_json::from_str(&self.get("/api/v1/status")).expect("JSON")
    }

    /// The body of the response.
    fn ask(&mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).unwrap();
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

/// The first line of an answer of the page, or an error.
fn page() -> std::io::Result<String> {
    let mut stream = TcpStream::connect(PAGE)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn daemon_without_descriptors_goes_on_says_so_and_recovers_when_there_are_some_again() {
    let lab = Lab::new();
    let daemon = lab.start(&format!(
        "http: {{listen: '{PAGE}'}}
services:
  web:
    listen: {VIP}
    health: {{tcp: {{}}, interval: 200ms, timeout: 100ms, rise: 1, fall: 2}}
    backends: [10.0.2.11:8080, 10.0.2.12:8080]"
    ));
    let mut control = Control::open(&lab);
    let backend = |status: &Value, index: usize| status["services"][0]["backends"][index].clone();
    eventually("both are healthy", || {
        let status = control.status();
        (0..2).all(|index| backend(&status, index)["health"] == "healthy").then_some(())
    });
    limit(&lab, &daemon, 3);
    lab.backends[0].silence();
    eventually("no probe can be sent", || {
        let status = control.status();
        let detail = |index| backend(&status, index)["last_probe"]["detail"].to_string();
        (0..2).all(|index| detail(index).contains("too many open files")).then_some(())
    });
    let status = control.status();
    assert_eq!(backend(&status, 0)["health"], "healthy", "nothing is known of it");
    // Operators can still take it out.
    let drain =
        serde_json::json!({"service": "web", "backend": "10.0.2.11:8080", "change": {"admin": "drain"}});
    let drained = control.post("/api/v1/override", &drain);
    assert_eq!(drained["admin"], "drain", "{drained}");
    assert!(drained["not_remembered"].to_string().contains(NONE_LEFT), "{drained}");
    assert_eq!(lab.client.tcp_shares(4, VIP), Shares::from([("b2", 4)]));
    assert!(control.status()["state"]["problems"].to_string().contains(NONE_LEFT));
    assert!(control.get("/metrics").contains("\nsluice_state_directory_writable 0\n"));

    // Clients that connect meanwhile get their answers later.
    thread::scope(|scope| {
        let page = scope.spawn(|| lab.balancer.run(page));
        let command = scope.spawn(|| lab.sluice(&["enable", "web/10.0.2.11:8080"]));
        let accept = "accept a connection";
        eventually("the page is tried", || (daemon.logged(accept) > 0).then_some(()));
        limit(&lab, &daemon, 1024);
        // 503 if forwarding could not be checked meanwhile.
        assert!(page.join().unwrap().expect("an answer").starts_with("HTTP/1.0 "));
        command.join().unwrap().expect(0);
    });
    eventually("the daemon is well again", || {
        (lab.balancer.run(page).ok()? == "HTTP/1.0 200 OK").then_some(())
    });
    eventually("the silent backend is found out", || {
        (backend(&control.status(), 0)["health"] == "unhealthy").then_some(())
    });
    assert_eq!(lab.client.tcp_shares(4, VIP), Shares::from([("b2", 4)]));
    eventually("all is saved", || {
        (control.status()["state"]["problems"] == serde_json::json!([])).then_some(())
    });
    assert!(fs::read_to_string(lab.path("backends.json")).unwrap().contains("10.0.2.11"));
}

#[test]
fn followers_that_cannot_open_a_socket_are_away_and_make_up_for_it_when_they_are_back() {
    // Each thread's second wait for an event fails, once.
    const LOSES: &str = "strace -D -f -qq -o /dev/null --seccomp-bpf -e signal=none -e trace=?poll,ppoll \
                         -e inject=?poll,ppoll:error=ENOMEM:when=2 --";
    let lab = Lab::new();
    // Without a refresh, so that only followers can notice anything.
    lab.configure(&format!(
        "refresh: 0
services: {{web: {{listen: '{VIP}', source: preserve, backends: ['10.0.2.11:8080', '10.0.2.12:8080']}}}}"
    ));
    // Enabling it would be an event.
    lab.balancer.set_sysctl("net/ipv4/ip_forward", "1");
    let sluiced = lab.sluiced_after("", &format!("{LOSES} {}", program("sluiced").display()));
    let daemon = Daemon::start_program(&lab, &sluiced, UNOWNED);
    let mut control = Control::open(&lab);
    let errors = |control: &mut Control| -> Vec<String> {
        let followers = control.status()["followers"].take();
        followers.as_array().unwrap().iter().map(|follower| follower["error"].to_string()).collect()
    };
    eventually("both follow", || (errors(&mut control) == ["null", "null"]).then_some(()));
    limit(&lab, &daemon, 3);
    lab.balancer.ip("link set eth1 mtu 1400");
    lab.balancer.nft("add table ip other");
    eventually("both are away", || {
        let errors = errors(&mut control);
        (errors.len() == 2 && errors.iter().all(|error| error.contains(NONE_LEFT))).then_some(())
    });
    let metrics = control.get("/metrics");
    for follower in ["addresses", "ruleset"] {
        assert!(
            metrics.contains(&format!("\nsluice_follower_up{{follower=\"{follower}\"}} 0\n")),
            "{metrics}"
        );
    }
    // Nobody notices.
    lab.balancer.ip("link set eth1 down\nlink set eth1 name inside\nlink set inside up");
    lab.balancer.sh("nft add chain inet sluice mine");
    limit(&lab, &daemon, 1024);
    eventually("both made up for it", || {
        let ruleset = lab.ruleset();
        (ruleset.contains("\"inside\" . \"inside\"") && !ruleset.contains("chain mine")).then_some(())
    });
    eventually("both follow again", || (errors(&mut control) == ["null", "null"]).then_some(()));
}
