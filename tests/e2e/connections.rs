//! Live connections in the list of the control socket.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;

use serde_json::Value;
use sluice_testkit::{Lab, eventually};

/// Two backends and a port range in both IP versions, one service that preserves the clients' addresses, and one on any
/// address.
const MANY: &str = "services:
  any: {listen: '*:7000', source: preserve, backends: ['10.0.2.13:8080', '[fd00:2::13]:8080']}
  dns:
    listen: ['203.0.113.10:53/udp', '[2001:db8::10]:53/udp']
    backends: [{address: '10.0.2.11:8080', name: d4}, {address: '[fd00:2::11]:8080', name: d6}]
  range: {listen: '203.0.113.10:9000-9009', source: preserve, backends: ['10.0.2.14:8080']}
  web:
    listen: ['203.0.113.10:80', '[2001:db8::10]:80']
    backends:
      - {address: '10.0.2.11:8080', name: web1}
      - {address: '10.0.2.12:8080', name: web2}
      - {address: '[fd00:2::11]:8080', name: six1}";

/// Sends an HTTP request and returns status code and body.
fn get(lab: &Lab, query: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(lab.path("sluice.sock")).expect("connect the control socket");
    let request =
        format!("GET /api/v1/connections{query} HTTP/1.1\r\nhost: sluice\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("send the request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read the answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code");
    (code, serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}")))
}

/// The answer to a valid query: the total, and each connection as `service/backend protocol client > listener`.
fn list(lab: &Lab, query: &str) -> (u64, Vec<String>) {
    let (code, answer) = get(lab, query);
    assert_eq!(code, 200, "{answer}");
    let text =
        |one: &Value, key: &str| one[key].as_str().unwrap_or_else(|| panic!("{key} of {one}")).to_owned();
    let line = |one: &Value| {
        let [service, backend, protocol, client, listener] =
            ["service", "backend", "protocol", "client", "listener"].map(|key| text(one, key));
        format!("{service}/{backend} {protocol} {client} > {listener}")
    };
    let connections = answer["connections"].as_array().expect("a list");
    (answer["total"].as_u64().expect("a number"), connections.iter().map(line).collect())
}

/// The only connection of an answer.
fn one(lab: &Lab, query: &str) -> Value {
    let (_, answer) = get(lab, query);
    assert_eq!(answer["total"], 1, "{answer}");
    answer["connections"][0].clone()
}

#[test]
fn connections_are_listed_with_their_ends_and_state_by_service_backend_and_client() {
    let lab = Lab::new();
    let _daemon = lab.start(MANY);
    let open = |to: &str| lab.client.open(to).unwrap_or_else(|e| panic!("{to}: {e}"));
    let _held = [
        open("203.0.113.10:80"),
        open("203.0.113.10:80"),
        open("[2001:db8::10]:80"),
        open("203.0.113.10:9003"),
        open("10.0.1.1:7000"),
        open("[fd00:1::1]:7000"),
    ];
    lab.client.udp_from("198.51.100.7:5300", "203.0.113.10:53").unwrap();
    lab.client.udp_from("[2001:db8:c::7]:5300", "[2001:db8::10]:53").unwrap();
    // Other flows are not listed: to the balancer itself, forwarded, and translated by another table.
    lab.balancer.nft(
        "table ip other {
           chain prerouting {
             type nat hook prerouting priority dstnat - 5
             ip daddr 203.0.113.99 tcp dport 80 dnat to 10.0.2.11:8080
           }
         }",
    );
    let _foreign = [open("203.0.113.99:80"), open("10.0.2.11:8080")];

    let (total, lines) = list(&lab, "");
    assert_eq!(total, 8, "{lines:#?}");
    let short: Vec<_> = lines.iter().map(|line| line.split(" > ").next().unwrap()).collect();
    let whose: Vec<_> = short.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(
        whose,
        [
            "any/10.0.2.13:8080 tcp",
            "any/[fd00:2::13]:8080 tcp",
            "dns/d4 udp",
            "dns/d6 udp",
            "range/10.0.2.14:8080 tcp",
            "web/six1 tcp",
            "web/web1 tcp",
            "web/web2 tcp"
        ]
    );
    assert_eq!(lines[2], "dns/d4 udp 198.51.100.7:5300 > 203.0.113.10:53");
    assert_eq!(lines[3], "dns/d6 udp [2001:db8:c::7]:5300 > [2001:db8::10]:53");

    // The backend sees the balancer's address, or the client's.
    let masked = one(&lab, "?service=web&backend=web1");
    assert!(masked["source"].as_str().unwrap().starts_with("10.0.2.1:"), "{masked}");
    assert!(masked["client"].as_str().unwrap().starts_with("10.0.1.2:"), "{masked}");
    let text = |key: &str| masked[key].as_str().unwrap().to_owned();
    assert_eq!(
        [text("listener"), text("address"), text("state")],
        ["203.0.113.10:80", "10.0.2.11:8080", "established"]
    );
    assert!(masked["expires"].as_u64().unwrap() > 0, "{masked}");
    assert!(masked["bytes_in"].is_null() && masked["bytes_out"].is_null(), "{masked}");
    let seen = one(&lab, "?service=range");
    assert_eq!(seen["source"], seen["client"]);
    assert_eq!(seen["listener"], "203.0.113.10:9003");
    let masked = one(&lab, "?service=dns&backend=d6");
    assert!(masked["source"].as_str().unwrap().starts_with("[fd00:2::1]:"), "{masked}");
    assert_eq!(masked["state"], "replied");
}

#[test]
fn connections_of_one_service_or_backend_are_those_and_no_others() {
    let lab = Lab::new();
    let _daemon = lab.start(MANY);
    let to =
        ["203.0.113.10:80", "203.0.113.10:80", "[2001:db8::10]:80", "203.0.113.10:9000", "10.0.1.1:7000"];
    let _held = to.map(|to| lab.client.open(to).unwrap());
    lab.client.udp("203.0.113.10:53").unwrap();
    for (query, expected) in [
        ("?service=web", &["web/six1", "web/web1", "web/web2"][..]),
        ("?service=web&backend=web2", &["web/web2"]),
        ("?service=web&backend=six1", &["web/six1"]),
        ("?service=dns", &["dns/d4"]),
        ("?service=dns&backend=d6", &[]),
        ("?service=range", &["range/10.0.2.14:8080"]),
        ("?service=range&backend=10.0.2.14:8080", &["range/10.0.2.14:8080"]),
        ("?service=any", &["any/10.0.2.13:8080"]),
        ("?service=any&backend=[fd00:2::13]:8080", &[]),
        ("?service=web&client=10.0.1.2", &["web/web1", "web/web2"]),
        ("?service=web&client=10.0.1.0/24", &["web/web1", "web/web2"]),
        ("?client=fd00:1::/64", &["web/six1"]),
        ("?client=10.0.1.3", &[]),
        (
            "?client=10.0.1.2&state=Established",
            &["any/10.0.2.13:8080", "range/10.0.2.14:8080", "web/web1", "web/web2"],
        ),
        ("?service=dns&state=replied", &["dns/d4"]),
        ("?service=web&state=close", &[]),
    ] {
        let (total, lines) = list(&lab, query);
        let whose: Vec<_> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!((whose.as_slice(), total), (expected, expected.len() as u64), "{query}");
    }
}

#[test]
fn connections_beyond_the_limit_are_counted_and_the_first_in_order_listed() {
    let lab = Lab::new();
    let _daemon = lab.start(MANY);
    for port in [5309, 5301, 5305, 5303] {
        lab.client.udp_from(&format!("198.51.100.7:{port}"), "203.0.113.10:53").unwrap();
    }
    lab.client.udp_from("198.51.100.66:1", "203.0.113.10:53").unwrap();
    let _web = lab.client.open("203.0.113.10:80").unwrap();
    let clients = |query: &str| {
        let (total, lines) = list(&lab, query);
        let client = |line: String| line.split(' ').nth(2).unwrap().to_owned();
        (total, lines.into_iter().map(client).collect::<Vec<_>>())
    };
    let first = ["198.51.100.7:5301", "198.51.100.7:5303", "198.51.100.7:5305"].map(str::to_owned);
    assert_eq!(clients("?limit=3"), (6, first.to_vec()));
    assert_eq!(clients("?service=dns&limit=2"), (5, first[..2].to_vec()));
    assert_eq!(clients("?service=dns&limit=0"), (5, vec![]));
    let (total, all) = clients("?service=dns&limit=100000");
    assert_eq!((total, all.last().unwrap().as_str()), (5, "198.51.100.66:1"));
}

#[test]
fn connections_that_are_over_say_so_until_conntrack_forgets_them() {
    let lab = Lab::new();
    let _daemon = lab.start(MANY);
    drop(lab.client.open("203.0.113.10:80").unwrap());
    eventually("the connection is over", || {
        (one(&lab, "?service=web")["state"] == "time-wait").then_some(())
    });
    lab.balancer.sh("conntrack -F 2>&1");
    assert_eq!(list(&lab, ""), (0, vec![]));
}

#[test]
fn connections_of_unknown_names_and_bad_questions_are_refused_with_what_to_do() {
    let lab = Lab::with_backends(0);
    let _daemon = lab.start(MANY);
    for (query, code, error, hint) in [
        ("?service=wep", 404, "no service wep", "did you mean web?"),
        ("?service=web&backend=web9", 404, "service web has no backend web9", "did you mean web1?"),
        ("?service=", 404, "no service ", "`sluice status` shows all services and backends"),
        ("?backend=web1", 400, "backend without service", "write service=web&backend=web1"),
        ("?client=me", 400, "invalid client `me`", "write an address or a network"),
        ("?limit=100001", 400, "limit is at most 100000", "name a service to see fewer"),
    ] {
        let (found, answer) = get(&lab, query);
        assert_eq!(
            (found, answer["error"].as_str(), answer["hint"].as_str()),
            (code, Some(error), Some(hint))
        );
    }
    for query in ["?limit=many", "?limit=-1", "?limit=", "?service=a&service=b"] {
        let (code, answer) = get(&lab, query);
        assert_eq!(code, 400, "{query}: {answer}");
        assert!(answer["hint"].as_str().unwrap().contains("service=web"), "{answer}");
    }
}

#[test]
fn connections_are_those_of_the_services_in_force() {
    let lab = Lab::new();
    let mut daemon = lab.start(MANY);
    // From its own address: a socket that stays bound.
    let socket = lab.client.run(|| UdpSocket::bind("198.51.100.9:5399")).unwrap();
    socket.send_to(b"hello\n", "203.0.113.10:53").unwrap();
    socket.recv(&mut [0; 64]).unwrap();
    assert_eq!(list(&lab, "?service=dns").0, 1);
    daemon.reload(&MANY.replace("  dns:", "  names:"));
    assert_eq!(list(&lab, "?service=names").1, ["names/d4 udp 198.51.100.9:5399 > 203.0.113.10:53"]);
    assert_eq!(get(&lab, "?service=dns").0, 404);
}
