//! What a peer sends over the control socket to a daemon with a fake kernel, which has to be as well as before.

#![no_main]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;
use std::{fs, thread};

use libfuzzer_sys::fuzz_target;
use sluice_core::model::Networks;
use sluice_netlink::Proc;
use sluice_nft::fake::FakeKernel;
use sluice_probe::Prober;
use sluiced::conntrack::cleaner::FlowCleaner;
use sluiced::conntrack::counter::FlowCounter;
use sluiced::conntrack::lister::ConnectionLister;
use sluiced::daemon::event_loop::{self, Environment};
use sluiced::daemon::saver;
use sluiced::host::systemd::Notify;
use sluiced::reconcile::namespace_lock::NamespaceLock;
use sluiced::request;
use tokio::signal::unix::{SignalKind, signal};

/// Long enough for an answer to begin, if there is going to be one.
const MOMENT: Duration = Duration::from_millis(10);

const PATIENCE: Duration = Duration::from_secs(10);

static SOCKET: LazyLock<PathBuf> = LazyLock::new(start);

fuzz_target!(|request: &[u8]| {
    let mut stream = send(request, MOMENT);
    let mut some = [0; 4096];
    // It may have hung up already; and status goes on for ever unless we do.
    let _ = stream.read(&mut some).and_then(|_| stream.shutdown(Shutdown::Write));
    let mut answer = vec![];
    let mut stream = send(b"GET /api/v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", PATIENCE);
    stream.read_to_end(&mut answer).expect("the daemon answers");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
});

fn send(request: &[u8], patience: Duration) -> UnixStream {
    let mut stream = UnixStream::connect(&*SOCKET).expect("the daemon listens");
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    // It may hang up before it has all.
    let _ = stream.write_all(request);
    stream
}

/// Starts a daemon, and waits until it listens.
fn start() -> PathBuf {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let socket = folder.join("run/sluice.sock");
    for (path, value) in [
        ("proc/sys/kernel/random/boot_id", "boot"),
        ("proc/sys/net/ipv4/ip_forward", "1"),
        ("proc/thread-self/net/ipv6_route", ""),
    ] {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        fs::write(path, value).expect("write");
    }
    let config = folder.join("sluice.yaml");
    let yaml =
        "services: {web: {listen: '203.0.113.10:80', backends: [{address: '10.0.2.11:80', name: web1}]}}";
    fs::write(&config, format!("{yaml}\ncontrol: {{socket: {}}}\n", socket.display())).expect("write");
    let proc = Proc::at(folder.join("proc"));
    thread::spawn(move || {
        let environment = Environment {
            config,
            proc,
            notify: Notify::to(|_| {}),
            watchdog: None,
            lock_namespace: || Ok(NamespaceLock::default()),
            prober: Prober::new(),
            flows: FlowCleaner::to(channel().0),
            counter: FlowCounter::to(channel().0),
            listing: ConnectionLister::to(channel().0),
            networks: Networks::default(),
            start_saver: Box::new(saver::start_thread),
            run_hook: sluiced::hooks::programs(),
            start_announcer: Box::new(drop),
            counters: Box::new(|_, _| Ok(vec![])),
        };
        let kernel = Mutex::new(Some(FakeKernel::default()));
        let open = || Ok(kernel.lock().expect("nobody panics").take().expect("asked once"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            // Nobody before `main` has seen to it that who writes to a peer that is gone lives.
            let _caught = signal(SignalKind::pipe()).expect("catch a signal");
            event_loop::run(environment, open, |_, _| Ok(()), request::channel()).await
        })
    });
    while UnixStream::connect(&socket).is_err() {
        thread::yield_now();
    }
    socket
}
