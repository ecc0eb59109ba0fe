//! Backends that get new connections by how many they have.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sluice_testkit::{Answer, Conversation, Lab, Shares, eventually};

const EVEN: &str = "203.0.113.10:80";
const LEAST: &str = "203.0.113.10:81";
const RANDOM: &str = "203.0.113.10:82";

/// Connections that live as long as their backend wants, and how many each backend has on average.
struct Clients {
    address: &'static str,
    open: Vec<(Instant, Conversation)>,
    seen: BTreeMap<String, usize>,
}

impl Clients {
    fn new(address: &'static str) -> Self {
        Clients { address, open: vec![], seen: BTreeMap::new() }
    }

    /// One that is slow keeps its clients ten times as long as the others.
    fn open_one(&mut self, lab: &Lab) {
        let conversation = lab.client.open(self.address).unwrap();
        let life = Duration::from_millis(if conversation.answer.backend == "b4" { 2000 } else { 200 });
        self.open.push((Instant::now() + life, conversation));
    }

    fn close_due(&mut self) {
        self.open.retain(|(end, _)| *end > Instant::now());
    }

    fn look(&mut self) {
        for (_, Conversation { answer: Answer { backend, .. }, .. }) in &self.open {
            *self.seen.entry(backend.clone()).or_default() += 1;
        }
    }

    /// The most against the fewest.
    fn spread(&self) -> f64 {
        let most = self.seen.values().max().copied().unwrap_or_default();
        most as f64 / self.seen.values().min().copied().unwrap_or_default().max(1) as f64
    }
}

#[test]
fn least_connections_with_a_slow_backend_gives_all_about_as_many() {
    let lab = Lab::new();
    let backends = "['10.0.2.11:8080', '10.0.2.12:8080', '10.0.2.13:8080', '10.0.2.14:8080']";
    let service = |name: &str, listen: &str, scheduler: &str| {
        format!("  {name}: {{listen: '{listen}', scheduler: {scheduler}, backends: {backends}}}\n")
    };
    let _daemon = lab.start(&format!(
        "services:\n{}{}{}",
        service("even", EVEN, "round-robin"),
        service("least", LEAST, "least-connections"),
        service("random", RANDOM, "random")
    ));
    let mut all = [EVEN, LEAST, RANDOM].map(Clients::new);
    // Each gets 100 connections a second; who comes after a delay makes up for it.
    let (began, whole) = (Instant::now(), Duration::from_secs(22));
    let mut opened = 0;
    while began.elapsed() < whole {
        let due = (began.elapsed().as_secs_f64() * 100.0) as u32;
        while opened < due {
            opened += 1;
            all.iter_mut().for_each(|clients| clients.open_one(&lab));
        }
        all.iter_mut().for_each(Clients::close_due);
        if began.elapsed() > whole / 2 {
            all.iter_mut().for_each(Clients::look);
        }
        sleep(Duration::from_millis(5));
    }
    let [even, least, random] = all.map(|clients| {
        println!("{}: spread {:.2}, {:?}", clients.address, clients.spread(), clients.seen);
        clients.spread()
    });
    assert!(even > 3.0 && random > 3.0, "round-robin {even:.2}, random {random:.2}");
    // An ideal one comes to 1 at best.
    assert!(least < 1.5, "{least:.2}");
}

/// `full` and `active` of the first backend.
fn first(lab: &Lab) -> (bool, u64) {
    let status = lab.sluice(&["status", "--json"]).expect(0).json();
    let backend = &status["services"][0]["backends"][0];
    (backend["full"].as_bool().unwrap(), backend["active"].as_u64().unwrap())
}

#[test]
fn backend_with_as_many_connections_as_it_may_have_gets_no_more_until_some_end() {
    let lab = Lab::new();
    let backends = "[{address: '10.0.2.11:8080', max_connections: 3}, '10.0.2.12:8080']";
    let _daemon = lab.start(&format!("services: {{web: {{listen: '{EVEN}', backends: {backends}}}}}"));
    let mut open: Vec<_> = (0..6).map(|_| lab.client.open(EVEN).unwrap()).collect();
    eventually("it is full", || (first(&lab) == (true, 3)).then_some(()));
    assert_eq!(lab.client.tcp_shares(10, EVEN), Shares::from([("b2", 10)]));
    let told = lab.sluice(&["status"]).expect(0).stdout;
    assert!(told.contains("full"), "{told}");
    open.retain(|conversation| conversation.answer.backend == "b2");
    eventually("it has room", || (first(&lab) == (false, 0)).then_some(()));
    assert_eq!(lab.client.tcp_shares(2, EVEN), Shares::from([("b1", 1), ("b2", 1)]));
}

#[test]
fn pool_whose_backends_are_all_full_refuses() {
    let lab = Lab::new();
    let backends = "[{address: '10.0.2.11:8080', max_connections: 1}]";
    let _daemon = lab.start(&format!("services: {{web: {{listen: '{EVEN}', backends: {backends}}}}}"));
    let mut open = lab.client.open(EVEN).unwrap();
    let refused = || lab.client.tcp(EVEN).err().map(|error| error.kind());
    eventually("nobody takes more", || (refused() == Some(ErrorKind::ConnectionRefused)).then_some(()));
    assert_eq!(open.echo("still there?").unwrap(), "still there?");
}
