//! [`Sysctls`]: changes and restores sysctls, with a record of their previous values. The reconcile task owns it.

use std::time::Duration;

use sluice_netlink::{Proc, SysctlError};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::record_queue::{self, RecordQueue};
use super::{ChangedSysctl, Files, RecordWriter, Recorded, StateDir, SysctlRecord};
use crate::fatal::chain;

/// How long a change waits for its record, so that a crash in between does not lose the old value. The reconcile task waits
/// meanwhile, but not again while the same write is pending.
const PATIENCE: Duration = Duration::from_secs(1);

/// The sysctls, with the record of changes in the state directory.
#[derive(Debug)]
pub struct Sysctls {
    /// The proc file system.
    pub(crate) proc: Proc,
    dir: StateDir,
    state: SysctlRecord,
    /// Saves the record on a thread; `None`: it is saved by the caller.
    queue: Option<RecordQueue>,
    /// The end of a write that took longer than [`PATIENCE`].
    slow: Option<oneshot::Receiver<()>>,
    /// Recorded changes that are not restored, because it is unknown whether they are still ours.
    doubtful: Option<(String, Vec<ChangedSysctl>)>,
    unreadable: Option<String>,
}

impl Sysctls {
    /// Takes over the changes of an earlier daemon in this boot.
    pub fn new(proc: Proc, dir: StateDir) -> Self {
        let boot = proc.sysctl("kernel/random/boot_id").unwrap_or_default();
        let Recorded { state, before: doubtful, unreadable } = SysctlRecord::load(&dir.files(), &boot);
        Sysctls { proc, dir, state, queue: None, slow: None, doubtful, unreadable }
    }

    /// Saves the record on the thread of the writer from now on, which `wake` wakes.
    pub(crate) fn save_on_thread(&mut self, wake: mpsc::UnboundedSender<()>) -> RecordWriter {
        let (queue, writer) = RecordQueue::new(self.files(), wake);
        self.queue = Some(queue);
        writer
    }

    /// The current boot.
    pub fn boot(&self) -> &str {
        self.state.boot()
    }

    /// The files of the state directory.
    pub(crate) fn files(&self) -> Files {
        self.dir.files()
    }

    /// Errors of files that a restart needs; empty: all are written.
    pub(crate) fn unsaved(&self) -> Vec<String> {
        self.dir.problems()
    }

    /// Changes sysctls, each a key, a new value and a reason, in this order. Saves the old values first, so that a crash in
    /// between does not lose them.
    pub(crate) async fn change(&mut self, changes: &[(&str, &str, &str)]) -> Result<(), SysctlError> {
        let mut is_new = false;
        for (key, now, why) in changes {
            let was = self.proc.sysctl(key)?;
            info!("sysctl {} set from {was} to {now}: {why}", name(key));
            if !self.state.sysctls.iter().any(|changed| changed.key == *key) {
                let (key, now) = ((*key).to_owned(), (*now).to_owned());
                self.state.sysctls.push(ChangedSysctl { key, was, now });
                is_new = true;
            }
        }
        if is_new {
            self.save().await;
        }
        changes.iter().try_for_each(|(key, now, _)| self.proc.set_sysctl(key, now))
    }

    /// Restores the changed sysctls, last change first, except those that another program has changed since. Returns those
    /// that could not be restored, one line each; the next call retries them.
    pub async fn restore(&mut self) -> Vec<String> {
        self.restore_matching(|_| true).await
    }

    /// Restores the changed sysctls whose key matches, as [`Sysctls::restore`] does.
    pub(crate) async fn restore_matching(&mut self, matches: impl Fn(&str) -> bool) -> Vec<String> {
        let all = std::mem::take(&mut self.state.sysctls);
        let (changed, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|changed| matches(&changed.key));
        self.state.sysctls = others;
        if changed.is_empty() {
            return vec![];
        }
        let (mut left, mut lines) = (vec![], vec![]);
        for change in changed.into_iter().rev() {
            let ChangedSysctl { key, was, now } = &change;
            let back = self.proc.sysctl(key).and_then(|value| {
                if value != *now {
                    debug!("left sysctl {} at {value}: changed by another program", name(key));
                    return Ok(());
                }
                self.proc.set_sysctl(key, was)?;
                info!("restored sysctl {} from {now} to {was}", name(key));
                Ok(())
            });
            if let Err(error) = back {
                let line = format!("sysctl {} is not put back to {was}: {}", name(key), chain(&error));
                warn!("{line}");
                lines.push(line);
                left.push(change);
            }
        }
        self.state.sysctls.extend(left.into_iter().rev());
        self.save().await;
        lines
    }

    /// Values that sluice may have set and that are not restored: one line each, with what to do.
    pub fn doubtful(&self) -> Vec<String> {
        let unreadable = self.unreadable.iter().map(|error| {
            format!("which sysctls sluice has changed is not known: {error} (look at net.ipv4.ip_forward and net.ipv6.conf.all.forwarding)")
        });
        let before = self.doubtful.iter().flat_map(|(boot, changed)| {
            let is_there = |change: &&ChangedSysctl| self.proc.sysctl(&change.key).is_ok_and(|value| value == change.now);
            changed.iter().filter(is_there).map(move |ChangedSysctl { key, was, now }| {
                let name = name(key);
                format!(
                    "sysctl {name} is {now}, to which sluice changed it from {was} under boot id {boot}, and here that is {} \
                     (`sysctl -w {name}={was}`, unless this machine was started anew since)",
                    self.boot()
                )
            })
        });
        unreadable.chain(before).collect()
    }

    /// Retries to write the record, without waiting for it.
    pub(crate) fn save_again(&mut self) {
        if let Some(queue) = self.queue.as_ref().filter(|queue| !queue.is_saved()) {
            drop(queue.order(self.state.clone()));
        }
    }

    /// Saves the record, and waits until it is written, cannot be written, or takes too long.
    async fn save(&mut self) {
        let Some(queue) = &self.queue else {
            // The failure was logged, and is kept for `unsaved`.
            let _ = record_queue::save(&self.state, &self.dir.files());
            return;
        };
        let mut attempted = queue.order(self.state.clone());
        let is_pending = |slow: &mut oneshot::Receiver<()>| slow.try_recv() == Err(TryRecvError::Empty);
        if !self.slow.as_mut().is_some_and(is_pending) {
            self.slow = timeout(PATIENCE, &mut attempted).await.is_err().then_some(attempted);
        }
    }
}

/// A key in the form of sysctl(8).
fn name(key: &str) -> String {
    key.replace('/', ".")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::task::yield_now;
    use tokio::time::Instant;

    use super::*;

    const V4: &str = "net/ipv4/ip_forward";
    const V6: &str = "net/ipv6/conf/all/forwarding";

    #[tokio::test(start_paused = true)]
    async fn sysctl_changes_after_its_record_is_written_or_after_a_second_and_one_write_delays_it_once() {
        let host = tempfile::tempdir().unwrap();
        for (key, value) in [("kernel/random/boot_id", "b"), (V4, "0"), (V6, "0")] {
            let path = host.path().join("sys").join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }
        let (proc, state) = (Proc::at(host.path()), host.path().join("state"));
        let value = |key| Proc::at(host.path()).sysctl(key).unwrap();
        let recorded = || fs::read_to_string(state.join("state.json")).unwrap_or_default();
        let mut sysctls = Sysctls::new(proc, StateDir::open(&state).unwrap());
        let mut writer = sysctls.save_on_thread(mpsc::unbounded_channel().0);
        let on = |key| [(key, "1", "it is a test")];

        let changes = on(V4);
        let write = async {
            yield_now().await;
            assert_eq!((value(V4).as_str(), recorded().as_str()), ("0", ""));
            writer.write_due();
            assert!(value(V4) == "0" && recorded().contains(V4));
        };
        tokio::join!(sysctls.change(&changes), write).0.unwrap();
        assert!(value(V4) == "1" && recorded().contains(V4));

        let began = Instant::now();
        sysctls.change(&on(V6)).await.unwrap();
        assert_eq!((value(V6).as_str(), began.elapsed()), ("1", PATIENCE));
        sysctls.restore_matching(|key| key == V4).await;
        assert_eq!((value(V4).as_str(), began.elapsed()), ("0", PATIENCE), "the same write is pending");
        writer.write_due();
        assert!(recorded().contains(V6) && !recorded().contains(V4));
    }
}
