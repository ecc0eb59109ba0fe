//! `least-connections` and `max_connections`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sluice_testkit::{Answer, Conversation, Lab, Shares, eventually};

const EVEN: &str = "203.0.113.10:80";
const LEAST: &str = "203.0.113.10:81";
const RANDOM: &str = "203.0.113.10:82";

/// Connections whose duration depends on the backend, and the average number per backend.
struct Clients {
    address: &'static str,
    /// Factor of the last backend's duration.
    slower: u32,
    open: Vec<(Instant, Conversation)>,
    seen: BTreeMap<String, usize>,
    /// Sum of the backends' relative deviations from the mean, and the number of samples.
    unrest: (f64, f64),
}

impl Clients {
    fn new(address: &'static str, slower: u32) -> Self {
        Clients { address, slower, open: vec![], seen: BTreeMap::new(), unrest: (0.0, 0.0) }
    }

    fn open_one(&mut self, lab: &Lab) {
        let conversation = lab.client.open(self.address).unwrap();
        let times = if conversation.answer.backend == "b4" { self.slower } else { 1 };
        self.open.push((Instant::now() + times * Duration::from_millis(400), conversation));
    }

    fn close_due(&mut self) {
        self.open.retain(|(end, _)| *end > Instant::now());
    }

    fn look(&mut self) {
        let mut now: BTreeMap<&str, usize> = ["b1", "b2", "b3", "b4"].map(|name| (name, 0)).into();
        for (_, Conversation { answer: Answer { backend, .. }, .. }) in &self.open {
            *now.entry(backend).or_default() += 1;
        }
        let mean = (self.open.len() as f64 / now.len() as f64).max(1.0);
        self.unrest.0 += now.values().map(|count| (*count as f64 - mean).abs()).sum::<f64>() / mean / 4.0;
        self.unrest.1 += 1.0;
        for (backend, count) in now {
            *self.seen.entry(backend.to_owned()).or_default() += count;
        }
    }

    fn unrest(&self) -> f64 {
        self.unrest.0 / self.unrest.1
    }

    /// Ratio of the largest to the smallest average.
    fn spread(&self) -> f64 {
        let most = self.seen.values().max().copied().unwrap_or_default();
        most as f64 / self.seen.values().min().copied().unwrap_or_default().max(1) as f64
    }
}

/// Starts a daemon with a service per scheduler and opens 100 connections per second to each for this time, catching up
/// after delays. Samples are taken in the second half.
fn run<const N: usize>(services: [(&str, &'static str); N], slower: u32, whole: Duration) -> [Clients; N] {
    let lab = Lab::new();
    let backends = "['10.0.2.11:8080', '10.0.2.12:8080', '10.0.2.13:8080', '10.0.2.14:8080']";
    let yaml = services.map(|(scheduler, listen)| {
        format!("  {scheduler}: {{listen: '{listen}', scheduler: {scheduler}, backends: {backends}}}\n")
    });
    let _daemon = lab.start(&format!("services:\n{}", yaml.concat()));
    let mut all = services.map(|(_, address)| Clients::new(address, slower));
    let (began, mut opened) = (Instant::now(), 0);
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
    for ((scheduler, _), clients) in services.iter().zip(&all) {
        let (spread, unrest) = (clients.spread(), clients.unrest());
        println!(
            "{scheduler}, last backend x{slower}: spread {spread:.2}, unrest {unrest:.2}, {:?}",
            clients.seen
        );
    }
    all
}

#[test]
fn least_connections_with_a_slow_backend_gives_all_about_as_many() {
    let services = [("round-robin", EVEN), ("least-connections", LEAST), ("random", RANDOM)];
    let [even, least, random] = run(services, 10, Duration::from_secs(22)).map(|clients| clients.spread());
    assert!(even > 3.0 && random > 3.0, "round-robin {even:.2}, random {random:.2}");
    // The ideal is 1.
    assert!(least < 1.5, "{least:.2}");
}

#[test]
fn least_connections_with_equal_backends_does_not_swing() {
    let services = [("least-connections", LEAST), ("random", RANDOM)];
    let [least, random] = run(services, 1, Duration::from_secs(12));
    assert!(least.spread() < 1.5, "{:.2}", least.spread());
    assert!(least.unrest() < random.unrest(), "{:.2} against {:.2}", least.unrest(), random.unrest());
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
fn first_fills_one_backend_after_the_other() {
    let lab = Lab::new();
    let backends = "[{address: '10.0.2.11:8080', max_connections: 3}, '10.0.2.12:8080', '10.0.2.13:8080']";
    let service = format!("{{listen: '{EVEN}', scheduler: first, backends: {backends}}}");
    let _daemon = lab.start(&format!("services: {{web: {service}}}"));
    let open: Vec<_> = (0..3).map(|_| lab.client.open(EVEN).unwrap()).collect();
    assert!(open.iter().all(|conversation| conversation.answer.backend == "b1"));
    eventually("it is full", || (first(&lab) == (true, 3)).then_some(()));
    assert_eq!(lab.client.tcp_shares(10, EVEN), Shares::from([("b2", 10)]));
    drop(open);
    eventually("it has room", || (first(&lab) == (false, 0)).then_some(()));
    assert_eq!(lab.client.tcp_shares(2, EVEN), Shares::from([("b1", 2)]));
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
