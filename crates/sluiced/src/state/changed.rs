//! [`SysctlRecord`]: `state.json`, the sysctls that sluice changed, with their previous values.

use serde::{Deserialize, Serialize};
use sluice_netlink::switched;
use tracing::warn;

use super::{Durable, FileError, Files};

const FILE: &str = "state.json";

const VERSION: u32 = 1;

/// Contents of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SysctlRecord {
    version: u32,
    /// The boot in which it was written; sysctls do not outlive a boot.
    boot: String,
    /// The changed sysctls, in order of the changes.
    pub(crate) sysctls: Vec<ChangedSysctl>,
}

/// A changed sysctl.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedSysctl {
    /// Its key, such as `net/ipv4/ip_forward`.
    pub key: String,
    /// Its previous value.
    pub was: String,
    /// The value that sluice wrote.
    pub now: String,
}

/// The record of an earlier daemon.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// The changes of this boot.
    pub(crate) state: SysctlRecord,
    /// Another boot id, and the sysctls that were changed under it.
    pub(crate) before: Option<(String, Vec<ChangedSysctl>)>,
    /// Why the file could not be read.
    pub(crate) unreadable: Option<String>,
}

impl ChangedSysctl {
    /// Whether sluice makes this change. A user who can write the file must not be able to make root write other values.
    fn is_ours(&self) -> bool {
        switched(&self.key) == Some((&*self.was, &*self.now))
    }
}

impl SysctlRecord {
    /// No changes in this `boot`.
    pub(crate) fn none(boot: &str) -> Self {
        SysctlRecord { version: VERSION, boot: boot.to_owned(), sysctls: vec![] }
    }

    /// The boot in which it was written.
    pub(crate) fn boot(&self) -> &str {
        &self.boot
    }

    /// The state that an earlier daemon saved during this `boot`. SysctlRecord must never prevent a start: invalid state is
    /// logged and ignored.
    pub(crate) fn load(files: &Files, boot: &str) -> Recorded {
        let mut recorded = Recorded { state: SysctlRecord::none(boot), before: None, unreadable: None };
        let state = match files.read(FILE) {
            Ok(None) => return recorded,
            Ok(Some(json)) => serde_json::from_str::<SysctlRecord>(&json).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let path = files.path(FILE);
        let ignored = match state {
            Ok(state) if state.version != VERSION => {
                format!("unknown format version {}", state.version)
            }
            Ok(SysctlRecord { boot: other, sysctls, .. }) => {
                let (ours, others) = sysctls.into_iter().partition::<Vec<_>, _>(ChangedSysctl::is_ours);
                for ChangedSysctl { key, was, now } in others {
                    warn!(
                        "ignored sysctl `{}` in {}: sluice never changes it from `{}` to `{}`",
                        key.escape_debug(),
                        path.display(),
                        was.escape_debug(),
                        now.escape_debug()
                    );
                }
                match other == boot {
                    true => recorded.state.sysctls = ours,
                    false => recorded.before = Some((other, ours)),
                }
                return recorded;
            }
            Err(error) => error,
        };
        warn!("ignored {}: {ignored}", path.display());
        recorded.unreadable = Some(format!("read {}: {ignored}", path.display()));
        recorded
    }

    /// Replaces the file.
    pub(crate) fn save(&self, files: &Files) -> Result<(), FileError> {
        let json = serde_json::to_vec_pretty(self).expect("strings and numbers are valid JSON");
        files.replace(FILE, &json, Durable::Yes)
    }
}
