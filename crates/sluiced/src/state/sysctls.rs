//! Kernel settings that we change, and what they were before.

use sluice_netlink::{Proc, SysctlError};
use tracing::{debug, info, warn};

use crate::fatal::chain;
use crate::state::{Changed, Files, Recorded, State, StateDir};

/// The kernel's settings; what we changed is remembered in the state directory.
#[derive(Debug)]
pub struct Sysctls {
    /// Where they are.
    pub(crate) proc: Proc,
    dir: StateDir,
    state: State,
    /// Whether the file has it.
    is_saved: bool,
    /// What is recorded and not put back, for nobody can tell whether it is still ours.
    doubtful: Option<(String, Vec<Changed>)>,
    unreadable: Option<String>,
}

impl Sysctls {
    /// Takes over what an earlier daemon changed during this boot.
    pub fn new(proc: Proc, dir: StateDir) -> Self {
        let boot = proc.sysctl("kernel/random/boot_id").unwrap_or_default();
        let Recorded { state, before: doubtful, unreadable } = State::load(&dir.files(), &boot);
        Sysctls { proc, dir, state, is_saved: true, doubtful, unreadable }
    }

    /// The boot of the machine that this is.
    pub fn boot(&self) -> &str {
        self.state.boot()
    }

    /// Where other things are remembered.
    pub(crate) fn files(&self) -> Files {
        self.dir.files()
    }

    /// Why what a restart needs is not all in the state directory; empty: it is.
    pub(crate) fn unsaved(&self) -> Vec<String> {
        self.dir.problems()
    }

    /// Remembers the old value first: a crash in between must not lose it.
    pub(crate) fn change(&mut self, key: &str, now: &str, why: &str) -> Result<(), SysctlError> {
        let was = self.proc.sysctl(key)?;
        info!("sysctl {} set from {was} to {now}: {why}", name(key));
        if !self.state.sysctls.iter().any(|changed| changed.key == key) {
            self.state.sysctls.push(Changed { key: key.to_owned(), was, now: now.to_owned() });
            self.save();
        }
        self.proc.set_sysctl(key, now)
    }

    /// Puts back what we changed, last change first, unless somebody else has changed it since. Returns what could not
    /// be put back, one line each; that is tried again the next time.
    pub fn put_back(&mut self) -> Vec<String> {
        self.put_back_those(|_| true)
    }

    /// The same for some of them.
    pub(crate) fn put_back_those(&mut self, is_one: impl Fn(&str) -> bool) -> Vec<String> {
        let all = std::mem::take(&mut self.state.sysctls);
        let (changed, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|changed| is_one(&changed.key));
        self.state.sysctls = others;
        if changed.is_empty() {
            return vec![];
        }
        let (mut left, mut lines) = (vec![], vec![]);
        for change in changed.into_iter().rev() {
            let Changed { key, was, now } = &change;
            let back = self.proc.sysctl(key).and_then(|value| {
                if value != *now {
                    debug!("left sysctl {} at {value}: not what we set", name(key));
                    return Ok(());
                }
                self.proc.set_sysctl(key, was)?;
                info!("put sysctl {} back from {now} to {was}", name(key));
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

    /// What may be of sluice and is left, for nobody can tell: one line each, with what to do.
    pub fn doubtful(&self) -> Vec<String> {
        let unreadable = self.unreadable.iter().map(|error| {
            format!("which sysctls sluice has changed is not known: {error} (look at net.ipv4.ip_forward and net.ipv6.conf.all.forwarding)")
        });
        let before = self.doubtful.iter().flat_map(|(boot, changed)| {
            let is_there = |change: &&Changed| self.proc.sysctl(&change.key).is_ok_and(|value| value == change.now);
            changed.iter().filter(is_there).map(move |Changed { key, was, now }| {
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

    /// Writes down what could not be written before.
    pub(crate) fn save_again(&mut self) {
        if !self.is_saved {
            self.save();
        }
    }

    /// A failure is logged: what is in force matters more than what would be remembered.
    fn save(&mut self) {
        let saved = self.state.save(&self.dir.files());
        self.is_saved = saved.is_ok();
        if let Err(error) = saved {
            warn!("{} (after a restart old sysctl values will not be put back)", chain(&error));
        }
    }
}

/// A key as sysctl(8) writes it.
fn name(key: &str) -> String {
    key.replace('/', ".")
}
