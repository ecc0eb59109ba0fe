//! Flips of one backend under a burden.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sluice_netlink::{Event, Monitor};
use sluice_testkit::{Behaviour, HealthServer, Lab, eventually};

use super::burden::{Burden, others};

/// Time after which a flip that the kernel does not show is an error.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time without commits after which the round of a flip is over.
const SETTLED: Duration = Duration::from_millis(300);

/// Milliseconds from the first probe with another outcome to the commit, for each flip.
pub(super) fn measure(burden: Burden, services: u32, flips: u32) -> anyhow::Result<Vec<f64>> {
    let lab = Lab::with_backends(1);
    let [server, _other] = on_first(|| [8080, 8081].map(|port| lab.backends[0].serve_health(port)))?;
    let daemon = burden.start(&lab, &config(burden, services))?;
    let commits = on_first(|| commits(&lab))??;
    let measured = thread::scope(|scope| {
        let begun = burden.begin(scope, &lab, &daemon)?;
        let times = (0..flips).map(|n| flip(&server, &commits, n)).collect();
        drop(begun);
        times
    });
    drop(daemon);
    measured
}

/// Starts threads that stand for other machines on the first processor, where the daemon does no long work.
fn on_first<T>(start: impl FnOnce() -> T) -> anyhow::Result<T> {
    let all = sched_getaffinity(None).context("read the processors of a thread")?;
    let mut first = CpuSet::new();
    first.set((0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).context("no processor")?);
    sched_setaffinity(None, &first).context("set the processors of a thread")?;
    let started = start();
    sched_setaffinity(None, &all).context("set the processors of a thread")?;
    Ok(started)
}

/// Changes the behaviour of the server, and waits until the kernel follows.
fn flip(server: &HealthServer, commits: &Receiver<Instant>, n: u32) -> anyhow::Result<f64> {
    // A flip during the round of the one before would wait for that.
    while commits.recv_timeout(SETTLED).is_ok() {}
    server.behave(if n.is_multiple_of(2) { Behaviour::Fails } else { Behaviour::Well });
    let probed = eventually("a probe has another outcome", || server.behaves_since());
    let deadline = probed + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let committed = commits.recv_timeout(left).context("the kernel does not follow")?;
        // A commit from before is not the one.
        if committed > probed {
            let took = committed - probed;
            ensure!(took < PATIENCE, "a flip took {} s", took.as_secs());
            return Ok(took.as_secs_f64() * 1e3);
        }
    }
}

/// The times of commits that change the table.
fn commits(lab: &Lab) -> anyhow::Result<Receiver<Instant>> {
    let mut monitor = lab.balancer.run(|| Monitor::open(0)).context("subscribe to commits")?;
    let (sender, commits) = channel();
    thread::spawn(move || {
        while let Ok(event) = monitor.wait() {
            if matches!(event, Event::Changed(_)) && sender.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    Ok(commits)
}

/// The probed service, whose flips are measured, and the others.
fn config(burden: Burden, services: u32) -> String {
    let refresh = if burden == Burden::Refreshes { "1s" } else { "60s" };
    format!(
        "refresh: {refresh}\nservices:\n{}  probed: {{ listen: 203.0.113.10:80, backends: [10.0.2.11:8080, 10.0.2.11:8081], \
         health: {{ http: {{}}, interval: 100ms, timeout: 100ms, rise: 1, fall: 1 }} }}\n",
        others(burden, services)
    )
}
