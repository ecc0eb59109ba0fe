//! Kernel settings that we change, and what they were before.

use sluice_netlink::{Proc, SysctlError};
use tracing::{debug, info, warn};

use crate::fatal::chain;
use crate::state::{Changed, State, StateDir};

/// The kernel's settings; what we changed is remembered in the state directory.
#[derive(Debug)]
pub struct Sysctls {
    /// Where they are.
    pub(crate) proc: Proc,
    dir: StateDir,
    state: State,
}

impl Sysctls {
    /// Takes over what an earlier daemon changed during this boot.
    pub fn new(proc: Proc, dir: StateDir) -> Self {
        let boot = proc.sysctl("kernel/random/boot_id").unwrap_or_default();
        let state = dir.load(&boot);
        Sysctls { proc, dir, state }
    }

    /// The boot of the machine that this is.
    pub fn boot(&self) -> &str {
        self.state.boot()
    }

    /// Remembers the old value first: a crash in between must not lose it.
    pub(crate) fn change(&mut self, key: &str, now: &str, why: &str) -> Result<(), SysctlError> {
        let was = self.proc.sysctl(key)?;
        info!("sysctl {} set from {was} to {now}: {why}", key.replace('/', "."));
        if !self.state.sysctls.iter().any(|changed| changed.key == key) {
            self.state.sysctls.push(Changed { key: key.to_owned(), was, now: now.to_owned() });
            self.dir.save(&self.state);
        }
        self.proc.set_sysctl(key, now)
    }

    /// Puts back what we changed, last change first, unless somebody else has changed it since.
    pub fn put_back(&mut self) {
        self.put_back_those(|_| true);
    }

    /// The same for some of them.
    pub(crate) fn put_back_those(&mut self, is_one: impl Fn(&str) -> bool) {
        let all = std::mem::take(&mut self.state.sysctls);
        let (changed, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|changed| is_one(&changed.key));
        self.state.sysctls = others;
        if changed.is_empty() {
            return;
        }
        for Changed { key, was, now } in changed.into_iter().rev() {
            let name = key.replace('/', ".");
            let back = self.proc.sysctl(&key).and_then(|value| {
                if value != now {
                    debug!("left sysctl {name} at {value}: not what we set");
                    return Ok(());
                }
                self.proc.set_sysctl(&key, &was)?;
                info!("put sysctl {name} back from {now} to {was}");
                Ok(())
            });
            if let Err(error) = back {
                warn!("{}: not put back to {was}", chain(&error));
            }
        }
        self.dir.save(&self.state);
    }
}
