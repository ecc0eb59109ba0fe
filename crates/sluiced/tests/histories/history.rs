//! One history: events happen one after the other, and after each that has settled the oracles look.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sluice_api::{Admin, OverrideChange, OverrideRequest};
use sluice_core::model::{Config, Protocol};
use sluice_netlink::Event as TableEvent;
use sluice_nft::Table;
use sluice_nft::trace::{Entry, Packet};
use sluiced::daemon::request::Request;
use tokio::time::Instant;

use crate::event::{Client, Edit, End, Event, Verb};
use crate::file::File;
use crate::foreign;
use crate::machine::{self, Machine};
use crate::model::{Model, key};
use crate::oracles;
use crate::plane::Plane;
use crate::reach::Reach;

/// Networks that the host may be in.
const NETWORKS: [&[(&str, &str)]; 6] = [
    &[("eth1", "10.0.2.1/24")],
    &[("eth1", "10.0.2.1/16")],
    &[("eth1", "10.0.2.1/24"), ("eth0", "10.0.3.1/24")],
    &[],
    &[("eth0", "10.0.2.1/24"), ("eth0", "10.0.3.1/25")],
    &[("eth0", "10.0.3.1/24"), ("eth1", "10.0.0.1/8")],
];

/// Destinations that clients of the histories have.
const DESTINATIONS: [(Protocol, &str); 10] = [
    (Protocol::Tcp, "203.0.113.10:80"),
    (Protocol::Tcp, "203.0.113.10:443"),
    (Protocol::Udp, "203.0.113.10:53"),
    (Protocol::Tcp, "203.0.113.11:80"),
    (Protocol::Udp, "203.0.113.11:53"),
    (Protocol::Tcp, "10.0.2.1:80"),
    (Protocol::Udp, "10.0.2.1:53"),
    (Protocol::Tcp, "203.0.113.10:81"),
    (Protocol::Udp, "203.0.113.11:55"),
    (Protocol::Tcp, "10.0.2.1:82"),
];

/// After this long nothing that fails once fails any more, and a retry has come.
const RETRY: Duration = Duration::from_secs(65);

/// A machine with a daemon, and what is expected of them.
pub struct History<'a> {
    pub machine: Machine,
    pub model: Model,
    pub reach: &'a mut Reach,
    file: File,
    /// What the kernel held when the oracles last looked, or after somebody else's edit.
    pub table: Option<Table>,
    /// Services before the last event.
    pub before: sluice_core::model::Services,
    /// When the running daemon was started.
    pub started: Instant,
    /// Since when forwarding has been off.
    pub forwarding_off: Option<Instant>,
    /// Whether the daemon was told of it.
    pub told_forwarding: bool,
    /// Since when the state directory can be written to.
    pub state_since: Option<Instant>,
    /// Whether the state directory was out of reach at some time: what a daemon changes then, the next does not know.
    pub forgetful: bool,
    /// What the daemon remembers of the last moments is not known.
    unsure: bool,
}

pub type Verdict = Result<(), String>;

/// Runs a history on this kernel; `Err` says what is wrong.
pub async fn run(plane: Plane, events: &[Event], reach: &mut Reach) -> Verdict {
    let mut history = History::begin(plane, reach).await?;
    for event in events {
        history.reach.event(event);
        history.happen(event).await.map_err(|wrong| format!("after {event:?}: {wrong}"))?;
    }
    history.finish().await.map_err(|wrong| format!("at the end: {wrong}"))
}

impl<'a> History<'a> {
    async fn begin(plane: Plane, reach: &'a mut Reach) -> Result<Self, String> {
        let mut machine = Machine::new(plane);
        let file = File::new();
        machine.configure(&file.yaml());
        let config = load(&machine).expect("the first file is valid");
        machine.start();
        let model = Model::new(config);
        let before = model.services().clone();
        let now = Instant::now();
        let mut history = History {
            machine,
            model,
            reach,
            file,
            table: None,
            before,
            started: now,
            forwarding_off: None,
            told_forwarding: false,
            state_since: Some(now),
            forgetful: false,
            unsure: false,
        };
        history.observe().await?;
        Ok(history)
    }

    async fn happen(&mut self, event: &Event) -> Verdict {
        self.before = self.model.services().clone();
        match event {
            Event::Reload(edits) => self.reload(edits).await?,
            Event::BadFile => self.bad_file().await?,
            Event::Host(host, answers) => self.machine.hosts.set(machine::host(*host), *answers),
            Event::Operator(service, backend, verb) => self.operator(*service, *backend, *verb).await?,
            Event::Flows(listener, client) => self.flows(*listener, *client),
            Event::Networks(index) => {
                let of = NETWORKS[index % NETWORKS.len()].iter();
                self.machine.networks = of.map(|(name, net)| ((*name).into(), (*net).into())).collect();
                let networks = self.machine.known_networks();
                self.machine.tell(Request::Networks(networks)).await;
            }
            Event::Foreign(edit) => {
                if self.machine.plane.edit(|table| foreign::edit(table, *edit)) {
                    self.reach.hit("foreign edit made");
                }
                self.machine.plane.take_record();
                self.table = self.machine.plane.table();
                self.machine.tell(Request::Foreign(TableEvent::Lost)).await;
            }
            Event::ForwardingOff(told) => {
                self.machine.proc().set_sysctl(machine::FORWARD, "0").expect("a sysctl");
                self.forwarding_off.get_or_insert(Instant::now());
                self.told_forwarding = *told;
                if *told {
                    self.machine.tell(Request::Forwarding).await;
                }
            }
            Event::CommitFails(nth, failure, after) => self.machine.plane.fail_commit(*nth, *failure, *after),
            Event::ReadsFail(count) => self.machine.plane.fail_reads(*count),
            Event::StateDir(writable) => {
                self.machine.state_dir(*writable);
                self.forgetful |= !writable;
                self.state_since = writable.then(|| *self.state_since.get_or_insert(Instant::now()));
            }
            Event::Restart(end, edits) => self.restart(*end, edits).await?,
            Event::Pass(seconds) => self.machine.pass(Duration::from_secs(*seconds)).await,
        }
        self.observe().await
    }

    /// Waits until what happened has settled, and has the oracles look.
    async fn observe(&mut self) -> Verdict {
        let mut settled = self.machine.settle().await;
        self.revive().await?;
        let mut status = self.machine.status().await.ok_or("the daemon does not answer")?;
        if !status.table.synced && !self.machine.plane.is_faulty() {
            let end = Instant::now() + RETRY;
            while !status.table.synced && Instant::now() < end {
                self.machine.pass(Duration::from_secs(1)).await;
                status = self.machine.status().await.ok_or("the daemon does not answer")?;
            }
            self.reach.hit("in sync again by itself");
            settled = self.machine.settle().await;
            status = self.machine.status().await.ok_or("the daemon does not answer")?;
        }
        self.learn();
        if std::mem::take(&mut self.unsure) {
            self.model.adopt(&status);
        }
        if !status.table.synced && !self.machine.plane.is_faulty() {
            return Err(format!("not in sync although nothing fails: {:?}", status.table.error));
        }
        oracles::look(self, &status, settled).await
    }

    /// Hands to the model what probes found.
    fn learn(&mut self) {
        self.machine.hosts.take_found().iter().for_each(|found| self.model.found(found));
    }

    /// Starts another daemon where one was killed at a commit, or could not start because of a fault.
    async fn revive(&mut self) -> Verdict {
        // Each fault prevents one start at most.
        for _ in 0..20 {
            if self.machine.runs() {
                return Ok(());
            }
            let was_faulty = self.machine.plane.is_faulty();
            let fate = self.machine.fate().await.unwrap_or_default();
            self.machine.kill().await;
            self.reach.hit("daemon killed at a commit, or refused a start by a fault");
            self.learn();
            self.start(self.model.config.clone(), true);
            self.machine.settle().await;
            if !self.machine.runs() && !was_faulty {
                return Err(format!(
                    "the daemon does not start: {:?}, before {fate}",
                    self.machine.fate().await
                ));
            }
        }
        Err("the daemon does not come back".into())
    }

    fn start(&mut self, config: Config, unsure: bool) {
        if self.model.restart(config) && !unsure {
            self.reach.hit("what was saved of a backend moved to its new name");
        }
        // What could not be saved is saved by a retry, or by the refresh.
        let saved = self.model.config.refresh.unwrap_or(RETRY) + RETRY;
        let is_back = self.state_since.is_some_and(|since| Instant::now() - since < saved);
        self.unsure |= unsure || !self.machine.has_state_dir() || self.forgetful && is_back;
        self.started = Instant::now();
        self.forwarding_off = None;
        self.machine.start();
    }

    async fn reload(&mut self, edits: &[Edit]) -> Verdict {
        let before = self.file.clone();
        edits.iter().for_each(|edit| self.file.edit(edit));
        self.machine.configure(&self.file.yaml());
        let Ok(config) = load(&self.machine) else {
            self.reach.hit("reload refused for the file");
            let reply = self.machine.reload().await;
            self.file = before;
            self.machine.configure(&self.file.yaml());
            return match reply {
                Some(reply) if reply.ok => Err("a file that is not valid was applied".into()),
                _ => Ok(()),
            };
        };
        let was_faulty = self.machine.plane.is_faulty();
        let mut reply = self.machine.reload().await;
        self.learn();
        if reply.as_ref().is_some_and(|reply| !reply.ok) {
            let problems = reply.expect("it is there").problems;
            if !was_faulty {
                return Err(format!("a valid file was refused: {problems:?}"));
            }
            // Whether the old or the new file is in force now depends on the fault; the next reload decides.
            self.machine.plane.heal();
            reply = self.machine.reload().await;
            self.learn();
            self.unsure = true;
            self.reach.hit("reload failed by a fault");
            if let Some(reply) = reply.as_ref().filter(|reply| !reply.ok) {
                return Err(format!("a valid file was refused after a fault: {:?}", reply.problems));
            }
        }
        self.model.reload(config, Instant::now());
        // It was killed before it could answer: the next one starts with the new file.
        self.unsure |= reply.is_none();
        Ok(())
    }

    async fn bad_file(&mut self) -> Verdict {
        self.file.bad = true;
        self.machine.configure(&self.file.yaml());
        let reply = self.machine.reload().await;
        self.file.bad = false;
        self.machine.configure(&self.file.yaml());
        match reply {
            Some(reply) if reply.ok || reply.problems.is_empty() => {
                Err("a damaged file was applied, or nothing said why not".into())
            }
            _ => Ok(()),
        }
    }

    async fn operator(&mut self, service: usize, backend: usize, verb: Verb) -> Verdict {
        let services: Vec<_> = self.model.services().iter().collect();
        let Some((name, found)) = services.get(service % services.len().max(1)) else { return Ok(()) };
        let Some(backend) = found.backends.get(backend % found.backends.len().max(1)) else { return Ok(()) };
        let (key, change) = (
            key(name, backend),
            match verb {
                Verb::Drain => OverrideChange::Admin(Admin::Drain),
                Verb::Disable => OverrideChange::Admin(Admin::Disabled),
                Verb::Enable => OverrideChange::Admin(Admin::Enabled),
                Verb::Weight(weight) => OverrideChange::Weight(Some(weight)),
                Verb::FileWeight => OverrideChange::Weight(None),
            },
        );
        let [service, backend] = [key.service.to_string(), key.backend.to_string()];
        let was_faulty = self.machine.plane.is_faulty();
        let answer = self.machine.operator(OverrideRequest { service, backend, change }).await;
        self.learn();
        self.model.operator(&key, verb, Instant::now());
        self.unsure |= answer.is_none();
        match answer {
            Some(Err(refused)) if !was_faulty => Err(format!("an operator was refused: {refused:?}")),
            _ => Ok(()),
        }
    }

    fn flows(&mut self, listener: usize, client: Client) {
        let packet = packet(listener, client, 40_000);
        self.machine.send(&packet);
    }

    async fn restart(&mut self, end: End, edits: &[Edit]) -> Verdict {
        let keeps = self.file.keep;
        match end {
            End::KillAtCommit(nth, after) => {
                self.machine.plane.kill_at_commit(nth, after);
                return Ok(());
            }
            End::Kill => self.machine.kill().await,
            End::Stop | End::HandOver => {
                let request = if end == End::Stop { Request::Stop } else { Request::HandOver };
                let was_faulty = self.machine.plane.is_faulty();
                let stopped = self.machine.end(request).await;
                if end == End::Stop && was_faulty {
                    // The table is gone, or it is not, for want of a commit.
                    self.machine.plane.take_record();
                    self.table = self.machine.plane.table();
                } else if end == End::Stop {
                    stopped.map_err(|error| format!("stop: {error}"))?;
                    self.learn();
                    oracles::stopped(self, keeps).await?;
                }
            }
        }
        self.learn();
        let before = self.file.clone();
        edits.iter().for_each(|edit| self.file.edit(edit));
        self.machine.configure(&self.file.yaml());
        let config = load(&self.machine).unwrap_or_else(|_| {
            self.file = before;
            self.machine.configure(&self.file.yaml());
            self.model.config.clone()
        });
        self.start(config, self.machine.plane.is_faulty());
        Ok(())
    }

    /// Nothing fails any more; what is due happens, and then nothing more.
    async fn finish(&mut self) -> Verdict {
        self.machine.plane.heal();
        self.machine.state_dir(true);
        self.state_since.get_or_insert(Instant::now());
        (0..6).for_each(|host| self.machine.hosts.set(machine::host(host), crate::event::Answers::Well));
        self.before = self.model.services().clone();
        self.machine.pass(RETRY).await;
        self.observe().await?;
        if self.model.moves(Instant::now()) {
            return Ok(());
        }
        let tried = self.machine.plane.tried();
        let refresh = self.model.config.refresh.unwrap_or(RETRY);
        self.machine.pass(refresh + Duration::from_secs(6)).await;
        self.reach.hit("quiet refresh");
        match self.machine.plane.tried() - tried {
            0 => Ok(()),
            commits => Err(format!("a refresh with nothing to do made {commits} commits")),
        }
    }

    /// Addresses of the host.
    pub fn local() -> [IpAddr; 3] {
        ["203.0.113.10", "203.0.113.11", "10.0.2.1"].map(|address| address.parse().expect("an address"))
    }
}

/// The file, as the daemon loads it.
fn load(machine: &Machine) -> Result<Config, ()> {
    sluice_config::load(&machine.path("sluice.yaml")).map(|loaded| loaded.config).map_err(|_| ())
}

/// First packets of flows that differ in where they go and come from.
pub fn packets() -> Vec<Packet> {
    let clients = [Client::Outside(1), Client::Outside(66), Client::Beside(2), Client::Local];
    let all = (0..DESTINATIONS.len()).flat_map(|to| clients.map(|client| packet(to, client, 41_000)));
    all.collect()
}

fn packet(destination: usize, client: Client, port: u16) -> Packet {
    let (protocol, to) = DESTINATIONS[destination % DESTINATIONS.len()];
    let to: SocketAddr = to.parse().expect("an address and port");
    let from = |last: u8| SocketAddr::new([192, 0, 2, last].into(), port + u16::from(last));
    match client {
        Client::Outside(last) => Packet::arriving(protocol, from(last), to),
        Client::Beside(last) => {
            Packet { entry: Entry::Arriving("eth1".into()), ..Packet::arriving(protocol, from(last), to) }
        }
        Client::Local => Packet::local(protocol, SocketAddr::new([10, 0, 2, 1].into(), port), to),
    }
}
