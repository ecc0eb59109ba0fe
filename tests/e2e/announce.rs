//! Announced addresses on a real interface, and a node that leaves and joins.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};

use sluice_testkit::{Lab, eventually};

const V4: &str = "203.0.113.10";
const V6: &str = "2001:db8::10";
const VIP: &str = "203.0.113.10:80";

fn announced(keys: &str) -> String {
    format!(
        "announce: {{hold: 500ms{keys}}}
services:
  web:
    listen: ['{V4}:80', '[{V6}]:80']
    announce: true
    health: {{tcp: {{}}, interval: 200ms, timeout: 200ms, rise: 2, fall: 2}}
    backends: ['10.0.2.11:8080', '[fd00:2::11]:8080']"
    )
}

/// Whether the interface has an address.
fn has(lab: &Lab, address: &str) -> bool {
    let shown = lab.balancer.sh("ip -o address show dev lo");
    shown.split_whitespace().any(|word| word.split_once('/').is_some_and(|(it, _)| it == address))
}

fn wait_until(lab: &Lab, are: bool) {
    eventually(&format!("addresses there: {are}"), || {
        [V4, V6].iter().all(|address| has(lab, address) == are).then_some(())
    });
}

fn states(lab: &Lab) -> Vec<String> {
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    let all = status["announce"]["addresses"].as_array().unwrap();
    all.iter().map(|it| it["state"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the status shows these states; the daemon learns later than the kernel what its thread has done.
fn wait_for_states(lab: &Lab, expected: [&str; 2]) {
    eventually(&format!("{expected:?}"), || (states(lab) == expected).then_some(()));
}

/// A running `ip monitor address` on the balancer.
struct Monitor {
    child: Child,
    output: PathBuf,
}

impl Monitor {
    fn start(lab: &Lab) -> Self {
        let output = lab.path("addresses.txt");
        let file = File::create(&output).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "ip", "-o", "monitor", "address"]).stdout(file);
        let monitor = Monitor { child: lab.balancer.run(|| command.spawn()).unwrap(), output };
        monitor.text(lab);
        monitor
    }

    /// All changes so far: one of ours shows that the earlier ones have arrived.
    fn text(&self, lab: &Lab) -> String {
        let before = fs::read_to_string(&self.output).unwrap().len();
        eventually("ip monitor shows a change", || {
            lab.balancer.sh("ip address add 192.0.2.1/32 dev lo; ip address delete 192.0.2.1/32 dev lo");
            let text = fs::read_to_string(&self.output).unwrap();
            text[before..].contains("192.0.2.1").then_some(text)
        })
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn addresses_come_and_go_with_the_health_of_their_service() {
    let lab = Lab::new();
    let _daemon = lab.start(&announced(""));
    wait_until(&lab, true);
    wait_for_states(&lab, ["announced", "announced"]);
    let told = lab.sluice(&["status"]).expect(0).stdout;
    assert!(told.contains(&format!("address announced on lo: {V4}, {V6}\n")), "{told}");
    assert!(lab.client.tcp(VIP).is_ok() && lab.client.tcp("[2001:db8::10]:80").is_ok());
    lab.backends[0].silence();
    wait_until(&lab, false);
    wait_for_states(&lab, ["withdrawn", "withdrawn"]);
    lab.backends[0].serve(8080);
    wait_until(&lab, true);
    let told = lab.sluice(&["events"]).expect(0).stdout;
    for text in [format!("withdrew {V4}, {V6} on lo"), format!("announced {V4}, {V6} on lo")] {
        assert!(told.contains(&text), "{told}");
    }
}

#[test]
fn stop_withdraws_addresses_before_it_removes_the_table() {
    let lab = Lab::new();
    let daemon = lab.start(&announced(", withdraw_wait: 1s"));
    wait_until(&lab, true);
    daemon.begin_stop();
    let is_there = || lab.balancer.sh("nft list tables").contains("inet sluice");
    // The address is read first: without it and with the table, it went first.
    eventually("the address is gone and the table is not", || {
        let address = has(&lab, V4);
        let table = is_there();
        assert!(table || !has(&lab, V4), "the table went first");
        (!address && table).then_some(())
    });
    assert!(lab.client.tcp(VIP).is_ok(), "traffic that still arrives is served");
    assert!(daemon.stop().success());
    assert!(!is_there() && !has(&lab, V6));
}

/// `ip monitor` and `nft monitor` on the balancer, which append what they see to one file, in the order in which they see it.
struct Monitors {
    children: [Child; 2],
    output: PathBuf,
}

impl Monitors {
    fn start(lab: &Lab) -> Self {
        let output = lab.path("changes.txt");
        let children = [&["ip", "-o", "monitor", "address"][..], &["nft", "monitor"]].map(|program| {
            let file = File::options().create(true).append(true).open(&output).unwrap();
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).args(program).stdout(file);
            lab.balancer.run(|| command.spawn()).unwrap()
        });
        let monitors = Monitors { children, output };
        monitors.text(lab);
        monitors
    }

    /// All changes so far: both have told of later ones.
    fn text(&self, lab: &Lab) -> String {
        let before = fs::read_to_string(&self.output).unwrap().len();
        eventually("both monitors show a change", || {
            lab.balancer.sh("ip address add 192.0.2.1/32 dev lo; ip address delete 192.0.2.1/32 dev lo");
            lab.balancer.sh("nft 'add table ip noted; delete table ip noted'");
            let text = fs::read_to_string(&self.output).unwrap();
            ["192.0.2.1/32", "delete table ip noted"]
                .iter()
                .all(|mark| text[before..].contains(mark))
                .then_some(text)
        })
    }
}

impl Drop for Monitors {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn stop_changes_the_table_only_after_the_kernel_has_told_that_addresses_are_gone() {
    let lab = Lab::new();
    let daemon = lab.start(&announced(", withdraw_wait: 1s"));
    wait_until(&lab, true);
    // Both backends have been probed: nothing else changes the table.
    eventually("backends are healthy", || {
        let status = lab.sluice(&["status", "--json"]).expect(0).json();
        let backends = status["services"][0]["backends"].as_array().unwrap().clone();
        backends.iter().all(|it| it["health"] == "healthy").then_some(())
    });
    let monitors = Monitors::start(&lab);
    assert!(daemon.stop().success());
    let text = monitors.text(&lab);
    let gone = |address: &str| {
        let tells = |line: &str| line.starts_with("Deleted") && line.contains(&format!(" {address}/"));
        text.lines().position(tells).unwrap_or_else(|| panic!("{address} is not gone:\n{text}"))
    };
    let last = gone(V4).max(gone(V6));
    let changed: Vec<_> =
        text.lines().enumerate().filter(|(_, line)| line.contains("inet sluice")).map(|(at, _)| at).collect();
    assert!(!changed.is_empty() && changed.iter().all(|at| *at > last), "{text}");
}

#[test]
fn next_daemon_after_a_crash_or_a_hand_over_keeps_addresses_without_a_gap() {
    let lab = Lab::new();
    let mut daemon = lab.start(&announced(""));
    wait_until(&lab, true);
    let monitor = Monitor::start(&lab);
    for crash in [true, false] {
        match crash {
            true => daemon.crash(),
            false => assert!(daemon.hand_over().success()),
        }
        assert!(has(&lab, V4) && has(&lab, V6));
        daemon = lab.start(&announced(""));
        // Longer than the hold: it knows that the service is ready.
        eventually("the daemon has announced them itself", || {
            let status = lab.sluice(&["status", "--json"]).expect(0).json();
            (status["services"][0]["backends"][0]["health"] == "healthy").then_some(())
        });
        wait_for_states(&lab, ["announced", "announced"]);
    }
    let changes = monitor.text(&lab);
    assert!(!changes.contains(V4) && !changes.contains(V6), "{changes}");
    // What nothing announces any more goes.
    daemon.crash();
    let _daemon = lab.start(&announced("").replace("announce: true", "announce: false"));
    wait_until(&lab, false);
}

#[test]
fn addresses_of_others_stay_and_those_that_others_remove_come_back() {
    let lab = Lab::new();
    lab.balancer.ip(&format!("address add {V6}/128 dev lo"));
    let daemon = lab.start(&announced(""));
    wait_until(&lab, true);
    wait_for_states(&lab, ["announced", "foreign"]);
    lab.balancer.ip(&format!("address delete {V4}/32 dev lo"));
    wait_until(&lab, true);
    assert!(daemon.stop().success());
    assert!(!has(&lab, V4) && has(&lab, V6));
}

#[test]
fn missing_interface_is_shown_until_it_exists() {
    let lab = Lab::new();
    let _daemon = lab.start(&announced(", interface: vips"));
    let error = || lab.sluice(&["status", "--json"]).expect(0).json()["announce"]["error"].clone();
    let why = format!("add {V4} to vips: No such device (os error 19)");
    eventually("the error is shown", || (error() == why.as_str()).then_some(()));
    lab.sluice(&["status", "--check"]).expect(0);
    lab.balancer.ip("link add vips type veth peer name other\nlink set vips up");
    wait_for_states(&lab, ["announced", "announced"]);
    assert!(error().is_null());
}

#[test]
fn cleanup_removes_the_addresses_of_a_daemon_that_crashed() {
    let lab = Lab::new();
    lab.balancer.ip(&format!("address add {V6}/128 dev lo"));
    let daemon = lab.start(&announced(""));
    wait_until(&lab, true);
    daemon.crash();
    lab.sluice(&["cleanup"]).expect(0);
    assert!(!has(&lab, V4) && has(&lab, V6));
}

#[test]
fn node_that_leaves_serves_what_it_has_and_stays_away_over_restarts_until_it_joins() {
    let lab = Lab::new();
    let daemon = lab.start(&announced(", withdraw_wait: 0"));
    wait_until(&lab, true);
    let mut open = lab.client.open(VIP).unwrap();
    let left = lab.sluice(&["leave", "--wait", "1s", "--reason", "kernel update"]).expect(3);
    assert_eq!(left.stdout, "left: 2 addresses withdrawn, no service is ready\n");
    assert!(left.stderr.contains("sluice: leave: 1 live connection left"), "{}", left.stderr);
    wait_until(&lab, false);
    assert_eq!(open.echo("still there?").unwrap(), "still there?");
    assert!(lab.client.tcp(VIP).is_ok(), "traffic that still arrives is served");
    let told = lab.sluice(&["status"]).expect(0).stdout;
    assert!(told.contains("node    has left, by uid 0") && told.contains("kernel update"), "{told}");
    assert!(told.contains("not ready: the node has left"), "{told}");

    drop(open);
    lab.sluice(&["leave", "--wait", "10m"]).expect(0);
    daemon.crash();
    let mut daemon = lab.start(&announced(", withdraw_wait: 0"));
    daemon.reload(&announced(", withdraw_wait: 100ms"));
    eventually("backends are healthy", || {
        let status = lab.sluice(&["status", "--json"]).expect(0).json();
        (status["services"][0]["backends"][0]["health"] == "healthy").then_some(())
    });
    wait_for_states(&lab, ["withdrawn", "withdrawn"]);
    assert!(!has(&lab, V4) && !has(&lab, V6));
    lab.sluice(&["join"]).expect(0);
    wait_until(&lab, true);
    assert!(lab.sluice(&["status", "--json"]).expect(0).json()["node"]["left"].is_null());
}
