//! Interfaces of every kind, which are added and removed.

use std::process::{Child, Command};

use sluice_testkit::{Lab, Namespace, Shares, eventually};

/// A service for packets that arrive on `wan`, to any address.
const ON_WAN: &str = "
services:
  wan:
    listen: ['*:80', '*:53/udp']
    interface: wan
    backends: ['10.0.2.11:8080', '[fd00:2::11]:8080']
";

#[test]
fn service_of_an_interface_serves_when_that_appears_and_whatever_else_has_its_name() {
    let lab = Lab::new();
    let _daemon = lab.start(ON_WAN);
    let answers = |host: &Namespace| {
        let asked = ["10.7.0.1:80", "[fd00:7::1]:80"].map(|vip| {
            host.run(|| {
                std::net::TcpStream::connect_timeout(&vip.parse().unwrap(), std::time::Duration::from_secs(2))
            })
        });
        asked.iter().all(Result::is_ok)
    };
    let refused = |host: &Namespace| !answers(host);
    let join = |name: &str| {
        let neighbour = Namespace::new();
        lab.balancer.ip(&format!("link add {name} type veth peer name eth0 netns {}", neighbour.netns()));
        lab.balancer.ip(&format!(
            "link set {name} up\naddr add 10.7.0.1/24 dev {name}\naddr add fd00:7::1/64 dev {name} nodad"
        ));
        neighbour.ip("link set eth0 up\naddr add 10.7.0.2/24 dev eth0\naddr add fd00:7::2/64 dev eth0 nodad");
        neighbour
    };
    let neighbour = join("wan");
    eventually("the new interface serves", || answers(&neighbour).then_some(()));
    lab.balancer.ip(
        "link set wan down\nlink set wan name lan\nlink set lan up\naddr replace fd00:7::1/64 dev lan nodad",
    );
    eventually("another name is another interface", || refused(&neighbour).then_some(()));
    lab.balancer.ip(
        "link set lan down\nlink set lan name wan\nlink set wan up\naddr replace fd00:7::1/64 dev wan nodad",
    );
    eventually("the name is back", || answers(&neighbour).then_some(()));
    lab.balancer.ip("link del wan");
    let again = join("wan");
    eventually("another interface of the name serves", || answers(&again).then_some(()));
    assert!(lab.sluice(&["plan"]).expect(0).stdout.contains("nothing to do"));
}

#[test]
fn hairpin_follows_an_interface_that_is_renamed_or_vanishes() {
    let lab = Lab::new();
    let _daemon = lab.start(
        "services: {web: {listen: '203.0.113.10:80', source: preserve, backends: ['10.0.2.11:8080', '10.0.2.12:8080']}}",
    );
    let known = |name: &str| lab.balancer.sh("nft list set inet sluice same-interface").contains(name);
    assert!(known("\"eth1\" . \"eth1\""));
    lab.balancer.ip("link set eth1 down\nlink set eth1 name inside\nlink set inside up");
    eventually("the new name is known", || {
        (known("\"inside\" . \"inside\"") && !known("\"eth1\"")).then_some(())
    });
    let seen = || lab.backends[3].tcp("203.0.113.10:80").ok().map(|answer| answer.peer.ip().to_string());
    eventually("the hairpin is masqueraded", || (seen()? == "10.0.2.1").then_some(()));
    lab.balancer.ip("link del inside");
    eventually("it is forgotten", || (!known("\"inside\"")).then_some(()));
    assert_eq!(lab.sluice(&["status", "--json"]).expect(0).json()["table"]["synced"], true);
}

/// A process that is killed when dropped.
struct Storm(Child);

impl Drop for Storm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn interface_that_is_renamed_while_links_change_without_a_pause_is_known() {
    const FLAP: &str = "while :; do ip link set storm0 mtu 1400; ip link set storm0 mtu 1500; done";
    let lab = Lab::new();
    lab.balancer.ip("link add storm0 type veth peer name storm1");
    // Without a refresh, so that only the event can reveal the change.
    let _daemon = lab.start(
        "refresh: 0\nservices: {web: {listen: '203.0.113.10:80', source: preserve, backends: ['10.0.2.11:8080', '10.0.2.12:8080']}}",
    );
    let mut flap = Command::new("setpriv");
    flap.args(["--pdeathsig", "KILL", "--", "sh", "-c", FLAP]);
    let _storm = Storm(lab.balancer.run(|| flap.spawn()).expect("start setpriv"));
    for name in ["inside", "within"] {
        let before = if name == "inside" { "eth1" } else { "inside" };
        lab.balancer
            .ip(&format!("link set {before} down\nlink set {before} name {name}\nlink set {name} up"));
        eventually("the new name is known", || {
            let known = lab.balancer.sh("nft list set inet sluice same-interface");
            known.contains(&format!("\"{name}\" . \"{name}\"")).then_some(())
        });
    }
}

#[test]
fn hairpin_in_the_network_of_a_labelled_address_is_masqueraded() {
    let lab = Lab::new();
    lab.balancer.ip("addr add 10.9.1.1/24 dev eth1 label eth1:1");
    lab.backends[0].ip("addr add 10.9.1.11/24 dev eth0");
    lab.backends[0].serve_on("10.9.1.11:8080");
    lab.backends[3].ip("addr add 10.9.1.14/24 dev eth0");
    let service = |source: &str| {
        format!(
            "services: {{web: {{listen: '203.0.113.10:80', source: {source}, backends: ['10.9.1.11:8080']}}}}"
        )
    };
    let mut daemon = lab.start(&service("auto"));
    let seen = |client: &str| {
        let answer = lab.backends[3].tcp_from(&format!("{client}:0"), "203.0.113.10:80");
        answer.ok().map(|answer| answer.peer.ip().to_string())
    };
    assert_eq!(seen("10.9.1.14").as_deref(), Some("10.9.1.1"));
    daemon.reload(&service("preserve"));
    assert_eq!(seen("10.9.1.14").as_deref(), Some("10.9.1.1"));
    // The same for an address that is added while the daemon runs.
    lab.balancer.ip("addr add 10.9.2.1/24 dev eth1 label eth1:2");
    lab.backends[0].ip("addr add 10.9.2.11/24 dev eth0");
    lab.backends[0].serve_on("10.9.2.11:8080");
    lab.backends[3].ip("addr add 10.9.2.14/24 dev eth0");
    daemon.reload(&service("auto").replace("10.9.1.11", "10.9.2.11"));
    eventually("the new network is known", || (seen("10.9.2.14")? == "10.9.2.1").then_some(()));
}

#[test]
fn backends_on_ports_of_a_bridge_serve_others_and_each_other() {
    let lab = Lab::new();
    // The balancer's interface to the backends becomes a port of a bridge with its address.
    lab.balancer.ip("link add br0 type bridge mcast_snooping 0\nlink set br0 up\nlink set eth1 master br0\n\
         addr del 10.0.2.1/24 dev eth1\naddr del fd00:2::1/64 dev eth1\n\
         addr add 10.0.2.1/24 dev br0\naddr add fd00:2::1/64 dev br0 nodad");
    for key in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
        lab.balancer.set_sysctl(&format!("net/bridge/{key}"), "0");
    }
    let _daemon = lab.start(
        "services:
           v4: {listen: ['203.0.113.10:80', '203.0.113.10:53/udp'], source: auto, backends: ['10.0.2.11:8080', '10.0.2.12:8080']}
           v6: {listen: ['[2001:db8::10]:80', '[2001:db8::10]:53/udp'], source: auto, backends: ['[fd00:2::11]:8080', '[fd00:2::12]:8080']}",
    );
    for vip in ["203.0.113.10", "[2001:db8::10]"] {
        for host in [&lab.client, &lab.backends[0], &lab.backends[3]] {
            let tcp = format!("{vip}:80");
            eventually("the bridge forwards", || host.tcp(&tcp).ok());
            let answers = (0..10).map(|_| host.tcp(&tcp).expect("an answer")).collect::<Vec<_>>();
            assert_eq!(Shares::of(&answers), Shares::from([("b1", 5), ("b2", 5)]));
            host.udp(&format!("{vip}:53")).expect("an answer");
        }
    }
}

#[test]
fn ports_of_the_balancer_that_no_listener_has_are_its_own() {
    let lab = Lab::new();
    let _daemon = lab.start(
        "services:
           range: {listen: ['10.0.1.1:8000-8010', '[fd00:1::1]:8000-8010'], backends: ['10.0.2.11:8080', '[fd00:2::11]:8080']}
           narrow: {listen: ['10.0.1.1:8005', '[fd00:1::1]:8005'], backends: ['10.0.2.12:8080', '[fd00:2::12]:8080']}",
    );
    lab.balancer.serve(7999);
    for own in ["10.0.1.1", "[fd00:1::1]"] {
        let who = |port: u16| lab.client.tcp(&format!("{own}:{port}")).expect("an answer").backend;
        assert_eq!([7999, 8000, 8005, 8010].map(who), ["balancer", "b1", "b2", "b1"]);
        let seen = lab.client.tcp(&format!("{own}:7999")).expect("an answer").peer.ip();
        assert!(lab.client.addresses().contains(&seen));
    }
}
