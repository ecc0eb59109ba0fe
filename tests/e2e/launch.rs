//! Ways to start `sluiced`: as another user, or after some commands.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use sluice_testkit::{Lab, program};

/// User and group `nobody` and `nogroup` of Debian.
pub(crate) const NOBODY: u32 = 65534;

/// A lab whose directory, which is also the state directory, belongs to the user `nobody`.
pub(crate) fn nobodys() -> Lab {
    let lab = Lab::new();
    fs::set_permissions(lab.path("."), Permissions::from_mode(0o755)).unwrap();
    chown(lab.path("."), Some(NOBODY), Some(NOBODY)).unwrap();
    lab
}

/// `sluiced` as user `nobody`, with the one capability that it requires.
pub(crate) fn sluiced_as_nobody(lab: &Lab) -> PathBuf {
    // In a directory that every user can access.
    fs::copy(program("sluiced"), lab.path("sluiced")).unwrap();
    let user = format!("--reuid {NOBODY} --regid {NOBODY} --clear-groups");
    let capability = "--inh-caps +net_admin --ambient-caps +net_admin --bounding-set -all,+net_admin";
    lab.sluiced_after("", &format!("setpriv --pdeathsig KILL {user} {capability} -- $lab/sluiced"))
}

/// `sluiced` after these commands in its own mount namespace.
pub(crate) fn sluiced_on(lab: &Lab, mounts: &str, sluiced: &str) -> PathBuf {
    let inner = lab.path("inner");
    fs::rename(lab.sluiced_after(mounts, sluiced), &inner).unwrap();
    lab.sluiced_after("", &format!("unshare --mount --propagation private -- {}", inner.display()))
}
