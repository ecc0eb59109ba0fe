//! Backends that fail in various ways: detected in time, with a clear detail, and back when they recover.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_testkit::{Behaviour, HealthServer, Lab, Shares, eventually};

const VIP: &str = "203.0.113.10:80";

/// `fall` x `interval` + `timeout`, and a second.
const PROMISED: Duration = Duration::from_millis(2 * 200 + 200 + 1000);

/// A rule of a host that neither accepts nor refuses connections.
const HANG: &str =
    "table inet hang { chain input { type filter hook input priority 0; tcp dport 8080 drop\n}\n}";

const HTTP: &str = "http: {path: /healthz}, port: 9000";

/// Two backends with this check.
fn two(check: &str) -> String {
    format!(
        "services: {{web: {{listen: '{VIP}', backends: ['10.0.2.11:8080', '10.0.2.12:8080'], \
         health: {{{check}, interval: 200ms, timeout: 200ms, rise: 2, fall: 2}}}}}}"
    )
}

/// A backend of the first service.
fn backend(lab: &Lab, index: usize) -> Value {
    lab.sluice(&["status", "--json"]).expect(0).json()["services"][0]["backends"][index].clone()
}

fn wait_for(lab: &Lab, index: usize, health: &str) {
    let is_so = |backend: &Value| backend["health"] == health && backend["eligible"] == (health == "healthy");
    eventually(&format!("backend {index} is {health}"), || is_so(&backend(lab, index)).then_some(()));
}

/// The first backend fails and recovers; meanwhile the second gets all connections.
fn story(lab: &Lab, what: &str, fail: impl FnOnce(), reason: &str, mend: impl FnOnce()) {
    (0..2).for_each(|index| wait_for(lab, index, "healthy"));
    fail();
    let since = Instant::now();
    wait_for(lab, 0, "unhealthy");
    assert!(since.elapsed() < PROMISED, "{what}: noticed after {:?}", since.elapsed());
    assert_eq!(lab.client.tcp_shares(6, VIP), Shares::from([("b2", 6)]), "{what}");
    let detail = backend(lab, 0)["last_probe"]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(reason), "{what}: {detail}");
    mend();
    wait_for(lab, 0, "healthy");
    assert_eq!(lab.client.tcp_shares(6, VIP), Shares::from([("b1", 3), ("b2", 3)]), "{what}");
}

/// Health servers of the first two backends.
fn health_servers(lab: &Lab) -> Vec<HealthServer> {
    lab.backends[..2].iter().map(|backend| backend.serve_health(9000)).collect()
}

#[test]
fn backend_that_accepts_and_misbehaves_gets_no_new_connections_until_it_is_well() {
    let lab = Lab::new();
    let servers = health_servers(&lab);
    let _daemon = lab.start(&two(HTTP));
    for (behaviour, reason) in [
        (Behaviour::Silent, "within 200ms"),
        (Behaviour::Drips, "within 200ms"),
        (Behaviour::Resets, "reset"),
        (Behaviour::Fails, "500"),
    ] {
        let fail = || servers[0].behave(behaviour);
        story(&lab, &format!("{behaviour:?}"), fail, reason, || servers[0].behave(Behaviour::Well));
    }
}

#[test]
fn backend_that_cannot_be_reached_gets_no_new_connections_until_it_can() {
    let lab = Lab::new();
    let _daemon = lab.start(&two("tcp: {}"));
    let (victim, balancer) = (&lab.backends[0], &lab.balancer);
    let hang = || victim.nft(HANG);
    story(&lab, "drops SYNs", hang, "within 200ms", || victim.nft("delete table inet hang"));
    let no_route = || balancer.ip("route add unreachable 10.0.2.11/32");
    story(&lab, "no route", no_route, "no route to host", || {
        balancer.ip("route del unreachable 10.0.2.11/32")
    });
    let unplug = || victim.ip("link set eth0 down");
    let plug = || victim.ip("link set eth0 up\nroute add default via 10.0.2.1");
    story(&lab, "unplugged", unplug, "10.0.2.11:8080", plug);
}

/// A process that answers probes, killed when dropped.
struct Process(Child);

impl Process {
    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn backend_whose_process_is_stopped_gets_no_new_connections_until_it_goes_on() {
    const SERVER: &str = "use IO::Socket::INET; my $l = IO::Socket::INET->new(LocalPort => 9000, Listen => 99, ReuseAddr => 1) or die; \
        while (my $c = $l->accept) { sysread $c, my $q, 999; syswrite $c, \"HTTP/1.0 200 OK\\r\\n\\r\\n\"; close $c }";
    let lab = Lab::new();
    let start = |index: usize| {
        let mut perl = Command::new("perl");
        perl.args(["-e", SERVER]).stdin(Stdio::null());
        Process(lab.backends[index].run(|| perl.spawn()).unwrap())
    };
    let processes = [start(0), start(1)];
    let _daemon = lab.start(&two(HTTP));
    // The kernel still completes handshakes for it.
    story(&lab, "SIGSTOP", || processes[0].signal("-STOP"), "within 200ms", || processes[0].signal("-CONT"));
}

#[test]
fn backend_that_flaps_faster_than_results_count_stays_as_it_is() {
    let lab = Lab::new();
    let servers = health_servers(&lab);
    let _daemon = lab.start(&two(HTTP));
    (0..2).for_each(|index| wait_for(&lab, index, "healthy"));
    let rounds = || lab.sluice(&["status", "--json"]).expect(0).json()["table"]["rounds"].clone();
    let before = (rounds(), servers[0].accepted());
    servers[0].behave(Behaviour::Alternates);
    eventually("it was probed ten times", || (servers[0].accepted() > before.1 + 10).then_some(()));
    assert_eq!(backend(&lab, 0)["health"], "healthy");
    assert_eq!(rounds(), before.0, "nobody wrote anything");
}

#[test]
fn backend_whose_program_fails_or_hangs_gets_no_new_connections_until_it_succeeds() {
    let lab = Lab::new();
    let (full, stuck) = (lab.path("full"), lab.path("stuck"));
    let script = format!(
        "test {{address}} = 10.0.2.12 && exit; test -e {} && {{ echo disk full; exit 3; }}; test -e {} && sleep 60; exit 0",
        full.display(),
        stuck.display()
    );
    let _daemon = lab.start(&two(&format!("exec: {{command: [/bin/sh, -c, '{script}']}}")));
    for (what, path, reason) in [("fails", full, "disk full"), ("hangs", stuck, "within 200ms")] {
        let mend = || fs::remove_file(&path).unwrap();
        story(&lab, what, || fs::write(&path, "").unwrap(), reason, mend);
    }
}

#[test]
fn connection_that_a_backend_never_answered_goes_to_another_once_that_is_known() {
    let lab = Lab::new();
    let _daemon = lab.start(&two("tcp: {}"));
    (0..2).for_each(|index| wait_for(&lab, index, "healthy"));
    lab.backends[0].nft(HANG);
    let since = Instant::now();
    let answers: Vec<_> = thread::scope(|scope| {
        let connect = || lab.client.tcp(VIP).unwrap().backend;
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(connect)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(answers, ["b2"; 4]);
    assert!(since.elapsed() > Duration::from_millis(900), "some had to send their SYN again");
}

#[test]
fn backend_that_comes_back_with_a_slow_start_gets_its_share_in_a_few_steps() {
    let lab = Lab::new();
    let yaml = two("tcp: {}").replace("}}}", "}, slow_start: 2s}}");
    let daemon = lab.start(&yaml);
    (0..2).for_each(|index| wait_for(&lab, index, "healthy"));
    lab.backends[0].silence();
    wait_for(&lab, 0, "unhealthy");
    lab.backends[0].serve(8080);
    let mut shares = vec![];
    eventually("it has its share", || {
        let share = backend(&lab, 0)["share"].as_f64().unwrap();
        if share > 0.0 && shares.last() != Some(&share) {
            shares.push(share);
        }
        (share == 0.5).then_some(())
    });
    assert!(shares.is_sorted() && shares[0] < 0.2 && (3..=10).contains(&shares.len()), "{shares:?}");
    assert!(daemon.logged("trigger=load") <= 10, "{}", daemon.log());
}

#[test]
fn services_with_the_same_backend_and_check_share_its_probes() {
    let lab = Lab::new();
    let servers = health_servers(&lab);
    let service = |name: &str, port: u16, path: &str| {
        format!(
            "  {name}: {{listen: '203.0.113.10:{port}', backends: ['10.0.2.11:8080'], \
             health: {{http: {{path: {path}}}, port: 9000, interval: 200ms, timeout: 100ms}}}}\n"
        )
    };
    let yaml = ["services:\n".into(), service("a", 80, "/x"), service("b", 81, "/x"), service("c", 82, "/y")];
    let _daemon = lab.start(&yaml.concat());
    eventually("it was probed ten times", || (servers[0].accepted() > 10).then_some(()));
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    let took = |index: usize| status["services"][index]["backends"][0]["last_probe"]["took_ms"].clone();
    assert_eq!(took(0), took(1), "one and the same");
    assert_ne!(took(0), took(2));
}
