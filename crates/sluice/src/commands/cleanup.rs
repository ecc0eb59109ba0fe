//! `sluice cleanup`: as if we had never been here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use sluice_api::DEFAULT_SOCKET;
use sluice_core::model::Services;
use sluice_netlink::Proc;
use sluiced::claim::Claim;
use sluiced::fatal::Fatal;
use sluiced::reconcile::Reconciler;
use sluiced::sysctls::Sysctls;

use crate::args::Common;
use crate::progress::Progress;
use crate::{config, daemon, kernel, output};

/// Remove everything sluice has put in the kernel
///
/// Removes table `inet sluice`, and puts forwarding back to what it was if sluice switched it on. Connections that were
/// translated go on only where another table has NAT rules, such as docker's; where this was the only one, they are not
/// translated any more, and are reset or hang. Needs CAP_NET_ADMIN.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Cleanup {}

const AFTER_HELP: &str = "\
Examples:
  systemctl stop sluiced && sluice cleanup
  sluice cleanup -c sluice.yaml     a configuration with a state directory of its own

Refuses while a daemon runs, for it would put everything back. Where there is no configuration file, the \
defaults count.";

impl Cleanup {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let (socket, state) = places(common.config(None))?;
        output::log();
        let state = daemon::exclude(common.socket_or(&socket), &state, "stop it first")?;
        let _claim = Claim::take()?;
        let progress = Progress::of("cleanup: removing");
        Reconciler::new(kernel::look()?).remove(&Services::new()).map_err(kernel::refused)?;
        Sysctls::new(Proc::default(), state).put_back();
        drop(progress);
        output::print("nothing of sluice is left in the kernel\n")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Control socket and state directory. Without a file those of the defaults: it may be gone with the package.
fn places(config: &Path) -> Result<(PathBuf, PathBuf), Fatal> {
    if let Ok(false) = config.try_exists() {
        let socket = Path::new(DEFAULT_SOCKET);
        return Ok((socket.to_owned(), socket.parent().unwrap_or(socket).to_owned()));
    }
    let config = config::load(config)?.config;
    Ok((config.control.socket, config.state))
}
