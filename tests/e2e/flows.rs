//! Existing flows follow changes of the services.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use sluice_testkit::{Daemon, Host, Lab, eventually};

const VIP: &str = "203.0.113.10:53";

/// A UDP client with a fixed source port.
struct Sender {
    socket: UdpSocket,
    to: String,
}

impl Sender {
    fn new(host: &Host, from: &str, to: &str) -> Self {
        let socket = host.run(|| UdpSocket::bind(from)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Sender { socket, to: to.to_owned() }
    }

    /// The host that answers, if any.
    fn who(&self) -> Option<String> {
        // On the balancer itself, sending a packet that is dropped is an error.
        self.socket.send_to(b"who?", &self.to).ok()?;
        let mut answer = [0; 256];
        let length = self.socket.recv(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).split(' ').next()?.to_owned())
    }

    fn reaches(&self, expected: Option<&str>) {
        let to = &self.to;
        eventually(&format!("{to} is {expected:?}"), || (self.who().as_deref() == expected).then_some(()));
    }
}

/// UDP clients of `to` on the client and on the balancer.
fn senders(lab: &Lab, to: &str) -> [Sender; 2] {
    [(&lab.client, "10.0.1.2:7000"), (&lab.balancer, "10.0.1.1:7000")]
        .map(|(host, from)| Sender::new(host, from, to))
}

/// A lab whose balancer has the address itself, and forwards and tracks connections without sluice.
fn tracking() -> Lab {
    let lab = Lab::new();
    lab.balancer.set_sysctl("net/ipv4/ip_forward", "1");
    lab.balancer.ip("addr add 203.0.113.10/32 dev lo");
    lab.balancer.sh("nft add table inet other");
    for hook in ["prerouting", "output"] {
        lab.balancer.sh(&format!(
            "nft 'add chain inet other {hook} {{ type filter hook {hook} priority 0; }}'
             nft add rule inet other {hook} ct state new counter"
        ));
    }
    lab
}

/// One UDP service.
fn dns(listen: &str, backend: &str, keys: &str) -> String {
    format!("{{listen: '{listen}', backends: ['10.0.2.{backend}:8080']{keys}}}")
}

#[test]
fn connection_lives_although_its_backend_is_down_for_another_service() {
    let lab = Lab::new();
    let _daemon = lab.start(
        "services:
           a: {listen: '*:80', backends: ['10.0.2.11:8080'], on_down: reset,
               health: {icmp: {}, interval: 200ms, timeout: 200ms, rise: 2, fall: 2}}
           b: {listen: '203.0.113.10:80', backends: ['10.0.2.11:8080']}",
    );
    let health = |expected: &str| {
        eventually(expected, || {
            let status = lab.sluice(&["status", "--json"]).expect(0).json();
            (status["services"][0]["backends"][0]["health"] == expected).then_some(())
        });
    };
    health("healthy");
    let (mut a, mut b) =
        (lab.client.open("10.0.1.1:80").unwrap(), lab.client.open("203.0.113.10:80").unwrap());
    lab.backends[0].set_sysctl("net/ipv4/icmp_echo_ignore_all", "1");
    health("unhealthy");
    assert_eq!(a.listen().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(b.echo("still there?").unwrap(), "still there?");
}

#[test]
fn sender_from_before_the_start_reaches_the_service_and_after_the_stop_no_backend() {
    for (listen, to) in [("203.0.113.10:53/udp", VIP), ("*:53/udp", "10.0.1.1:53")] {
        let lab = tracking();
        let senders = senders(&lab, to);
        senders.iter().for_each(|sender| assert_eq!(sender.who(), None));
        let daemon = lab.start(&format!("services: {{dns: {}}}", dns(listen, "11", "")));
        senders.iter().for_each(|sender| sender.reaches(Some("b1")));
        assert!(daemon.stop().success());
        // Immediately, because the daemon waited for it.
        senders.iter().for_each(|sender| assert_eq!(sender.who(), None, "{listen}"));
    }
}

#[test]
fn stop_and_cleanup_leave_established_connections_and_flows_of_others() {
    let lab = tracking();
    lab.balancer.sh("nft 'add chain inet other nat { type nat hook prerouting priority -110; }'
         nft add rule inet other nat udp dport 54 dnat ip to 10.0.2.12:8080");
    let yaml = "on_stop: keep\nservices: {web: {listen: ['203.0.113.10:80', '203.0.113.10:53-54/udp'], \
                backends: ['10.0.2.11:8080']}}";
    let daemon = lab.start(yaml);
    let mut open = lab.client.open("203.0.113.10:80").unwrap();
    let ours = Sender::new(&lab.client, "10.0.1.2:7000", VIP);
    let theirs = Sender::new(&lab.client, "10.0.1.2:7001", "203.0.113.10:54");
    // Theirs is removed first, because it would not come back.
    ours.reaches(Some("b1"));
    theirs.reaches(Some("b2"));
    lab.balancer.sh("nft flush chain inet other nat");
    assert!(daemon.stop().success());
    ours.reaches(Some("b1"));
    lab.sluice(&["cleanup"]).expect(0);
    assert_eq!(ours.who(), None);
    assert_eq!(theirs.who().as_deref(), Some("b2"));
    assert_eq!(open.echo("still there?").unwrap(), "still there?");
}

#[test]
fn sender_follows_its_listener_to_another_service() {
    let lab = Lab::new();
    let range = format!("range: {}", dns("203.0.113.10:50-59/udp", "11", ""));
    let mut daemon = lab.start(&format!("services: {{{range}}}"));
    let senders = senders(&lab, VIP);
    let beside = Sender::new(&lab.client, "10.0.1.2:7001", "203.0.113.10:54");
    senders.iter().chain([&beside]).for_each(|sender| sender.reaches(Some("b1")));
    daemon.reload(&format!("services: {{{range}, exact: {}}}", dns("203.0.113.10:53/udp", "12", "")));
    senders.iter().for_each(|sender| sender.reaches(Some("b2")));
    // Another service with the same backend.
    daemon.reload(&format!("services: {{{range}, other: {}}}", dns("203.0.113.10:53/udp", "12", "")));
    senders.iter().for_each(|sender| sender.reaches(Some("b2")));
    daemon.reload(&format!("services: {{{range}}}"));
    senders.iter().for_each(|sender| sender.reaches(Some("b1")));
    let swapped = dns("203.0.113.10:53/udp", "13", "");
    daemon.reload(&format!("services: {{{range}, exact: {swapped}}}"));
    senders.iter().for_each(|sender| sender.reaches(Some("b3")));
    daemon.reload(&format!(
        "services: {{{range}, exact: {}}}",
        swapped.replace("listen:", "enabled: false, listen:")
    ));
    senders.iter().for_each(|sender| sender.reaches(Some("b1")));
    beside.reaches(Some("b1"));
}

#[test]
fn sender_that_a_reload_refuses_reaches_no_backend_any_more() {
    let lab = Lab::new();
    let dns = |keys: &str| format!("services: {{dns: {}}}", dns("203.0.113.10:53/udp", "11", keys));
    let mut daemon = lab.start(&dns(""));
    let senders = senders(&lab, VIP);
    let other = Sender::new(&lab.client, "198.51.100.7:7000", VIP);
    for keys in [", deny: 10.0.1.0/24", ", allow: 198.51.100.0/24"] {
        senders.iter().chain([&other]).for_each(|sender| sender.reaches(Some("b1")));
        daemon.reload(&dns(keys));
        senders.iter().for_each(|sender| sender.reaches(None));
        assert_eq!(other.who().as_deref(), Some("b1"), "{keys}");
        daemon.reload(&dns(""));
    }
}

#[test]
fn start_on_another_file_after_a_crash_forgets_where_the_old_one_led() {
    let lab = Lab::new();
    let yaml = |listen: &str, backend: &str| format!("services: {{dns: {}}}", dns(listen, backend, ""));
    let daemon = lab.start(&yaml("203.0.113.10:53/udp", "11"));
    let [sender, local] = senders(&lab, VIP);
    let moved = Sender::new(&lab.client, "10.0.1.2:7001", "203.0.113.10:54");
    sender.reaches(Some("b1"));
    local.reaches(Some("b1"));
    moved.reaches(None);
    daemon.crash();
    lab.configure(&yaml("203.0.113.10:54/udp", "12"));
    let daemon = Daemon::start(&lab);
    moved.reaches(Some("b2"));
    sender.reaches(None);
    local.reaches(None);
    daemon.crash();
    lab.configure(&yaml("203.0.113.10:54/udp", "13"));
    let _daemon = Daemon::start(&lab);
    moved.reaches(Some("b3"));
}
