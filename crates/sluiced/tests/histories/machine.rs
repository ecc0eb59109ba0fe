//! The simulated machine of a history: files, sysctls, hosts, conntrack, a kernel, and the daemon.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::Value;
use sluice_api::{
    HostStatus, NodeReply, NodeRequest, OverrideRequest, OverridesReply, ReloadStatus, Status, Timestamp,
};
use sluice_core::model::{Networks, Protocol};
use sluice_netlink::Proc;
use sluice_nft::Table;
use sluice_nft::trace::{Host, Outcome, Packet, Tracer};
use sluice_probe::Prober;
use sluiced::announce::{Announcer, FakeAddresses};
use sluiced::api::collector::{StatusCollector, StatusSnapshot};
use sluiced::conntrack::cleaner::{FlowCleaner, SweepOrder, Sweeper};
use sluiced::conntrack::counter::{CountRequest, FlowCount, FlowCounter};
use sluiced::conntrack::lister::ConnectionLister;
use sluiced::counters::totals::Totals;
use sluiced::daemon::event_loop::{self, Environment};
use sluiced::fatal::Fatal;
use sluiced::host::systemd::Notify;
use sluiced::reconcile::namespace_lock::NamespaceLock;
use sluiced::request::{self, OverrideError, Request};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

use crate::conntrack::Conntrack;
use crate::disk::StateDisk;
use crate::event::Answers;
use crate::file::File;
use crate::hooks::HookRuns;
use crate::hosts::Hosts;
use crate::plane::Plane;

pub const FORWARD: &str = "net/ipv4/ip_forward";

/// Time between two looks at whether all is quiet.
const STEP: Duration = Duration::from_millis(100);

/// When no commit was tried and no flow came or went for so many steps, everything is quiet: longer than from one count of
/// flows to the next.
const QUIET: u32 = 8;

/// Steps after which it is not going to be quiet.
const RESTLESS: u32 = 80;

pub struct Machine {
    directory: tempfile::TempDir,
    pub plane: Plane,
    pub hosts: Hosts,
    pub hooks: HookRuns,
    pub conntrack: Conntrack,
    cleaner: Sweeper<Conntrack>,
    /// Looks at flows were still due when a daemon ended.
    dropped: bool,
    orders: (Sender<SweepOrder>, Receiver<SweepOrder>),
    questions: (Sender<CountRequest>, Receiver<CountRequest>),
    pub disk: StateDisk,
    /// Addresses of the interfaces.
    pub addresses: FakeAddresses,
    announcers: (Sender<Announcer>, Receiver<Announcer>),
    /// What changes addresses for the daemon that runs.
    announcer: Option<Announcer>,
    pub networks: Vec<(String, String)>,
    tracer: Tracer,
    daemon: Option<Running>,
    /// Whether the daemon may not have started yet.
    is_starting: bool,
}

struct Running {
    requests: mpsc::Sender<Request>,
    task: JoinHandle<Result<(), Fatal>>,
}

impl Machine {
    pub fn new(plane: Plane) -> Self {
        // In memory: histories write a lot.
        let shm = Path::new("/dev/shm");
        let directory =
            if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.expect("a directory");
        for (path, value) in [
            ("proc/sys/kernel/random/boot_id", "boot"),
            (&format!("proc/sys/{FORWARD}"), "0"),
            ("proc/sys/net/ipv6/conf/all/forwarding", "0"),
            ("proc/thread-self/net/ipv6_route", ""),
        ] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("make a directory");
            fs::write(path, value).expect("write");
        }
        let local = ["203.0.113.10", "203.0.113.11", "10.0.2.1"].map(|a| a.parse().expect("an address"));
        let conntrack = Conntrack::default();
        Machine {
            plane,
            hosts: Hosts::default(),
            hooks: HookRuns::default(),
            cleaner: Sweeper::new(conntrack.clone()),
            dropped: false,
            conntrack,
            orders: channel(),
            questions: channel(),
            disk: StateDisk::in_directory(directory.path()),
            addresses: FakeAddresses::default(),
            announcers: channel(),
            announcer: None,
            networks: vec![],
            tracer: Tracer::new(Host { local: local.into(), ..Host::default() }),
            daemon: None,
            is_starting: false,
            directory,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the configuration file, and the one that it includes or does not find.
    pub fn configure(&self, file: &File) {
        let (socket, state, yaml) = (self.path("run/sluice.sock"), self.path("state"), file.yaml());
        let text = format!("control: {{socket: {}}}\nstate: {}\n{yaml}", socket.display(), state.display());
        fs::write(self.path("sluice.yaml"), text).expect("write the configuration");
        let included = self.path("conf.d/extra.yaml");
        match file.included() {
            Some(text) => {
                fs::create_dir_all(self.path("conf.d")).expect("make a directory");
                fs::write(included, text).expect("write the included file");
            }
            None => drop(fs::remove_file(included)),
        }
    }

    pub fn proc(&self) -> Proc {
        Proc::at(self.path("proc"))
    }

    pub fn forwards(&self) -> bool {
        self.proc().sysctl(FORWARD).expect("a sysctl") == "1"
    }

    /// Networks of the host, as the daemon knows them.
    pub fn known_networks(&self) -> Networks {
        Networks::of(self.networks.iter().map(|(name, net)| (name.clone(), net.parse().expect("a network"))))
    }

    pub fn runs(&self) -> bool {
        self.daemon.as_ref().is_some_and(|daemon| !daemon.task.is_finished())
    }

    /// Starts a daemon. It may still be starting when this returns.
    pub fn start(&mut self) {
        self.conntrack.forget_counts();
        self.hooks.forget();
        let (requests, receiver) = request::channel();
        let environment = Environment {
            config: self.path("sluice.yaml"),
            proc: self.proc(),
            notify: Notify::to(|_| {}),
            watchdog: None,
            lock_namespace: || Ok(NamespaceLock::assumed()),
            prober: Prober::with(self.hosts.attempt(), 0),
            flows: FlowCleaner::to(self.orders.0.clone()),
            counter: FlowCounter::to(self.questions.0.clone()),
            listing: ConnectionLister::to(channel().0),
            networks: self.known_networks(),
            start_saver: self.disk.start_saver(),
            run_hook: self.hooks.runner(),
            start_announcer: Box::new({
                let announcers = self.announcers.0.clone();
                move |announcer| drop(announcers.send(announcer))
            }),
            counters: Box::new(|_, _| Ok(vec![])),
        };
        let (plane, asking) = (self.plane.clone(), requests.clone());
        let task = spawn_local(async move {
            event_loop::run(environment, || Ok(plane), |_, _| Ok(()), (asking, receiver)).await
        });
        self.daemon = Some(Running { requests, task });
        self.is_starting = true;
    }

    /// Ends the daemon as this request says, and returns what it ended with.
    pub async fn end(&mut self, request: Request) -> Result<(), String> {
        let Some(Running { requests, mut task }) = self.daemon.take() else { return Ok(()) };
        // It may be busy for as long as a round takes.
        let _ = requests.send(request).await;
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut task => break ended,
                () = sleep(STEP) => self.step().await,
            }
        };
        self.pump();
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(fatal)) => Err(fatal.to_string()),
            // It was killed at a commit.
            Err(_) => Ok(()),
        }
    }

    /// Ends the daemon as kill -9 does.
    pub async fn kill(&mut self) {
        if let Some(Running { task, .. }) = self.daemon.take() {
            task.abort();
            let _ = task.await;
        }
        self.disk.forget();
        self.announcer = None;
        self.drop_sweeps();
    }

    /// What a daemon had ordered of a thread of its own ends with it.
    pub fn drop_sweeps(&mut self) {
        self.dropped |= self.cleaner.due().is_some();
        while self.orders.1.try_recv().is_ok() {
            self.dropped = true;
        }
        self.cleaner = Sweeper::new(self.conntrack.clone());
    }

    /// Whether looks at flows were dropped since this was last asked.
    pub fn take_dropped(&mut self) -> bool {
        std::mem::take(&mut self.dropped)
    }

    /// What the daemon ended with, if it did by itself.
    pub async fn fate(&mut self) -> Option<String> {
        let Running { task, .. } = self.daemon.take_if(|daemon| daemon.task.is_finished())?;
        Some(match task.await {
            Ok(Ok(())) => "it stopped".to_owned(),
            Ok(Err(fatal)) => fatal.to_string(),
            Err(error) => error.to_string(),
        })
    }

    /// Lets what is due at this moment happen, so that nothing else does while a thread reads the file.
    pub async fn come_to_rest(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    pub async fn reload(&mut self) -> Option<ReloadStatus> {
        self.come_to_rest().await;
        self.ask(|answer| Request::Reload(Some(answer))).await
    }

    pub async fn operator(
        &mut self,
        request: OverrideRequest,
    ) -> Option<Result<OverridesReply, OverrideError>> {
        self.ask(|answer| Request::Override(request.into(), 0, answer)).await
    }

    pub async fn node(&mut self, request: NodeRequest) -> Option<NodeReply> {
        self.ask(|answer| Request::Node(request, 0, answer)).await
    }

    pub async fn status(&mut self) -> Option<Status> {
        let view = self.ask(Request::View).await?;
        let flow_counts = self.conntrack.flow_counts();
        Some(view.status(&Totals::default().counted(), Some(&flow_counts), HostStatus::default()))
    }

    /// All that is shown, status and figures alike.
    pub async fn look(&mut self) -> Option<Arc<StatusSnapshot>> {
        let counter = FlowCounter::to(self.questions.0.clone());
        let asking = self.daemon.as_ref()?.requests.clone();
        let collector = StatusCollector::new(asking, counter, Box::new(|_, _| Ok(vec![])), self.proc());
        let mut look = pin!(collector.collect());
        let look = loop {
            tokio::select! {
                biased;
                look = &mut look => break look.ok(),
                () = sleep(STEP) => self.step().await,
            }
        };
        // Part of it was done by another thread, so what else was due at this moment may have been done or not.
        self.step().await;
        look
    }

    /// Notes what status says, without what differs each time.
    pub fn note(&self, status: &Status) {
        self.plane.note(|| {
            let mut json = serde_json::to_value(status).expect("keys are strings");
            timeless(&mut json);
            json.to_string().replace(&self.directory.path().display().to_string(), "")
        });
    }

    /// Sends something that is not answered.
    pub async fn tell(&mut self, request: Request) {
        if let Some(daemon) = &self.daemon {
            let _ = daemon.requests.send(request).await;
        }
    }

    /// Asks the daemon; `None` if it ended meanwhile.
    pub async fn ask<T>(&mut self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (sender, mut answer) = oneshot::channel();
        self.daemon.as_ref()?.requests.send(request(sender)).await.ok()?;
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer.ok(),
                () = sleep(STEP) => self.step().await,
            }
        };
        // As in `look`.
        self.step().await;
        answer
    }

    /// Lets time pass until nothing happens any more; `false` if something always does.
    pub async fn settle(&mut self) -> bool {
        // A start waits for a slow disk, and nothing happens meanwhile.
        if std::mem::take(&mut self.is_starting) {
            let _ = self.ask(Request::View).await;
        }
        let mut quiet = 0;
        for _ in 0..RESTLESS {
            let done = |machine: &Machine| (machine.plane.tried(), machine.conntrack.changes());
            let before = done(self);
            self.pass(STEP).await;
            quiet = if done(self) == before { quiet + 1 } else { 0 };
            if quiet >= QUIET {
                return true;
            }
        }
        false
    }

    /// Lets this much time pass.
    pub async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(STEP.min(end - Instant::now())).await;
            self.step().await;
        }
        self.step().await;
    }

    /// Lets the daemon do what is due at this moment, and then its threads. Which of them is first must not be left to chance.
    async fn step(&mut self) {
        self.come_to_rest().await;
        self.pump();
    }

    /// Does what threads of the daemon do beside it: saves its state, deletes flows, and counts them.
    fn pump(&mut self) {
        self.disk.write();
        self.announcer = self.announcers.1.try_iter().last().or_else(|| self.announcer.take());
        if let Some(announcer) = &self.announcer {
            announcer.execute(&mut self.addresses);
        }
        let now = Instant::now().into_std();
        while let Ok(order) = self.orders.1.try_recv() {
            self.cleaner.order(order, now);
        }
        self.cleaner.run(now);
        while let Ok(CountRequest { follow, answer }) = self.questions.1.try_recv() {
            let flow_counts = if follow { self.conntrack.follow() } else { self.conntrack.flow_counts() };
            let counted =
                FlowCount { flow_counts: flow_counts.into(), at: now, took: Duration::from_millis(1) };
            let _ = answer.send(Ok(counted));
        }
    }

    /// What becomes of a packet now.
    pub fn trace(&mut self, table: Option<&Table>, packet: &Packet) -> Outcome {
        let nothing = Table::default();
        self.tracer.trace(table.unwrap_or(&nothing), packet).outcome
    }

    /// Sends the first packet of a flow, and tracks it.
    pub fn send(&mut self, packet: &Packet) {
        let table = self.plane.table();
        let to = match self.trace(table.as_ref(), packet) {
            Outcome::Translated { to, .. } => Some(to),
            Outcome::Untranslated { .. } => None,
            Outcome::Answered { .. } | Outcome::Dropped | Outcome::Reset | Outcome::Unreachable => return,
        };
        let answers = to.map_or(Answers::Well, |to| self.hosts.answers(to.ip()));
        if answers == Answers::Refuses && packet.protocol == Protocol::Tcp {
            return;
        }
        self.conntrack.track(packet, to, answers == Answers::Hangs);
    }
}

/// The address of a host of the histories.
pub fn host(index: usize) -> IpAddr {
    crate::file::ADDRESSES[index % crate::file::ADDRESSES.len()].parse().expect("an address")
}

/// Leaves out times of the day and ids of processes.
fn timeless(json: &mut Value) {
    match json {
        Value::String(text) if text.parse::<Timestamp>().is_ok() => text.clear(),
        Value::Array(values) => values.iter_mut().for_each(timeless),
        Value::Object(values) => {
            values.remove("pid");
            values.values_mut().for_each(timeless);
        }
        _ => {}
    }
}
