//! [`Host`]: a simulated host, and the daemon that runs on it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::thread::sleep;
use std::time::Duration;

use sd_notify::NotifyState;
use sluice_api::{BackendStatus, OverrideChange, OverrideRequest, ReloadStatus, Status};
use sluice_core::model::{Networks, Probe};
use sluice_netlink::Proc;
use sluice_nft::fake::FakeKernel;
use sluice_nft::{
    AsideRead, CommitError, Counter, Data, Dataplane, Key, Owner, Part, ReadError, Receipt, Set, SetName,
    Snapshot, Step, Table,
};
use sluice_probe::{ProbeOutcome, ProbeResult, Prober};
use sluiced::announce::FakeAddresses;
use sluiced::api::collector::StatusCollector;
use sluiced::conntrack::cleaner::{FlowCleaner, SweepOrder};
use sluiced::conntrack::counter::{CountRequest, FlowCounter};
use sluiced::conntrack::lister::{self, ConnectionLister};
use sluiced::daemon::event_loop::{self, Environment};
use sluiced::fatal::Fatal;
use sluiced::hooks;
use sluiced::host::systemd::Notify;
use sluiced::reconcile::namespace_lock::NamespaceLock;
use sluiced::request::{self, OverrideError, Request};
use sluiced::status::view::ReadCounters;
use tokio::sync::{mpsc, oneshot};

pub(crate) const FORWARD4: &str = "net/ipv4/ip_forward";
pub(crate) const FORWARD6: &str = "net/ipv6/conf/all/forwarding";

/// Files, sysctls and a kernel. All outlive the daemons that run on it.
pub(crate) struct Host {
    directory: tempfile::TempDir,
    kernel: Kernel,
    /// What the service manager was told, one text a state.
    notified: Rc<RefCell<Vec<String>>>,
    /// Flows that were to be forgotten.
    pub(crate) forgotten: (Sender<SweepOrder>, Receiver<SweepOrder>),
    /// Who counts flows; nobody if the test does not.
    pub(crate) counting: Option<Sender<CountRequest>>,
    /// Who lists them; nobody if the test does not.
    pub(crate) listing: Option<Sender<lister::ListRequest>>,
    /// How long the service manager waits for a sign of life.
    pub(crate) watchdog: Option<Duration>,
    /// Who answers probes.
    pub(crate) network: Network,
    /// Whether who reads counters panics.
    pub(crate) panics: Arc<AtomicBool>,
    /// Networks of the host when a daemon starts.
    pub(crate) networks: Networks,
    /// What happens when a daemon begins to listen for changes of others.
    pub(crate) on_listen: Option<fn(&Host)>,
    /// Addresses of the interfaces.
    pub(crate) addresses: FakeAddresses,
    /// Whether the disk takes no write; from then on, it hangs for good.
    pub(crate) disk_hangs: Arc<AtomicBool>,
}

/// A network of backends. Those that answer do so to all probes but HTTP ones of another path than `/healthz`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    answers: Arc<Mutex<BTreeSet<SocketAddr>>>,
    probes: Arc<Mutex<BTreeMap<SocketAddr, usize>>>,
}

impl Network {
    /// Has exactly these answer from now on.
    pub(crate) fn only(&self, answering: &[&str]) {
        *self.answers.lock().unwrap() = answering.iter().map(|text| text.parse().unwrap()).collect();
    }

    /// How many probes there were of an address.
    pub(crate) fn probes(&self, of: &str) -> usize {
        self.probes.lock().unwrap().get(&of.parse().unwrap()).copied().unwrap_or_default()
    }

    fn prober(&self) -> Prober {
        let Network { answers, probes } = self.clone();
        Prober::with(
            Arc::new(move |probe, target, _, _| {
                let target = SocketAddr::new(target.address, target.port);
                *probes.lock().unwrap().entry(target).or_default() += 1;
                let is_path = !matches!(probe, Probe::Http(http) if http.path != "/healthz");
                let answers = answers.lock().unwrap().contains(&target) && is_path;
                let verdict = if answers { ProbeResult::Success } else { ProbeResult::Failure };
                let (detail, took) = (format!("{verdict:?}"), Duration::from_millis(1));
                Box::pin(async move { ProbeOutcome { verdict, detail, took } })
            }),
            7,
        )
    }
}

/// A running daemon.
pub(crate) struct Daemon<'a> {
    pub(crate) host: &'a Host,
    pub(crate) collector: StatusCollector,
    pub(crate) requests: mpsc::Sender<Request>,
}

/// What to do to a table, if anything.
type Spoil = Option<fn(&mut Table)>;

/// A fake kernel that the test and the daemon share.
#[derive(Clone, Default)]
struct Kernel {
    fake: Arc<Mutex<FakeKernel>>,
    /// What goes wrong at each commit.
    spoil: Rc<Cell<Spoil>>,
    /// Whether tables belong to the daemon.
    owned: Rc<Cell<bool>>,
    /// Reads beside the reconcile task.
    aside: Aside,
}

/// Reads beside the reconcile task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aside {
    is_held: Arc<AtomicBool>,
    begun: Arc<AtomicUsize>,
}

impl Aside {
    /// Keeps reads from ending, or no longer.
    pub(crate) fn hold(&self, holds: bool) {
        self.is_held.store(holds, Ordering::SeqCst);
    }

    /// How many reads have begun.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    fn read<T: 'static>(
        &self,
        fake: &Arc<Mutex<FakeKernel>>,
        read: impl FnOnce(&mut FakeKernel) -> Result<T, ReadError> + Send + 'static,
    ) -> AsideRead<T> {
        let (aside, fake) = (self.clone(), fake.clone());
        Box::new(move || {
            aside.begun.fetch_add(1, Ordering::SeqCst);
            while aside.is_held.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(1));
            }
            read(&mut fake.lock().unwrap())
        })
    }
}

impl Dataplane for Kernel {
    fn read(&mut self) -> Result<Snapshot, ReadError> {
        let mut snapshot = self.fake.lock().unwrap().read()?;
        snapshot.flags.owner = self.owned.get().then_some(Owner::Us);
        Ok(snapshot)
    }

    fn read_aside(&mut self) -> AsideRead<Snapshot> {
        let owner = self.owned.get().then_some(Owner::Us);
        self.aside.read(&self.fake, move |fake| {
            let mut snapshot = fake.read()?;
            snapshot.flags.owner = owner;
            Ok(snapshot)
        })
    }

    fn dynamic_elements_aside(&mut self, name: &SetName, set: &Set) -> AsideRead<Vec<(Key, Data)>> {
        let (name, set) = (name.clone(), set.clone());
        self.aside.read(&self.fake, move |fake| fake.dynamic_elements(&name, &set))
    }

    fn read_part(&mut self, part: &Part) -> Result<Option<Table>, ReadError> {
        self.fake.lock().unwrap().read_part(part)
    }

    fn counters(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Counter)>, ReadError> {
        self.fake.lock().unwrap().counters(name, set)
    }

    fn dynamic_elements(&mut self, name: &SetName, set: &Set) -> Result<Vec<(Key, Data)>, ReadError> {
        self.fake.lock().unwrap().dynamic_elements(name, set)
    }

    fn unchanged_since(&mut self, generation: u32) -> Result<Option<u32>, ReadError> {
        self.fake.lock().unwrap().unchanged_since(generation)
    }

    fn commit(&mut self, steps: &[Step], planned_from: Option<u32>) -> Result<Receipt, CommitError> {
        let mut kernel = self.fake.lock().unwrap();
        let receipt = kernel.commit(steps, planned_from)?;
        if let Some(spoil) = self.spoil.get() {
            kernel.corrupt(spoil);
        }
        Ok(receipt)
    }
}

impl Host {
    /// A host that does not forward, with this configuration file.
    pub(crate) fn new(yaml: &str) -> Self {
        let host = Host {
            directory: tempfile::tempdir().unwrap(),
            kernel: Kernel::default(),
            notified: Rc::default(),
            forgotten: channel(),
            counting: None,
            listing: None,
            watchdog: None,
            network: Network::default(),
            panics: Arc::default(),
            networks: Networks::default(),
            addresses: FakeAddresses::default(),
            disk_hangs: Arc::default(),
            on_listen: None,
        };
        for (path, value) in [
            ("proc/sys/kernel/random/boot_id", "boot"),
            (&format!("proc/sys/{FORWARD4}"), "0"),
            (&format!("proc/sys/{FORWARD6}"), "0"),
            ("proc/thread-self/net/ipv6_route", ""),
        ] {
            let path = host.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }
        host.configure(yaml);
        host
    }

    /// Writes the configuration file: this text, and a control socket of this host.
    pub(crate) fn configure(&self, yaml: &str) {
        let text = format!("{yaml}\ncontrol: {{socket: {}}}\n", self.socket().display());
        fs::write(self.path("sluice.yaml"), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/sluice.sock")
    }

    pub(crate) fn proc(&self) -> Proc {
        Proc::at(self.path("proc"))
    }

    pub(crate) fn sysctl(&self, key: &str) -> String {
        self.proc().sysctl(key).unwrap()
    }

    pub(crate) fn kernel(&self) -> MutexGuard<'_, FakeKernel> {
        self.kernel.fake.lock().unwrap()
    }

    /// The reads beside the reconcile task.
    pub(crate) fn aside(&self) -> &Aside {
        &self.kernel.aside
    }

    /// Has this go wrong at each commit of the daemon.
    pub(crate) fn spoil(&self, how: Spoil) {
        self.kernel.spoil.set(how);
    }

    /// Has the kernel let nobody but the daemon change its table.
    pub(crate) fn own_tables(&self) {
        self.kernel.owned.set(true);
    }

    /// Generation of the kernel's ruleset.
    pub(crate) fn generation(&self) -> u32 {
        self.kernel().read().unwrap().generation
    }

    /// How many commits there have been.
    pub(crate) fn commits(&self) -> usize {
        self.kernel().commits().len()
    }

    /// What the service manager was told since the last time.
    pub(crate) fn notified(&self) -> Vec<String> {
        self.notified.take()
    }

    /// Starts a daemon that is expected to fail.
    pub(crate) async fn refused(&self) -> Fatal {
        self.daemon(request::channel()).await.unwrap_err()
    }

    /// Runs a daemon for as long as the story takes, and stops it.
    pub(crate) async fn run(&self, story: impl AsyncFnOnce(&Daemon)) {
        self.run_to_its_end(story).await.unwrap();
    }

    /// The same, whatever comes of the stop.
    pub(crate) async fn run_to_its_end(&self, story: impl AsyncFnOnce(&Daemon)) -> Result<(), Fatal> {
        self.run_until(Request::Stop, story).await
    }

    /// The same, but this request ends the daemon.
    pub(crate) async fn run_until(
        &self,
        end: Request,
        story: impl AsyncFnOnce(&Daemon),
    ) -> Result<(), Fatal> {
        let (requests, receiver) = request::channel();
        let daemon = Daemon { host: self, requests: requests.clone(), collector: self.collector(&requests) };
        let story = async {
            story(&daemon).await;
            requests.send(end).await.unwrap();
        };
        let (ended, ()) = tokio::join!(self.daemon((requests.clone(), receiver)), story);
        ended
    }

    /// The same, but the daemon ends without doing anything more.
    pub(crate) async fn run_and_crash(&self, story: impl AsyncFnOnce(&Daemon)) {
        let (requests, receiver) = request::channel();
        let daemon = Daemon { host: self, requests: requests.clone(), collector: self.collector(&requests) };
        tokio::select! {
            ended = self.daemon((requests, receiver)) => panic!("{ended:?}"),
            () = story(&daemon) => {}
        }
    }

    fn collector(&self, requests: &mpsc::Sender<Request>) -> StatusCollector {
        StatusCollector::new(requests.clone(), FlowCounter::to(channel().0), self.counters(), self.proc())
    }

    fn counters(&self) -> ReadCounters {
        let (kernel, panics) = (self.kernel.fake.clone(), self.panics.clone());
        Box::new(move |name, set| {
            assert!(!panics.load(Ordering::Relaxed), "as the test wants it");
            kernel.lock().unwrap().counters(name, set)
        })
    }

    async fn daemon(&self, requests: (mpsc::Sender<Request>, mpsc::Receiver<Request>)) -> Result<(), Fatal> {
        let notified = self.notified.clone();
        let notify = move |states: &[NotifyState<'_>]| {
            notified.borrow_mut().extend(states.iter().map(NotifyState::to_string));
        };
        let environment = Environment {
            config: self.path("sluice.yaml"),
            proc: self.proc(),
            notify: Notify::to(notify),
            watchdog: self.watchdog,
            // All of them are in one namespace.
            lock_namespace: || Ok(NamespaceLock::assumed()),
            prober: self.network.prober(),
            flows: FlowCleaner::to(self.forgotten.0.clone()),
            counter: FlowCounter::to(self.counting.clone().unwrap_or_else(|| channel().0)),
            listing: ConnectionLister::to(self.listing.clone().unwrap_or_else(|| channel().0)),
            networks: self.networks.clone(),
            start_saver: Box::new({
                let hangs = self.disk_hangs.clone();
                move |saver| {
                    let mut serve = Box::pin(saver.serve_here());
                    let serve = poll_fn(move |context| match hangs.load(Ordering::Relaxed) {
                        true => Poll::Pending,
                        false => serve.as_mut().poll(context),
                    });
                    drop(tokio::spawn(serve));
                }
            }),
            run_hook: hooks::programs(),
            start_announcer: Box::new({
                let addresses = self.addresses.clone();
                |announcer| drop(tokio::spawn(announcer.serve_here(addresses)))
            }),
            counters: self.counters(),
        };
        let listen = |_: &Kernel, _| {
            self.on_listen.iter().for_each(|happens| happens(self));
            Ok(())
        };
        event_loop::run(environment, || Ok(self.kernel.clone()), listen, requests).await
    }
}

impl Daemon<'_> {
    /// Waits until the reconcile task answers, which takes no other task.
    pub(crate) async fn answers(&self) {
        let (sender, answer) = oneshot::channel();
        self.requests.send(Request::View(sender)).await.unwrap();
        drop(answer.await.unwrap());
    }

    pub(crate) async fn status(&self) -> Status {
        self.collector.collect().await.expect("the daemon ended before it answered").status.clone()
    }

    pub(crate) async fn reload(&self) -> ReloadStatus {
        self.ask(|answer| Request::Reload(Some(answer))).await
    }

    /// Writes another configuration file and has it reloaded.
    pub(crate) async fn reload_with(&self, yaml: &str) -> ReloadStatus {
        self.host.configure(yaml);
        self.reload().await
    }

    /// Has an operator say something of a backend.
    pub(crate) async fn set(
        &self,
        backend: &str,
        change: OverrideChange,
    ) -> Result<BackendStatus, OverrideError> {
        let (service, backend) = backend.split_once('/').unwrap();
        let request =
            OverrideRequest { service: service.into(), backend: backend.into(), change, reason: None };
        let reply = self.ask(|answer| Request::Override(request.into(), 1000, answer)).await;
        reply.map(|reply| reply.each().next().unwrap().backend)
    }

    pub(crate) async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> T {
        let (sender, answer) = oneshot::channel();
        self.requests.send(request(sender)).await.unwrap();
        answer.await.expect("the daemon ended before it answered")
    }
}
