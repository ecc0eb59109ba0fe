//! `exec` probe: a program must exit with 0.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};
use sluice_core::model::ExecProbe;
use sluice_netlink::programs::{Capabilities, restrict};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe::Receiver;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time;

use crate::outcome::{Context, ProbeError};
use crate::slots::{Slot, Slots};

/// Maximum of output that is read, in bytes.
const OUTPUT: usize = 4096;

/// How long to read output after the program exited.
const REST: Duration = Duration::from_millis(100);

/// The search path of a daemon that has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A started program, and its output.
pub(super) struct Started {
    program: Program,
    stdout: Receiver,
    stderr: Receiver,
}

/// A program in a process group of its own. On drop all processes of the group are killed.
struct Program(Arc<Leader>);

/// The leader of a process group. It is reaped last, so that no other group gets its id.
struct Leader {
    group: Pid,
    /// Readable when the program has exited.
    exited: Receiver,
    /// Freed when the process is gone: one in an uninterruptible system call outlives its signal.
    _slot: Slot,
}

/// Starts a program with these variables in its environment when a slot is free.
pub(super) async fn start(
    program: &ExecProbe,
    environment: &[(&'static str, String)],
    slots: &Slots,
) -> Result<Started, ProbeError> {
    let slot = slots.take().await;
    let (to_start, environment) = (program.clone(), environment.to_vec());
    // Starting a program copies the page tables of this process, and reads files.
    let started = spawn_blocking(move || spawn(&to_start, environment, slot)).await.map_err(io::Error::other);
    started.flatten().context(|| what(program))
}

/// `run /usr/lib/sluice/check`
pub(super) fn what(program: &ExecProbe) -> String {
    format!("run {}", program.command.first().map_or("", String::as_str))
}

/// Waits until a program exits.
pub(super) async fn attempt(probe: &ExecProbe, started: Started) -> Result<String, ProbeError> {
    let what = || what(probe);
    let Started { program, stdout, stderr } = started;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = {
        let read = async { tokio::join!(drain(stdout, &mut out), drain(stderr, &mut err)) };
        tokio::pin!(read);
        tokio::select! {
            _ = &mut read => program.status().await,
            status = program.status() => {
                program.kill();
                // Reads what is left in the pipes; processes that left the group may keep them open.
                let _ = time::timeout(REST, read).await;
                status
            }
        }
    };
    let text = String::from_utf8_lossy(if out.is_empty() { &err } else { &out }).into_owned();
    let line = text.lines().next().map_or(String::new(), |line| format!(": {}", line.trim()));
    match status.context(what)? {
        WaitStatus::Exited(_, 0) => Ok(format!("{}: exit status 0{line}", what())),
        WaitStatus::Exited(_, code) => {
            Err(ProbeError::Remote(format!("{}: exit status {code}{line}", what())))
        }
        WaitStatus::Signaled(_, signal, _) => {
            Err(ProbeError::Remote(format!("{}: ended by signal {}{line}", what(), signal as i32)))
        }
        _ => Err(ProbeError::Local(format!("{}: unexpected wait status", what()))),
    }
}

/// Starts a program without privileges and without the environment of the daemon, which contains its sockets to systemd.
fn spawn(
    ExecProbe { command, keep_capabilities }: &ExecProbe,
    environment: Vec<(&'static str, String)>,
    slot: Slot,
) -> io::Result<Started> {
    let (program, arguments) = command.split_first().ok_or_else(|| io::Error::other("no command"))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let path = env::var_os("PATH").unwrap_or_else(|| OsString::from(PATH));
    command.env_clear().env("PATH", path).env("LANG", "C").envs(environment).process_group(0);
    restrict(&mut command, if *keep_capabilities { Capabilities::Keep } else { Capabilities::Drop });
    let mut child = command.spawn()?;
    let (group, pid) = (Pid::from_raw(child.id() as i32), rustix::process::Pid::from_child(&child));
    let exited = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from);
    // Nothing is read from it: tokio's type for pipes is the safe one that waits for any descriptor.
    let exited = exited.and_then(Receiver::from_owned_fd_unchecked);
    let program = match exited {
        Ok(exited) => Program(Arc::new(Leader { group, exited, _slot: slot })),
        Err(error) => {
            let _ = killpg(group, Signal::SIGKILL);
            let _ = child.wait();
            return Err(error);
        }
    };
    let gone = || io::Error::other("it has no output");
    let (stdout, stderr) = (child.stdout.take().ok_or_else(gone)?, child.stderr.take().ok_or_else(gone)?);
    let (stdout, stderr) = (Receiver::from_owned_fd(stdout.into())?, Receiver::from_owned_fd(stderr.into())?);
    Ok(Started { program, stdout, stderr })
}

impl Program {
    /// Waits until the program exits.
    async fn status(&self) -> io::Result<WaitStatus> {
        self.0.wait(WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).await
    }

    /// Kills what is left of the group.
    fn kill(&self) {
        // It fails if nothing is left.
        let _ = killpg(self.0.group, Signal::SIGKILL);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        let leader = self.0.clone();
        // Without a runtime, the daemon is about to exit.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { leader.wait(WaitPidFlag::WEXITED).await });
        }
    }
}

impl Leader {
    async fn wait(&self, flags: WaitPidFlag) -> io::Result<WaitStatus> {
        self.exited.readable().await?;
        Ok(waitid(Id::PIDFd(self.exited.as_fd()), flags)?)
    }
}

/// Reads until the end and keeps the beginning.
async fn drain(mut pipe: impl AsyncRead + Unpin, kept: &mut Vec<u8>) {
    let mut piece = [0; OUTPUT];
    // A pipe that cannot be read has no more output.
    while let Ok(length @ 1..) = pipe.read(&mut piece).await {
        kept.extend(&piece[..length.min(OUTPUT - kept.len())]);
    }
}
