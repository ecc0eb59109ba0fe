//! `sluiced`, the daemon on the real kernel.

#![forbid(unsafe_code)]

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use clap::Parser;
use sluice_core::model::Networks;
use sluice_netlink::{Addresses, CounterReader, Netlink, ProbeError, Proc, TableOwnership, memory, programs};
use sluice_nft::Table;
use sluice_probe::Prober;
use sluiced::announce;
use sluiced::args::Args;
use sluiced::conntrack::cleaner::FlowCleaner;
use sluiced::conntrack::counter::FlowCounter;
use sluiced::conntrack::lister::ConnectionLister;
use sluiced::daemon::event_loop::{self, Environment};
use sluiced::daemon::followers;
use sluiced::daemon::saver;
use sluiced::fatal::{Exit, Fatal};
use sluiced::host::processors;
use sluiced::host::systemd::Notify;
use sluiced::logging;
use sluiced::reconcile::namespace_lock::NamespaceLock;
use sluiced::request;
use sluiced::request::Request;
use tokio::sync::mpsc::Sender;
use tracing::{error, info, warn};

/// With this variable the daemon behaves as if the kernel refused the flags of an owned table.
const UNOWNED: &str = "SLUICE_UNOWNED";

const MIN_WORKERS: usize = 2;
const MAX_WORKERS: usize = 4;

/// Timeout for threads that read or write files when the process ends.
const GRACE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args = Args::parse();
    let done = if args.check {
        check(&args.config).inspect_err(|fatal| eprintln!("{fatal}"))
    } else {
        logging::init(&args);
        run(args).inspect_err(|fatal| fatal.to_string().lines().for_each(|line| error!("{line}")))
    };
    done.map_or_else(|fatal| ExitCode::from(fatal.exit() as u8), |()| ExitCode::SUCCESS)
}

fn check(file: &Path) -> Result<(), Fatal> {
    let loaded = sluice_config::load(file).map_err(Fatal::Config)?;
    loaded.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    println!("{}: ok", file.display());
    Ok(())
}

fn run(args: Args) -> Result<(), Fatal> {
    // The unit gives an unprivileged user its capabilities by the ambient set, which exec probes would inherit.
    // This process keeps its capabilities.
    if let Err(error) = rustix::thread::clear_ambient_capability_set() {
        warn!("clear the ambient capability set: {error} (exec probes inherit capabilities)");
    }
    memory::share_heap();
    let (sender, requests) = request::channel();
    let networks = follow_networks(sender.clone())?;
    let mut counters = CounterReader::open().map_err(|error| {
        let error = format!("open a netlink socket for counters: {error}");
        Fatal::new(Exit::Runtime, error, "raise the limits of the process")
    })?;
    let addresses = Addresses::open().map_err(|error| {
        let error = format!("open a netlink socket for addresses: {error}");
        Fatal::new(Exit::Runtime, error, "raise the limits of the process")
    })?;
    let environment = Environment {
        config: args.config,
        proc: Proc::default(),
        notify: Notify::systemd(),
        watchdog: sd_notify::watchdog_enabled(),
        lock_namespace: NamespaceLock::take,
        prober: Prober::new(),
        flows: FlowCleaner::start(),
        counter: FlowCounter::start(),
        listing: ConnectionLister::start(),
        networks,
        start_saver: Box::new(saver::start_thread),
        run_hook: sluiced::hooks::programs(),
        start_announcer: Box::new(|announcer| announce::start_thread(announcer, addresses)),
        counters: Box::new(move |name, set| counters.read(name, set)),
    };
    // Each running probe has a descriptor.
    if let Err(error) = programs::raise_open_files() {
        warn!("raise the limit of open files: {error}");
    }
    // The runtime starts its workers first, then threads that block.
    let (workers, started) = (workers(), AtomicUsize::new(0));
    processors::be_prompt();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .on_thread_start(move || {
            processors::use_all();
            if started.fetch_add(1, Ordering::Relaxed) < workers {
                processors::be_prompt();
            }
        })
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        Fatal::new(Exit::Runtime, format!("start the event loop: {error}"), "raise the limits of the process")
    })?;
    let ended = runtime.block_on(event_loop::run(environment, open, listen, (sender, requests)));
    // Threads that wait for a file or a disk do not delay the exit.
    runtime.shutdown_timeout(GRACE);
    ended
}

/// Opens nf_tables, after checking that the kernel has all features that sluice needs.
fn open() -> Result<Netlink, Fatal> {
    let missing = sluice_netlink::probe().map_err(|error| match error {
        ProbeError::Open(error) => Fatal::open(error),
        refused => Fatal::new(Exit::Runtime, refused, "is a security module in the way? see dmesg"),
    })?;
    if !missing.is_empty() {
        let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
        let error = format!("this kernel has {}", missing.join(", "));
        return Err(Fatal::new(Exit::KernelFeature, error, "use a kernel with these options, 6.1 or newer"));
    }
    // For tests on kernels that support the flags.
    let hold = if env::var_os(UNOWNED).is_some() { TableOwnership::None } else { TableOwnership::Owner };
    let netlink = Netlink::open_to(hold).map_err(Fatal::open)?;
    if !netlink.owns() {
        info!(
            "the kernel does not support the table flags owner and persist: other programs can change table {}",
            Table::NAME
        );
    }
    Ok(netlink)
}

/// Starts the thread that reports foreign commits.
fn listen(netlink: &Netlink, sender: Sender<Request>) -> Result<(), Fatal> {
    followers::follow_commits(netlink.port(), sender)
        .map_err(|error| Fatal::new(Exit::Runtime, error, "raise the limits of the process"))
}

/// The networks of the host. Starts the thread that reports changes of networks and forwarding.
fn follow_networks(sender: Sender<Request>) -> Result<Networks, Fatal> {
    followers::follow_interfaces(sender).map_err(|error| {
        Fatal::new(Exit::Runtime, format!("read interfaces: {error}"), "raise the limits of the process")
    })
}

/// Number of worker threads: with two or more, one that is busy delays no probe.
fn workers() -> usize {
    available_parallelism().map_or(MIN_WORKERS, usize::from).clamp(MIN_WORKERS, MAX_WORKERS)
}
