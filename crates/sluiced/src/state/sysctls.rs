//! [`Sysctls`]: changes and restores sysctls, with a record of their previous values. The reconcile task owns it.

use std::time::Duration;

use sluice_netlink::{Proc, SysctlError};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::record_queue::{self, RecordQueue};
use super::{ChangedSysctl, Files, RecordWriter, Recorded, StateDir, SysctlRecord};
use crate::fatal::chain;

/// How long a change waits for its record, so that a crash in between does not lose the old value; it does not wait again while
/// the same write is pending.
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
    /// The oldest order of a save that may be pending, and its time.
    pending: Option<(Instant, watch::Receiver<()>)>,
    /// Recorded changes that are not restored, because it is unknown whether they are still ours.
    doubtful: Option<(String, Vec<ChangedSysctl>)>,
    unreadable: Option<String>,
}

/// A change of a sysctl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SysctlChange {
    /// Its path below `/proc/sys`.
    pub(crate) key: String,
    /// The new value.
    pub(crate) now: &'static str,
    /// The reason, for the log.
    pub(crate) why: &'static str,
}

/// A record whose write is pending.
#[derive(Debug)]
#[must_use = "a sysctl changes after its record is written"]
pub(crate) struct PendingRecord(watch::Receiver<()>);

impl Sysctls {
    /// Takes over the changes of an earlier daemon in this boot.
    pub fn new(proc: Proc, dir: StateDir) -> Self {
        let boot = proc.sysctl("kernel/random/boot_id").unwrap_or_default();
        let Recorded { state, before: doubtful, unreadable } = SysctlRecord::load(&dir.files(), &boot);
        Sysctls { proc, dir, state, queue: None, pending: None, doubtful, unreadable }
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

    /// Changes sysctls in this order. Saves the old values first, so that a crash in between does not lose them.
    pub(crate) async fn change(&mut self, changes: &[SysctlChange]) -> Result<(), SysctlError> {
        if let Some(record) = self.record(changes)? {
            record.attempted().await;
        }
        self.write(changes)
    }

    /// Records the old values of sysctls, without changing these. `None`: there is nothing to wait for.
    pub(crate) fn record(&mut self, changes: &[SysctlChange]) -> Result<Option<PendingRecord>, SysctlError> {
        let mut is_new = false;
        for SysctlChange { key, now, why } in changes {
            let was = self.proc.sysctl(key)?;
            info!("sysctl {} set from {was} to {now}: {why}", name(key));
            if !self.state.sysctls.iter().any(|changed| changed.key == *key) {
                let (key, now) = (key.clone(), (*now).to_owned());
                self.state.sysctls.push(ChangedSysctl { key, was, now });
                is_new = true;
            }
        }
        Ok(if is_new { self.save() } else { None })
    }

    /// Writes the new values of recorded sysctls.
    pub(crate) fn write(&self, changes: &[SysctlChange]) -> Result<(), SysctlError> {
        changes.iter().try_for_each(|SysctlChange { key, now, .. }| self.proc.set_sysctl(key, now))
    }

    /// Restores the changed sysctls, last change first, except those that another program has changed since. Returns those
    /// that could not be restored, one line each; the next call retries them.
    pub async fn restore(&mut self) -> Vec<String> {
        let (lines, record) = self.restore_matching(|_| true);
        if let Some(record) = record {
            record.attempted().await;
        }
        lines
    }

    /// Restores the changed sysctls whose key matches, as [`Sysctls::restore`] does, and orders a save of the record. A crash
    /// before it is written leaves a record of values that the sysctls no longer have, which has no effect.
    pub(crate) fn restore_matching(
        &mut self,
        matches: impl Fn(&str) -> bool,
    ) -> (Vec<String>, Option<PendingRecord>) {
        let all = std::mem::take(&mut self.state.sysctls);
        let (changed, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|changed| matches(&changed.key));
        self.state.sysctls = others;
        if changed.is_empty() {
            return (vec![], None);
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
        (lines, self.save())
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

    /// Saves the record, or orders a save. `None`: it was attempted, or an earlier one has taken too long.
    fn save(&mut self) -> Option<PendingRecord> {
        let Some(queue) = &self.queue else {
            // The failure was logged, and is kept for `unsaved`.
            let _ = record_queue::save(&self.state, &self.dir.files());
            return None;
        };
        let attempted = queue.order(self.state.clone());
        match &self.pending {
            Some((since, earlier)) if earlier.has_changed().is_ok() => {
                (since.elapsed() < PATIENCE).then_some(PendingRecord(attempted))
            }
            _ => {
                self.pending = Some((Instant::now(), attempted.clone()));
                Some(PendingRecord(attempted))
            }
        }
    }
}

impl PendingRecord {
    /// Waits until the record is written, cannot be written, or takes too long.
    pub(crate) async fn attempted(mut self) {
        // Nothing is ever sent; the channel is closed after the attempt.
        let _ = timeout(PATIENCE, self.0.changed()).await;
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
        let on = |key: &str| [SysctlChange { key: key.to_owned(), now: "1", why: "it is a test" }];

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
        let (lines, record) = sysctls.restore_matching(|key| key == V4);
        assert!(lines.is_empty() && record.is_none(), "the same write is pending");
        assert_eq!(value(V4), "0");
        writer.write_due();
        assert!(recorded().contains(V6) && !recorded().contains(V4));
    }
}
