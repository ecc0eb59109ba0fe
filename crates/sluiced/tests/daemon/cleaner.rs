//! The flow sweeper decides by the newest services, in whatever order orders arrive.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_api::Health;
use sluice_core::flows::Affected;
use sluice_core::model::Transition;
use sluice_core::model::{
    Address, Backend, BackendName, BackendPort, Listener, OnDown, Ports, Protocol, Service, ServiceName,
    Services,
};
use sluice_netlink::conntrack::{ConnectionState, Flow, Reset, SctpState, TcpState};
use sluiced::conntrack::cleaner::{FlowTable, SweepOrder, Sweeper};
use tokio::time::sleep;

use crate::host::{Daemon, Host};

/// `IPS_DST_NAT`.
const TRANSLATED: u32 = 1 << 5;

const VIP: &str = "203.0.113.10:53";

/// A modelled conntrack.
#[derive(Default)]
struct Model {
    flows: Vec<Flow>,
    reset: Vec<Flow>,
    /// How often it was asked.
    dumps: usize,
    /// How often it is still going to fail.
    fails: usize,
}

#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Model>>);

impl FlowTable for Shared {
    fn each(&mut self, f: &mut dyn FnMut(Flow)) -> io::Result<()> {
        let mut model = self.0.borrow_mut();
        model.dumps += 1;
        if model.fails > 0 {
            model.fails -= 1;
            return Err(io::ErrorKind::Interrupted.into());
        }
        model.flows.iter().for_each(|flow| f(*flow));
        Ok(())
    }

    fn delete(&mut self, flows: &[Flow]) -> io::Result<usize> {
        let mut model = self.0.borrow_mut();
        let before = model.flows.len();
        model.flows.retain(|flow| !flows.contains(flow));
        Ok(before - model.flows.len())
    }

    fn reset(&mut self, flows: &[Flow], _linger: Duration) -> io::Result<Reset> {
        self.0.borrow_mut().reset.extend(flows);
        Ok(Reset { ended: flows.len(), challenge_error: None })
    }
}

/// What goes on, by a clock of its own.
struct Story {
    table: Shared,
    cleaner: Sweeper<Shared>,
    services: Services,
    now: Instant,
}

impl Story {
    fn new(services: Services) -> Self {
        let table = Shared::default();
        Story { cleaner: Sweeper::new(table.clone()), table, services, now: Instant::now() }
    }

    /// The kernel gets other services.
    fn turn(&mut self, change: impl FnOnce(&mut Services)) {
        let mut after = self.services.clone();
        change(&mut after);
        let affected = Affected::by(&Transition::between(&self.services, &after));
        let services = Arc::new(Arc::new(after.clone()).into());
        self.cleaner.order(SweepOrder { affected, services }, self.now);
        self.services = after;
    }

    fn run(&mut self) {
        self.cleaner.run(self.now);
    }

    /// Time goes by, and what is due is done.
    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.run();
    }

    fn begin(&self, flow: Flow) {
        self.table.0.borrow_mut().flows.push(flow);
    }

    /// Source ports of the clients whose flows are there.
    fn there(&self) -> Vec<u16> {
        self.table.0.borrow().flows.iter().map(|flow| flow.client.port()).collect()
    }

    fn reset(&self) -> Vec<u16> {
        self.table.0.borrow().reset.iter().map(|flow| flow.client.port()).collect()
    }
}

fn flow(client: u16, protocol: Protocol, to: &str, backend: &str) -> Flow {
    let [to, backend]: [SocketAddr; 2] = [to, backend].map(|text| text.parse().unwrap());
    let client = SocketAddr::new(IpAddr::from([198, 51, 100, 7]), client);
    let connection = match protocol {
        Protocol::Tcp => Some(ConnectionState::Tcp(TcpState::Established)),
        Protocol::Sctp => Some(ConnectionState::Sctp(SctpState::Established)),
        Protocol::Udp => None,
    };
    let status = if to == backend { 0 } else { TRANSLATED };
    Flow {
        protocol,
        client,
        to,
        backend,
        back_to: client,
        status,
        connection,
        id: client.port().into(),
        zone: 0,
        expires: 30,
        bytes: None,
    }
}

fn udp(client: u16, to: &str, backend: &str) -> Flow {
    flow(client, Protocol::Udp, to, backend)
}

fn listener(address: Option<&str>, ports: (u16, u16), protocol: Protocol) -> Listener {
    let address = address.map_or(Address::Any, |text| Address::Exact(text.parse().unwrap()));
    Listener { address, ports: Ports { first: ports.0, last: ports.1 }, protocol }
}

fn service(listener: Listener, backends: &[u8]) -> Service {
    let backend = |n: &u8| Backend {
        name: BackendName::new(&format!("b{n}")).unwrap(),
        address: IpAddr::from([10, 0, 2, *n]),
        port: BackendPort::One(8080),
        weight: 1,
        backup: false,
        max_connections: None,
    };
    Service {
        listeners: vec![listener],
        backends: backends.iter().map(backend).collect(),
        on_down: OnDown::Reset,
        ..Service::default()
    }
}

fn name(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

/// `dns` on one address and port of UDP and TCP with two backends.
fn dns() -> Services {
    let mut dns = service(listener(Some("203.0.113.10"), (53, 53), Protocol::Udp), &[11, 12]);
    dns.listeners.push(listener(Some("203.0.113.10"), (53, 53), Protocol::Tcp));
    [(name("dns"), dns)].into()
}

/// Health takes the first backend of a service out, or brings it back.
fn set_up(service: &'static str, is_up: bool) -> impl FnOnce(&mut Services) {
    move |services| {
        let service = services.get_mut(&name(service)).unwrap();
        let first = service.backends[0].name.clone();
        service.backends[0].weight = is_up.into();
        service.unhealthy = if is_up { vec![] } else { vec![first] };
    }
}

#[test]
fn flows_of_a_backend_that_is_down_end_at_once_and_once_more_a_second_later() {
    let mut story = Story::new(dns());
    story.begin(udp(1, VIP, "10.0.2.11:8080"));
    story.begin(udp(2, VIP, "10.0.2.12:8080"));
    story.begin(flow(3, Protocol::Tcp, VIP, "10.0.2.11:8080"));
    story.begin(flow(4, Protocol::Tcp, VIP, "10.0.2.12:8080"));
    story.turn(set_up("dns", false));
    assert_eq!(story.cleaner.due(), Some(story.now));
    story.run();
    assert_eq!((story.there(), story.reset()), (vec![2, 3, 4], vec![3]));
    // A packet was under way.
    story.begin(udp(5, VIP, "10.0.2.11:8080"));
    story.wait(999);
    assert_eq!(story.there(), [2, 3, 4, 5]);
    story.wait(1);
    assert_eq!(story.there(), [2, 3, 4]);
    assert_eq!(story.cleaner.due(), None);
}

#[test]
fn backend_that_is_back_before_it_was_looked_at_keeps_all() {
    let mut story = Story::new(dns());
    story.begin(udp(1, VIP, "10.0.2.11:8080"));
    story.begin(flow(3, Protocol::Tcp, VIP, "10.0.2.11:8080"));
    // A sweep takes its time, and orders come meanwhile.
    story.turn(set_up("dns", false));
    story.turn(set_up("dns", true));
    story.run();
    story.wait(1000);
    assert_eq!((story.there(), story.reset()), (vec![1, 3], vec![]));
    // And what it got since it is back, it keeps at the second look.
    story.turn(set_up("dns", false));
    story.run();
    story.wait(500);
    story.turn(set_up("dns", true));
    story.begin(udp(5, VIP, "10.0.2.11:8080"));
    story.wait(500);
    assert_eq!(story.there(), [3, 5]);
}

#[test]
fn any_number_of_orders_is_one_sweep() {
    let mut story = Story::new(dns());
    story.begin(udp(1, VIP, "10.0.2.11:8080"));
    (0..1000).for_each(|n| story.turn(set_up("dns", n % 2 == 1)));
    story.run();
    assert_eq!(story.table.0.borrow().dumps, 1);
    story.wait(1000);
    assert_eq!((story.table.0.borrow().dumps, story.cleaner.due()), (2, None));
    assert_eq!(story.there(), [1]);
}

#[test]
fn sweep_that_fails_is_made_again_and_not_for_ever() {
    let mut story = Story::new(dns());
    story.begin(udp(1, VIP, "10.0.2.11:8080"));
    story.table.0.borrow_mut().fails = 1;
    story.turn(set_up("dns", false));
    story.run();
    assert_eq!(story.there(), [1]);
    story.wait(1000);
    assert!(story.there().is_empty());
    story.table.0.borrow_mut().fails = usize::MAX;
    story.turn(set_up("dns", true));
    story.turn(set_up("dns", false));
    (0..10).for_each(|_| story.wait(1000));
    assert_eq!(story.cleaner.due(), None);
}

#[test]
fn backend_that_left_the_file_answers_what_it_was_asked_and_may_come_back() {
    let mut story = Story::new(dns());
    let flows = [udp(1, VIP, "10.0.2.11:8080"), udp(2, VIP, "10.0.2.12:8080")];
    flows.into_iter().for_each(|flow| story.begin(flow));
    let without = |services: &mut Services| drop(services.get_mut(&name("dns")).unwrap().backends.remove(0));
    story.turn(without);
    story.run();
    assert_eq!(story.there(), [1, 2]);
    story.wait(999);
    story.turn(|services| *services = dns());
    story.wait(1);
    assert_eq!(story.there(), [1, 2]);
    story.turn(without);
    story.wait(1000);
    assert_eq!(story.there(), [2]);
    // Another name for the same.
    story.turn(|services| *services = [(name("other"), services.remove(&name("dns")).unwrap())].into());
    story.wait(1000);
    assert_eq!(story.there(), [2]);
}

#[test]
fn backend_that_comes_and_goes_keeps_its_flows_until_it_has_been_away_for_a_second() {
    let mut story = Story::new(dns());
    story.begin(udp(1, VIP, "10.0.2.11:8080"));
    let without = |services: &mut Services| drop(services.get_mut(&name("dns")).unwrap().backends.remove(0));
    for _ in 0..5 {
        story.turn(without);
        story.wait(300);
        story.turn(|services| *services = dns());
        story.wait(300);
        assert_eq!(story.there(), [1]);
    }
    story.turn(without);
    story.wait(999);
    assert_eq!(story.there(), [1]);
    story.wait(1);
    assert_eq!(story.there(), Vec::<u16>::new());
}

#[test]
fn service_ends_no_flow_of_another_that_shares_its_backend() {
    let tcp = |address, ports| service(listener(address, ports, Protocol::Tcp), &[11]);
    let mut services: Services = [
        (name("any"), tcp(None, (80, 80))),
        (name("exact"), tcp(Some("203.0.113.10"), (80, 80))),
        (name("range"), tcp(Some("203.0.113.11"), (79, 81))),
        (name("other"), tcp(Some("203.0.113.11"), (81, 81))),
    ]
    .into();
    let mut entrance = tcp(Some("203.0.113.12"), (80, 80));
    entrance.interface = Some(sluice_core::model::InterfaceName::new("eth0").unwrap());
    services.insert(name("entrance"), entrance);
    let mut story = Story::new(services);
    let to = ["203.0.113.10:80", "203.0.113.11:80", "203.0.113.11:81", "203.0.113.12:80", "10.0.1.1:80"];
    for (n, to) in (1..).zip(to) {
        story.begin(flow(n, Protocol::Tcp, to, "10.0.2.11:8080"));
    }
    // 3 is taken by an exact listener, and 4 by one with an interface or by the wildcard.
    for (service, ended) in
        [("any", &[5][..]), ("range", &[2]), ("exact", &[1]), ("other", &[3]), ("entrance", &[4])]
    {
        story.turn(set_up(service, false));
        story.wait(1000);
        story.wait(1000);
        let mut reset = story.reset();
        reset.dedup();
        // Where the wildcard is down, too, there is nobody left whose it could be.
        assert_eq!(reset, ended, "{service}");
        story.table.0.borrow_mut().reset.clear();
    }
}

#[test]
fn many_listeners_are_one_question_to_the_kernel() {
    let mut services = Services::new();
    for port in 1000..1100 {
        let listener = listener(Some("203.0.113.10"), (port, port), Protocol::Udp);
        services.insert(name(&format!("s{port}")), service(listener, &[11]));
    }
    let mut story = Story::new(services);
    story.begin(udp(1, "203.0.113.10:1007", "10.0.2.11:8080"));
    // Somebody else's.
    story.begin(udp(2, "203.0.113.10:1007", "10.0.9.9:8080"));
    story.begin(udp(3, "203.0.113.10:999", "10.0.2.11:8080"));
    story.turn(Services::clear);
    story.wait(1000);
    assert_eq!(story.there(), [2, 3]);
    assert!(story.table.0.borrow().dumps <= 2, "one now, and one later");
}

/// Carries out what a daemon has ordered so far, now and when it is due.
fn carry_out(host: &Host, cleaner: &mut Sweeper<Shared>) {
    let now = Instant::now();
    host.forgotten.1.try_iter().for_each(|order| cleaner.order(order, now));
    cleaner.run(now);
    cleaner.run(now + Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn connections_when_the_state_of_their_backend_is_lost_stay_until_a_probe_fails() {
    let backend = "10.0.2.11:8080";
    let health = "{tcp: {}, interval: 1s, timeout: 1s, initial: down}";
    let host = Host::new(&format!(
        "services: {{web: {{listen: '203.0.113.10:80', health: {health}, on_down: reset, backends: ['{backend}']}}}}"
    ));
    let becomes = async |daemon: &Daemon<'_>, health: Health| {
        while daemon.status().await.services[0].backends[0].health != health {
            sleep(Duration::from_millis(100)).await;
        }
    };
    host.network.only(&[backend]);
    host.run_and_crash(async |daemon| becomes(daemon, Health::Healthy).await).await;
    fs::remove_dir_all(host.path("run")).unwrap();
    host.forgotten.1.try_iter().for_each(drop);

    let table = Shared::default();
    table.0.borrow_mut().flows.push(flow(1, Protocol::Tcp, "203.0.113.10:80", backend));
    let mut cleaner = Sweeper::new(table.clone());
    host.network.only(&[]);
    host.run(async |daemon| {
        let status = daemon.status().await;
        assert_eq!(status.services[0].backends[0].health, Health::Unknown);
        assert!(!status.services[0].backends[0].eligible, "it starts down");
        carry_out(&host, &mut cleaner);
        assert_eq!(table.0.borrow().reset, [], "nobody knows that it is down");
        becomes(daemon, Health::Unhealthy).await;
        carry_out(&host, &mut cleaner);
        assert_ne!(table.0.borrow().reset, [], "it is known to be down");
    })
    .await;
}
