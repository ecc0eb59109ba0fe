//! `sluice cleanup`: removes the ruleset and restores sysctls.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use sluice_api::DEFAULT_SOCKET;
use sluice_config::Loaded;
use sluice_core::flows::Affected;
use sluice_core::model::Services;
use sluice_netlink::{Addresses, Proc};
use sluiced::announce;
use sluiced::conntrack::cleaner;
use sluiced::fatal::Fatal;
use sluiced::reconcile::Reconciler;
use sluiced::state::sysctls::Sysctls;

use crate::options::Common;
use crate::progress::Progress;
use crate::text::safe;
use crate::{config, daemon, kernel, output};

/// Remove everything that sluice has put into the kernel
///
/// Removes table `inet sluice` and the announced addresses of services, and restores IP forwarding if sluice enabled it. Deletes the conntrack entries of
/// translated UDP flows, so that their clients no longer reach a backend. Established connections continue only if
/// another table has NAT rules, such as docker's; otherwise the kernel stops translating them, and they are reset or
/// hang. Needs CAP_NET_ADMIN.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CleanupCommand {
    /// State directory [default: `state` of the configuration file]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  systemctl stop sluiced && sluice cleanup
  sluice cleanup -c sluice.yaml     with the state directory of another configuration

Fails while the daemon runs, which would restore everything. If the configuration file is missing or invalid, the defaults \
are used, or --socket and --state.

Exit codes: 1 if something is left; each remainder is listed.";

impl CleanupCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let (socket, state) = places(common.config(None));
        let state = self.state.as_ref().unwrap_or(&state);
        output::log();
        let netlink = kernel::look()?;
        let (state, _namespace_lock) = daemon::exclude(common.socket_or(&socket), state, "stop it first")?;
        let progress = Progress::of("cleanup: removing");
        // Before the table, as at a stop.
        let addresses_left = match Addresses::open() {
            Ok(mut addresses) => announce::remove_all(&mut addresses),
            Err(error) => vec![format!("addresses of services: open a netlink socket: {error}")],
        };
        let mut reconciler = Reconciler::new(netlink);
        let found = reconciler.read_found();
        let removed = daemon::run(reconciler.remove())?;
        if removed.is_ok() {
            cleaner::sweep_once(Affected::at_start(&Services::new(), found), Arc::default());
        }
        // Also if the table could not be removed.
        let mut sysctls = Sysctls::new(Proc::default(), state);
        let mut left = daemon::run(sysctls.restore())?;
        left.extend(sysctls.doubtful());
        left.extend(addresses_left);
        drop(progress);
        left.iter().for_each(|line| output::print_error(&format!("left: {}", safe(line))));
        removed.map_err(kernel::refused)?;
        if !left.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
        output::print("removed: table inet sluice and announced addresses; sysctls are restored\n")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Control socket and state directory: the defaults if the file is missing, as after removing the package, or invalid.
fn places(config: &Path) -> (PathBuf, PathBuf) {
    let defaults = || {
        let socket = Path::new(DEFAULT_SOCKET);
        (socket.to_owned(), socket.parent().unwrap_or(socket).to_owned())
    };
    if let Ok(false) = config.try_exists() {
        return defaults();
    }
    match config::load(config) {
        Ok(Loaded { config, .. }) => (config.control.socket, config.state),
        Err(problems) => {
            output::print_error(&problems.to_string());
            let (socket, state) = defaults();
            let (socket, state) = (socket.display(), state.display());
            output::print_error(&format!(
                "warning: using {socket} and {state} (override with --socket and --state)"
            ));
            defaults()
        }
    }
}
