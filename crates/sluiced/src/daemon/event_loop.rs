//! [`run`]: starts the daemon's tasks and is the loop of the reconcile task, the only writer of the ruleset.
//!
//! It waits for requests, a loaded configuration, health changes, flow counts, steps of slow start, reports about
//! addresses, and timers. A picture of all tasks and threads, and what each waits for, is in docs/architecture.md.
//!
//! Ready events take turns, so that frequent events cannot starve others; a change of health waits for at most one.
//!
//! The reconcile task makes blocking calls to the kernel. It is therefore not spawned: the main
//! thread blocks on it, and other tasks run on worker threads of the runtime.

use std::future::pending;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sluice_core::model::Networks;
use sluice_netlink::{Proc, memory};
use sluice_nft::Dataplane;
use sluice_probe::Prober;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::announce::{AnnounceQueue, Report, StartAnnouncer};
use crate::api::collector::StatusCollector;
use crate::api::control::{self, ControlSocket, ControlState};
use crate::api::http::{ChangeFeed, HttpServer, public};
use crate::conntrack::cleaner::FlowCleaner;
use crate::conntrack::counter::{CountSchedule, FlowCount, FlowCounter};
use crate::conntrack::lister::ConnectionLister;
use crate::daemon::aside::{Answer, Aside, Ended};
use crate::daemon::due::Due;
use crate::daemon::loading::{Clients, LoadResult, Loading};
use crate::daemon::saver::{Saved, StartSaver};
use crate::daemon::signals::Signals;
use crate::daemon::turns::Turns;
use crate::daemon::{Daemon, Effects};
use crate::fatal::{Exit, Fatal};
use crate::hooks::{HookRunner, RunHook};
use crate::host::heartbeat::Heartbeat;
use crate::host::systemd::Notify;
use crate::reconcile::namespace_lock::NamespaceLock;
use crate::request::Request;
use crate::state::StateDir;
use crate::state::sysctls::Sysctls;
use crate::status::view::ReadCounters;

/// Idle time after which free memory is returned to the system; by then the answer to a request has been sent.
const TIDY: Duration = Duration::from_secs(1);

/// The environment of the daemon.
pub struct Environment {
    /// The configuration file.
    pub config: PathBuf,
    /// The proc file system with sysctls.
    pub proc: Proc,
    /// The service manager.
    pub notify: Notify,
    /// Watchdog timeout of the service manager; `None` without a watchdog.
    pub watchdog: Option<Duration>,
    /// Takes the lock of the network namespace.
    pub lock_namespace: fn() -> Result<NamespaceLock, Fatal>,
    /// Probes backends.
    pub prober: Prober,
    /// Deletes flows.
    pub flows: FlowCleaner,
    /// Counts flows.
    pub counter: FlowCounter,
    /// Lists flows.
    pub listing: ConnectionLister,
    /// The networks of the host at the start.
    pub networks: Networks,
    /// Starts the saver.
    pub start_saver: StartSaver,
    /// Runs hooks.
    pub run_hook: RunHook,
    /// Starts the announcer.
    pub start_announcer: StartAnnouncer,
    /// Reads counters, independently of the reconcile task.
    pub counters: ReadCounters,
}

/// Runs the daemon until it is asked to stop. `open` opens the kernel once the configuration is
/// valid, and `listen` starts to report foreign commits, if other programs may change the table; `requests` are both ends of a
/// [`crate::request::channel`].
pub async fn run<D: Dataplane>(
    environment: Environment,
    open: impl FnOnce() -> Result<D, Fatal>,
    listen: impl FnOnce(&D, mpsc::Sender<Request>) -> Result<(), Fatal>,
    (sender, mut requests): (mpsc::Sender<Request>, mpsc::Receiver<Request>),
) -> Result<(), Fatal> {
    let Environment {
        config: file,
        proc,
        notify,
        watchdog,
        lock_namespace,
        prober,
        flows,
        counter,
        listing,
        networks,
        start_saver,
        run_hook,
        start_announcer,
        counters,
    } = environment;
    let signals = Signals::catch().map_err(|error| {
        Fatal::new(Exit::Runtime, format!("catch signals: {error}"), "raise the limits of the process")
    })?;
    tokio::spawn(signals.pass_on(sender.clone()));

    let loaded = sluice_config::load(&file).map_err(Fatal::Config)?;
    let dataplane = open()?;
    let socket = ControlSocket::bind(&loaded.config.control).map_err(|error| {
        let hint = error.hint();
        Fatal::new(Exit::Runtime, error, hint)
    })?;
    let state = StateDir::open(&loaded.config.state).map_err(|error| {
        Fatal::new(
            Exit::Runtime,
            error,
            "stop it; in another network namespace, set another directory in `state`",
        )
    })?;
    let namespace_lock = lock_namespace()?;
    state.ensure_alone(namespace_lock.is_held())?;
    tokio::spawn(namespace_lock.hold());
    let (_socket_guard, listener) = socket.split();
    let collector = StatusCollector::new(sender.clone(), counter.clone(), counters, proc.clone());
    let feed = ChangeFeed::new(collector.clone());
    let mut http = HttpServer::new(public(collector.clone(), feed.clone()));
    http.start(loaded.config.http.as_ref());
    let (results_sender, mut results) = mpsc::unbounded_channel();
    let (reports_sender, mut reports) = mpsc::unbounded_channel();
    let (announce_queue, announcer) = AnnounceQueue::new(reports_sender);
    start_announcer(announcer);
    let effects = Effects {
        sysctls: Sysctls::new(proc, state),
        notify,
        prober,
        flows,
        http,
        start_saver,
        announce_queue,
        results: results_sender,
    };
    let mut daemon = Daemon::start(file, loaded, dataplane, effects, networks).await?;
    // Subscribing has a cost, above all for the first commit.
    if !daemon.owns_table() {
        listen(daemon.dataplane(), sender.clone())?;
        daemon.catch_up().await;
    }
    let hooks = HookRunner::start(run_hook, daemon.readiness.subscribe(), sender.clone());
    let (mut loading, mut aside) = (Loading::default(), Aside::default());
    let mut counts = CountSchedule::new(counter.clone());
    let file = daemon.file.clone();
    let control_state = ControlState { file, requests: sender, counter, listing, collector, feed };
    tokio::spawn(control::serve(listener, control_state));

    let heartbeat = Heartbeat::start(watchdog);
    let (mut tidy, mut is_tidy) = (pin!(sleep(TIDY)), false);
    let mut turns = Turns::default();
    let hands_over = loop {
        daemon.evict_clients(&mut aside);
        let is_refreshing = aside.is_refreshing();
        let follows = daemon.load_follower.any();
        let next = turns
            .next(
                pin!(async {
                    daemon.health_changes().await;
                    Next::Health
                }),
                &mut [
                    pin!(async { Next::Request(requests.recv().await) }),
                    pin!(async { Next::Loaded(loading.next().await) }),
                    pin!(async { Next::Due(daemon.due(is_refreshing).await) }),
                    pin!(async {
                        if follows { Next::Counted(counts.next().await) } else { pending().await }
                    }),
                    pin!(async {
                        daemon.step_is_due().await;
                        Next::Step
                    }),
                    pin!(async { Next::Aside(aside.next().await) }),
                    pin!(async {
                        if let Some(result) = results.recv().await {
                            Next::Saved(result)
                        } else {
                            pending().await
                        }
                    }),
                    pin!(async {
                        match reports.recv().await {
                            Some(report) => Next::Addresses(report),
                            None => pending().await,
                        }
                    }),
                    pin!(async {
                        heartbeat.beat().await;
                        Next::Watchdog
                    }),
                    pin!(async {
                        if is_tidy {
                            pending::<()>().await;
                        }
                        tidy.as_mut().await;
                        Next::Tidy
                    }),
                ],
            )
            .await;
        match next {
            Next::Request(request) => match request {
                // The client may be gone.
                Some(Request::Reload(answer)) => {
                    if loading.ask(&daemon.file, &daemon.config.services, answer) {
                        daemon.notify.reloading();
                    }
                }
                Some(Request::Plan(loaded, answer)) => daemon.plan(*loaded, answer),
                Some(Request::View(answer)) => drop(answer.send(daemon.view())),
                Some(Request::Override(request, uid, answer)) => {
                    match daemon.set_overrides(request, uid).await {
                        Ok(done) => aside.answer(Answer::Overrides(done, answer)),
                        Err(refused) => drop(answer.send(Err(refused))),
                    }
                }
                Some(Request::Node(request, uid, answer)) => {
                    let done = daemon.set_node(request, uid);
                    drop(tokio::spawn(async { answer.send(done.answer().await) }));
                }
                Some(Request::Services(answer)) => drop(answer.send(daemon.config.services.clone())),
                Some(Request::Foreign(event)) => daemon.foreign(event).await,
                Some(Request::Networks(networks)) => daemon.networks(networks).await,
                Some(Request::Forwarding) => daemon.check_forwarding().await,
                Some(Request::Follower(follower, result)) => daemon.note_follower(follower, result),
                Some(Request::HookEnded(name, status)) => daemon.note_hook(name, status),
                Some(Request::Stop) | None => break false,
                Some(Request::HandOver) => break true,
            },
            Next::Loaded((loaded, asked)) => {
                let reply = daemon.reload(loaded).await;
                aside.answer(Answer::Reload(reply, asked));
                if loading.begin_again(&daemon.file, &daemon.config.services) {
                    daemon.notify.reloading();
                }
            }
            Next::Due(due) => daemon.do_due(due, &mut aside).await,
            Next::Aside(ended) => daemon.end_aside(ended, &mut aside).await,
            Next::Health => daemon.health().await,
            Next::Counted(counted) => daemon.follow_load(counted).await,
            Next::Step => daemon.step().await,
            Next::Saved((orders, saved)) => {
                daemon.save_queue.have_results(orders);
                daemon.note_saved(saved);
                continue;
            }
            Next::Addresses(report) => daemon.note_addresses(report),
            Next::Watchdog => {
                daemon.feed_watchdog();
                continue;
            }
            Next::Tidy => {
                memory::give_back();
                is_tidy = true;
                continue;
            }
        }
        daemon.publish_readiness();
        is_tidy = false;
        tidy.as_mut().reset(Instant::now() + TIDY);
    };
    daemon.notify.stopping();
    daemon.answer_all(&mut aside);
    if hands_over {
        daemon.hand_over().await;
        return Ok(());
    }
    daemon.withdraw_for_stop().await;
    daemon.end_readiness(hooks).await;
    daemon.stop().await
}

/// The next event of the reconcile task.
enum Next {
    Request(Option<Request>),
    /// A configuration was loaded.
    Loaded((LoadResult, Clients)),
    /// Timed work is due.
    Due(Due),
    /// A thread beside the reconcile task has ended.
    Aside(Ended),
    /// Health of backends changed.
    Health,
    /// Flows were counted.
    Counted(FlowCount),
    /// A step of slow start is due.
    Step,
    /// A save has a result.
    Saved((u64, Saved)),
    /// Addresses were added or withdrawn.
    Addresses(Arc<Report>),
    /// The watchdog must be fed.
    Watchdog,
    /// There was no event for a while.
    Tidy,
}
