//! `sluice leave` and `sluice join`: the node as a whole.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use sluice_api::{NodeChange, NodeReply, NodeRequest, Status, pluralize};
use sluiced::fatal::Fatal;

use super::backend::{PAUSE, Reason};
use crate::options::Common;
use crate::text::{safe, time};
use crate::{daemon, output};

/// Withdraw all announced addresses, until `sluice join`; traffic that still arrives is served
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct LeaveCommand {
    /// Wait until no backend has live connections, at most for this time, such as 90s, 5m or 1h: then the exit code is 3
    #[arg(long, value_name = "TIME", value_parser = time)]
    wait: Option<Duration>,

    #[command(flatten)]
    reason: Reason,

    /// Print the new state as JSON
    #[arg(long)]
    json: bool,
}

/// Undo `sluice leave`: addresses are announced again when their services have been ready for `announce.hold`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct JoinCommand {
    /// Print the new state as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice leave --wait 10m --reason 'kernel update' && reboot
  sluice join

A node that has left announces no address, and all its services are not ready, for `sluice ready` and `sluice status`. They \
stay in the kernel, so that connections continue and traffic that still arrives is served. `sluice leave` returns \
`announce.withdraw_wait` after the addresses are gone. It stays so over reloads and restarts of the daemon, and over a reboot \
if the `state` directory does. A change that cannot be saved prints a warning.

JSON: docs/cli-json.md has all keys.

Exit codes: 1 if addresses could not be withdrawn, 3 if connections are left after --wait.";

impl LeaveCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let reason = self.reason.reason.clone();
        let reply = change(common, "leave", NodeRequest { change: NodeChange::Leave, reason })?;
        if self.json {
            output::print_json(&reply)?;
        } else {
            let addresses = if reply.withdrawn == 1 { "address" } else { "addresses" };
            output::print(&format!(
                "left: {} {addresses} withdrawn, no service is ready\n",
                reply.withdrawn
            ))?;
        }
        if let Some(why) = &reply.not_withdrawn {
            output::print_error(&format!("sluice: leave: addresses are left: {}", safe(why)));
            return Ok(ExitCode::FAILURE);
        }
        match self.wait {
            Some(time) if !wait(common, time)? => Ok(ExitCode::from(3)),
            _ => Ok(ExitCode::SUCCESS),
        }
    }
}

impl JoinCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let reply = change(common, "join", NodeRequest { change: NodeChange::Join, reason: None })?;
        match self.json {
            true => output::print_json(&reply)?,
            false => output::print("joined: addresses of ready services are announced after the hold\n")?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Has the daemon change the node.
fn change(common: &Common, command: &str, request: NodeRequest) -> Result<NodeReply, Fatal> {
    let socket = common.socket()?;
    let reply = daemon::ask(command, &socket, async |client| client.set_node(&request).await)?;
    if let Some(why) = &reply.not_remembered {
        output::print_error(&format!(
            "warning: {command}: the change is not saved, a restart of sluiced loses it: {}",
            safe(why)
        ));
    }
    Ok(reply)
}

/// Waits until no backend has live connections; `false`: some still have after this time.
fn wait(common: &Common, time: Duration) -> Result<bool, Fatal> {
    let (socket, began) = (common.socket()?, Instant::now());
    loop {
        let status = daemon::ask("leave: live connections", &socket, async |client| client.status().await)?;
        let left = active(&status);
        if left == Some(0) {
            return Ok(true);
        }
        if began.elapsed() >= time {
            let live = match left {
                Some(left) => format!("{} left", pluralize(left as usize, "live connection")),
                None => "connections cannot be counted".to_owned(),
            };
            output::print_error(&format!("sluice: leave: {live}"));
            return Ok(false);
        }
        thread::sleep(PAUSE);
    }
}

/// Live connections of all backends; `None`: they cannot be counted.
fn active(status: &Status) -> Option<u64> {
    status.services.iter().flat_map(|service| &service.backends).map(|backend| backend.active).sum()
}
