//! A program exits with 0.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time;

use crate::outcome::{Failed, While};

/// Programs that run at a time.
static RUNNING: Semaphore = Semaphore::const_new(32);

/// Most of its output that is looked at.
const OUTPUT: usize = 4096;

/// How long its output is read for after its end.
const REST: Duration = Duration::from_millis(100);

/// Kills a process group when dropped, unless it has ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended just now.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Waits for a turn to run a program.
pub(super) async fn turn() -> SemaphorePermit<'static> {
    RUNNING.acquire().await.expect("it is never closed")
}

pub(super) async fn attempt(command: &[String]) -> Result<String, Failed> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failed::Here("run: no command".into()));
    };
    let what = || format!("run {program}");
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).kill_on_drop(true).spawn().during(what).map_err(|failed| {
        // Whatever keeps a program from starting, it is not the backend.
        let (Failed::There(text) | Failed::Here(text)) = failed;
        Failed::Here(text)
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
                // What it has left in the pipes; somebody else may hold them open.
                let _ = time::timeout(REST, read).await;
                status
            }
        };
        status.during(what)?
    };
    group.0 = None;
    let text = String::from_utf8_lossy(if out.is_empty() { &err } else { &out }).into_owned();
    let line = text.lines().next().map_or(String::new(), |line| format!(": {}", line.trim()));
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(format!("{}: exit status 0{line}", what())),
        (Some(code), _) => Err(Failed::There(format!("{}: exit status {code}{line}", what()))),
        (None, signal) => {
            Err(Failed::There(format!("{}: ended by signal {}{line}", what(), signal.unwrap_or(0))))
        }
    }
}

/// Reads to the end and keeps the beginning.
async fn drain(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut piece = [0; OUTPUT];
    // A pipe that can't be read has no more to say.
    while let Ok(length @ 1..) = pipe.read(&mut piece).await {
        kept.extend(&piece[..length.min(OUTPUT - kept.len())]);
    }
}
