//! One history: events one after another; the oracles check the state after each event has settled.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sluice_api::{Admin, NodeChange, NodeReply, NodeRequest, OverrideChange, OverrideRequest, Status};
use sluice_core::model::{Address, Backend, Config, Service, ServiceName};
use sluice_netlink::Event as TableEvent;
use sluice_nft::Table;
use sluice_nft::trace::Packet;
use sluiced::request::Request;
use tokio::time::Instant;

use crate::conntrack::flow;
use crate::event::{Client, Disk, Edit, Event, Verb};
use crate::file::File;
use crate::foreign;
use crate::hosts::Found;
use crate::machine::{self, Machine};
use crate::model::{Model, key};
use crate::oracles;
use crate::packets::packet;
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

/// After this long nothing that fails once fails any more, and a retry has come.
pub const RETRY: Duration = Duration::from_secs(65);

/// A machine with a daemon, and what is expected of them.
pub struct History<'a> {
    pub machine: Machine,
    pub model: Model,
    pub reach: &'a mut Reach,
    pub file: File,
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
    /// Flows to where no service leads any more, which a daemon did not look at before it ended. Where nobody takes them for
    /// certain, the next one cannot tell that they were ours: nothing in its table says so.
    pub overlooked: BTreeSet<u32>,
    /// What the daemon remembers of the last moments is not known.
    pub unsure: bool,
    /// The same, but for what operators were told that it will be remembered.
    pub unsure_of_health: bool,
    /// Whether probes found news since the last event, of which a daemon may be making the kernel equal to it just now.
    pub is_fresh: bool,
    /// Since when nothing happened that shares of connections follow.
    pub calm: Instant,
    /// Whether nothing was under way when the oracles last looked.
    pub is_quiet: bool,
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
        machine.configure(&file);
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
            overlooked: BTreeSet::new(),
            unsure: false,
            unsure_of_health: false,
            is_fresh: false,
            calm: now,
            is_quiet: false,
        };
        history.observe().await?;
        Ok(history)
    }

    async fn happen(&mut self, event: &Event) -> Verdict {
        // It may have been killed while the oracles looked.
        self.revive().await?;
        (_, self.is_fresh) = self.learn();
        self.before = self.model.services().clone();
        self.machine.plane.note(|| format!("{event:?}"));
        if !matches!(event, Event::Pass(_)) {
            self.calm = Instant::now();
        }
        match event {
            Event::Reload(edits) => self.reload(edits).await?,
            Event::BadFile => self.bad_file().await?,
            Event::Host(host, answers) => self.machine.hosts.set(machine::host(*host), *answers),
            Event::Operator(service, backend, verb) => self.operator(*service, *backend, *verb).await?,
            Event::Leave => self.node(NodeChange::Leave).await?,
            Event::Join => self.node(NodeChange::Join).await?,
            Event::PutAddress(index) => {
                let address = address(*index);
                self.machine.addresses.put(address);
                self.model.foreign_addresses.insert(address);
                self.tell_networks().await;
            }
            Event::RemoveAddress(index) => {
                let address = address(*index);
                self.machine.addresses.remove(address);
                self.model.foreign_addresses.remove(&address);
                self.tell_networks().await;
            }
            Event::Flows(listener, client) => self.flows(*listener, *client),
            Event::Networks(index) => {
                let of = NETWORKS[index % NETWORKS.len()].iter();
                self.machine.networks = of.map(|(name, net)| ((*name).into(), (*net).into())).collect();
                self.tell_networks().await;
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
            Event::StateDir(disk) => {
                self.machine.disk.becomes(*disk);
                let well = [Disk::Well, Disk::Slow].contains(disk);
                self.forgetful |= !well;
                self.state_since = well.then(|| *self.state_since.get_or_insert(Instant::now()));
            }
            Event::Load(service, backend, count) => self.load(*service, *backend, *count),
            Event::Restart(end, edits) => self.restart(*end, edits).await?,
            Event::Pass(seconds) => self.machine.pass(Duration::from_secs(*seconds)).await,
        }
        self.observe().await
    }

    /// Waits until what happened has settled, and has the oracles look.
    pub async fn observe(&mut self) -> Verdict {
        let (mut settled, mut status) = self.settle().await?;
        if !status.table.synced && !self.machine.plane.is_faulty() {
            let end = Instant::now() + RETRY;
            while !status.table.synced && Instant::now() < end {
                self.machine.pass(Duration::from_secs(1)).await;
                (settled, status) = self.settle().await?;
            }
            self.reach.hit("in sync again by itself");
        }
        self.learn();
        if !self.model.touched.is_empty() {
            self.calm = Instant::now();
        }
        let of_health = std::mem::take(&mut self.unsure_of_health);
        if std::mem::take(&mut self.unsure) {
            self.model.adopt_overrides(&status);
            self.model.adopt_health(&status);
            self.model.adopt_quorums(&status, true);
        } else if of_health {
            self.model.adopt_health(&status);
            self.model.adopt_quorums(&status, true);
            self.reach.hit("overrides are there although health may not be");
        }
        self.model.adopt_quorums(&status, false);
        if !status.table.synced && !self.machine.plane.is_faulty() {
            return Err(format!("not in sync although nothing fails: {:?}", status.table.error));
        }
        self.machine.note(&status);
        oracles::look(self, &status, settled).await
    }

    /// Waits until what happened has settled, with a daemon that runs; `false` if something always happens.
    async fn settle(&mut self) -> Result<(bool, Status), String> {
        // It may be killed at any commit, so also when it is about to answer.
        for _ in 0..20 {
            let settled = self.machine.settle().await;
            self.revive().await?;
            if let Some(status) = self.machine.status().await {
                return Ok((settled, status));
            }
        }
        Err("the daemon does not answer".into())
    }

    /// Hands to the model what probes found; returns it, and whether it was news.
    pub fn learn(&mut self) -> (Vec<Found>, bool) {
        let found = self.machine.hosts.take_found();
        let is_news = found.iter().any(|found| self.model.is_news(found));
        found.iter().for_each(|found| self.model.found(found));
        (found, is_news)
    }

    async fn reload(&mut self, edits: &[Edit]) -> Verdict {
        let before = self.file.clone();
        edits.iter().for_each(|edit| self.file.edit(edit));
        self.machine.configure(&self.file);
        let Ok(config) = load(&self.machine) else {
            self.reach.hit("reload refused for the file");
            let reply = self.machine.reload().await;
            self.file = before;
            self.machine.configure(&self.file);
            return match reply {
                Some(reply) if reply.ok => Err("a file that is not valid was applied".into()),
                _ => Ok(()),
            };
        };
        let was_faulty = self.machine.plane.is_faulty();
        let planned = oracles::planned::reload(self).await?;
        self.learn();
        let mut reply = self.machine.reload().await;
        if let Some(planned) = planned {
            oracles::planned::was_made(self, &planned)?;
        }
        let (mut meanwhile, mut turned) = self.learn();
        if reply.as_ref().is_some_and(|reply| !reply.ok) {
            let problems = reply.expect("it is there").problems;
            if !was_faulty {
                return Err(format!("a valid file was refused: {problems:?}"));
            }
            // Whether the old or the new file is in force now depends on the fault; the next reload decides.
            self.machine.plane.heal();
            reply = self.machine.reload().await;
            let (found, news) = self.learn();
            meanwhile.extend(found);
            turned |= news;
            self.unsure = true;
            self.reach.hit("reload failed by a fault");
            if let Some(reply) = reply.as_ref().filter(|reply| !reply.ok) {
                return Err(format!("a valid file was refused after a fault: {:?}", reply.problems));
            }
        }
        self.model.reload(config, Instant::now());
        // What was found during the reload may have been found under either file.
        self.unsure_of_health |= turned || meanwhile.iter().any(|found| self.model.is_news(found));
        // It was killed before it could answer: the next one starts with the new file.
        self.unsure |= reply.is_none();
        Ok(())
    }

    async fn bad_file(&mut self) -> Verdict {
        self.file.bad = true;
        self.machine.configure(&self.file);
        let reply = self.machine.reload().await;
        self.file.bad = false;
        self.machine.configure(&self.file);
        match reply {
            Some(reply) if reply.ok || reply.problems.is_empty() => {
                Err("a damaged file was applied, or nothing said why not".into())
            }
            _ => Ok(()),
        }
    }

    /// A backend, by numbers.
    fn pick(&self, service: usize, backend: usize) -> Option<(&ServiceName, &Service, &Backend)> {
        let services = self.model.services();
        let (name, found) = services.iter().nth(service % services.len().max(1))?;
        let backend = found.backends.get(backend % found.backends.len().max(1))?;
        Some((name, found, backend))
    }

    /// The kernel tells that addresses or interfaces changed.
    async fn tell_networks(&mut self) {
        let networks = self.machine.known_networks();
        self.machine.tell(Request::Networks(networks)).await;
    }

    async fn node(&mut self, change: NodeChange) -> Verdict {
        let leaves = change == NodeChange::Leave;
        let reply = self.machine.node(NodeRequest { change, reason: None }).await;
        self.learn();
        self.model.has_left = leaves;
        self.unsure |= reply.is_none();
        let Some(NodeReply { left, not_withdrawn, not_remembered, .. }) = reply else { return Ok(()) };
        if left.is_some() != leaves || not_withdrawn.is_some() {
            return Err(format!("{change:?}: has left: {left:?}, not withdrawn: {not_withdrawn:?}"));
        }
        // It may be killed, and lose its directory, when it is about to answer.
        let was_killed = not_remembered.as_ref().is_some_and(|error| error.ends_with("is no longer ours"));
        self.unsure |= was_killed;
        if not_remembered.is_some()
            && !was_killed
            && self.machine.disk.keeps()
            && !self.machine.disk.is_slow()
        {
            return Err(format!("{change:?} is not remembered: {not_remembered:?}"));
        }
        match leaves && self.machine.addresses.all().iter().any(|it| it.is_ours) {
            true => Err("addresses are there when a leave has its answer".into()),
            false => Ok(()),
        }
    }

    async fn operator(&mut self, service: usize, backend: usize, verb: Verb) -> Verdict {
        let Some((name, _, backend)) = self.pick(service, backend) else { return Ok(()) };
        let key = key(name, backend);
        let change = match verb {
            Verb::Drain => OverrideChange::Admin(Admin::Drain),
            Verb::Disable => OverrideChange::Admin(Admin::Disabled),
            Verb::Enable => OverrideChange::Admin(Admin::Enabled),
            Verb::Weight(weight) => OverrideChange::Weight(Some(weight)),
            Verb::FileWeight => OverrideChange::Weight(None),
        };
        let [service, backend] = [key.service.to_string(), key.backend.to_string()];
        // Something may have failed while the oracles looked, or fail beside the question for it.
        let was_faulty = self.machine.plane.is_faulty();
        let was_synced = self.machine.status().await.is_some_and(|status| status.table.synced);
        // A slow disk delays the answer, not what was asked for.
        let asked = Instant::now();
        let answer = self.machine.operator(OverrideRequest { service, backend, change, reason: None }).await;
        self.learn();
        self.model.operator(&key, verb, asked);
        self.unsure |= answer.is_none();
        match answer {
            // What could not be done before waits for a retry.
            Some(Err(refused)) if !was_faulty && was_synced => {
                Err(format!("an operator was refused: {refused:?}"))
            }
            _ => Ok(()),
        }
    }

    /// A backend comes to have so many live connections, through the first listener of its service, as far as that may be.
    fn load(&mut self, service: usize, backend: usize, count: usize) {
        let Some((name, service, backend)) = self.pick(service, backend) else { return };
        let Some(listener) = service.listeners.first() else { return };
        let address = match listener.address {
            Address::Any => History::local()[0],
            Address::Exact(address) => address,
        };
        let to = SocketAddr::new(address, listener.ports.first);
        let place = SocketAddr::new(backend.address, backend.port.translate(listener.ports, to.port()));
        let client = SocketAddr::new([192, 0, 2, 3].into(), 50_000);
        let packet = Packet::arriving(listener.protocol, client, to);
        let flow = flow(&packet, Some(place), false);
        let takers = self.model.takers(flow.protocol, flow.to, None, &History::local());
        let is_ours = takers.first().is_some_and(|(taker, ..)| *taker == name);
        // Of one that is down, only those stay that had no choice.
        let serves = self.model.is_up(&key(name, backend));
        if service.enabled && serves && is_ours && takers.iter().any(|taker| self.model.keeps(*taker, &flow))
        {
            self.machine.conntrack.load(&flow, &packet.ingress, count);
            self.reach.hit("load changed");
        }
    }

    fn flows(&mut self, listener: usize, client: Client) {
        let packet = packet(listener, client, 40_000);
        self.machine.send(&packet);
    }

    /// Addresses of the host.
    pub fn local() -> [IpAddr; 3] {
        ["203.0.113.10", "203.0.113.11", "10.0.2.1"].map(|address| address.parse().expect("an address"))
    }
}

/// An address of announced services, or one of nobody.
fn address(index: usize) -> IpAddr {
    let all = ["203.0.113.10", "203.0.113.11", "203.0.113.99"];
    all[index % all.len()].parse().expect("an address")
}

/// The file, as the daemon loads it.
pub fn load(machine: &Machine) -> Result<Config, ()> {
    sluice_config::load(&machine.path("sluice.yaml")).map(|loaded| loaded.config).map_err(|_| ())
}
