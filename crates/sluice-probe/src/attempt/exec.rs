//! A program exits with 0.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::outcome::{Failed, While};

/// Programs that run at a time.
static RUNNING: Semaphore = Semaphore::const_new(32);

/// Most of its output that is looked at.
const OUTPUT: u64 = 4096;

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

pub(super) async fn attempt(command: &[String]) -> Result<String, Failed> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failed::Here("run: no command".into()));
    };
    let what = || format!("run {program}");
    let _turn = RUNNING.acquire().await;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).kill_on_drop(true).spawn().during(what).map_err(|failed| {
        // Whatever keeps a program from starting, it is not the backend.
        let (Failed::There(text) | Failed::Here(text)) = failed;
        Failed::Here(text)
    })?;
    let group = child.id().map(|id| Pid::from_raw(id as i32));
    let mut group = Group(group);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = async {
        if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
            let (mut stdout, mut stderr) = (stdout.take(OUTPUT), stderr.take(OUTPUT));
            let _ = tokio::join!(stdout.read_to_end(&mut out), stderr.read_to_end(&mut err));
        }
    };
    read.await;
    let status = child.wait().await.during(what)?;
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
