//! Restrictions of the programs that this process starts.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use rustix::process::{geteuid, getpriority_process, getuid, setpriority_process};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// The limits of open files, soft and hard, before this process raised its own.
static INHERITED: OnceLock<(rlim_t, rlim_t)> = OnceLock::new();

/// Raises the limit of open files of this process to its maximum. Programs that [`restrict`] applies to start with the
/// previous limit, because some close every possible descriptor, and select(2) works only with small ones.
///
/// # Errors
/// If the system refuses it.
pub fn raise_open_files() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    INHERITED.get_or_init(|| (soft, hard));
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// What a program gets of the capabilities of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capabilities {
    /// What execve(2) leaves: as root all of them, as another user the ambient ones.
    Keep,
    /// None, and no way to gain any, also as root.
    Drop,
}

/// Makes a program start with these capabilities, with the inherited limit of open files, and with no more than the usual
/// priority.
pub fn restrict(command: &mut Command, capabilities: Capabilities) {
    let open_files = INHERITED.get().copied();
    // SAFETY: the closure runs between fork and exec. It makes only system calls: it allocates nothing, takes no
    // locks, and does not panic.
    unsafe {
        command.pre_exec(move || {
            if let Some((soft, hard)) = open_files {
                setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
            }
            if getpriority_process(None)? < 0 {
                setpriority_process(None, 0)?;
            }
            match capabilities {
                Capabilities::Keep => Ok(()),
                Capabilities::Drop => drop_capabilities(),
            }
        });
    }
}

fn drop_capabilities() -> io::Result<()> {
    // Without it, exec would give root all capabilities of the bounding set, and others those of the file.
    set_no_new_privs(true)?;
    // This takes CAP_SETPCAP; without it the line above is sufficient. The kernel refuses numbers beyond the last one.
    let mut all = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
    let _ = all.try_for_each(remove_capability_from_bounding_set);
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let dropped =
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none });
    // exec drops the permitted capabilities of other users. The unit's system call filter refuses this call.
    if getuid().is_root() || geteuid().is_root() {
        dropped?;
    }
    Ok(())
}
