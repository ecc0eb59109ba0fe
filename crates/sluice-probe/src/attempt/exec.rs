//! `exec` probe: a program must exit with 0.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time;

use crate::outcome::{Context, ProbeError};

/// Maximum number of concurrent programs.
static RUNNING: Semaphore = Semaphore::const_new(32);

/// Maximum of output that is read, in bytes.
const OUTPUT: usize = 4096;

/// How long to read output after the program exited.
const REST: Duration = Duration::from_millis(100);

/// Kills the process group on drop, unless the program exited.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have exited in between.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Waits for a slot to run a program.
pub(super) async fn turn() -> SemaphorePermit<'static> {
    RUNNING.acquire().await.expect("the semaphore is never closed")
}

pub(super) async fn attempt(command: &[String]) -> Result<String, ProbeError> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(ProbeError::Local("run: no command".into()));
    };
    let what = || format!("run {program}");
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).kill_on_drop(true).spawn().context(what).map_err(|failed| {
        // A program that does not start says nothing about the backend.
        let (ProbeError::Remote(text) | ProbeError::Local(text)) = failed;
        ProbeError::Local(text)
    })?;
    let mut group = Group(child.id().map(|id| Pid::from_raw(id as i32)));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = {
        let read = async { tokio::join!(drain(stdout, &mut out), drain(stderr, &mut err)) };
        tokio::pin!(read);
        let status = tokio::select! {
            _ = &mut read => child.wait().await,
            status = child.wait() => {
                // Reads what is left in the pipes; other processes may keep them open.
                let _ = time::timeout(REST, read).await;
                status
            }
        };
        status.context(what)?
    };
    group.0 = None;
    let text = String::from_utf8_lossy(if out.is_empty() { &err } else { &out }).into_owned();
    let line = text.lines().next().map_or(String::new(), |line| format!(": {}", line.trim()));
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(format!("{}: exit status 0{line}", what())),
        (Some(code), _) => Err(ProbeError::Remote(format!("{}: exit status {code}{line}", what()))),
        (None, signal) => {
            Err(ProbeError::Remote(format!("{}: ended by signal {}{line}", what(), signal.unwrap_or(0))))
        }
    }
}

/// Reads until the end and keeps the beginning.
async fn drain(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut piece = [0; OUTPUT];
    // A pipe that cannot be read has no more output.
    while let Ok(length @ 1..) = pipe.read(&mut piece).await {
        kept.extend(&piece[..length.min(OUTPUT - kept.len())]);
    }
}
