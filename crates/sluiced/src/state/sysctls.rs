//! [`Sysctls`]: changes and restores sysctls, with a record of their previous values. The reconcile task owns it.

use sluice_netlink::{Proc, SysctlError};
use tracing::{debug, info, warn};

use crate::fatal::chain;
use crate::state::{ChangedSysctl, Files, Recorded, StateDir, SysctlRecord};

/// The sysctls, with the record of changes in the state directory.
#[derive(Debug)]
pub struct Sysctls {
    /// The proc file system.
    pub(crate) proc: Proc,
    dir: StateDir,
    state: SysctlRecord,
    /// Whether the file has the record.
    is_saved: bool,
    /// Recorded changes that are not restored, because it is unknown whether they are still ours.
    doubtful: Option<(String, Vec<ChangedSysctl>)>,
    unreadable: Option<String>,
}

impl Sysctls {
    /// Takes over the changes of an earlier daemon in this boot.
    pub fn new(proc: Proc, dir: StateDir) -> Self {
        let boot = proc.sysctl("kernel/random/boot_id").unwrap_or_default();
        let Recorded { state, before: doubtful, unreadable } = SysctlRecord::load(&dir.files(), &boot);
        Sysctls { proc, dir, state, is_saved: true, doubtful, unreadable }
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

    /// Changes a sysctl. Saves the old value first, so that a crash in between does not lose it.
    pub(crate) fn change(&mut self, key: &str, now: &str, why: &str) -> Result<(), SysctlError> {
        let was = self.proc.sysctl(key)?;
        info!("sysctl {} set from {was} to {now}: {why}", name(key));
        if !self.state.sysctls.iter().any(|changed| changed.key == key) {
            self.state.sysctls.push(ChangedSysctl { key: key.to_owned(), was, now: now.to_owned() });
            self.save();
        }
        self.proc.set_sysctl(key, now)
    }

    /// Restores the changed sysctls, last change first, except those that another program has changed since. Returns those
    /// that could not be restored, one line each; the next call retries them.
    pub fn restore(&mut self) -> Vec<String> {
        self.restore_matching(|_| true)
    }

    /// Restores the changed sysctls whose key matches, as [`Sysctls::restore`] does.
    pub(crate) fn restore_matching(&mut self, matches: impl Fn(&str) -> bool) -> Vec<String> {
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
        self.save();
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

    /// Retries to write the record.
    pub(crate) fn save_again(&mut self) {
        if !self.is_saved {
            self.save();
        }
    }

    /// Saves the record. A failure is logged and does not prevent the change.
    fn save(&mut self) {
        let saved = self.state.save(&self.dir.files());
        self.is_saved = saved.is_ok();
        if let Err(error) = saved {
            warn!("{} (after a restart old sysctl values cannot be restored)", chain(&error));
        }
    }
}

/// A key in the form of sysctl(8).
fn name(key: &str) -> String {
    key.replace('/', ".")
}
