//! `sluice cleanup`: as if we had never been here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use sluice_api::DEFAULT_SOCKET;
use sluice_config::Loaded;
use sluice_core::flows::Affected;
use sluice_core::model::Services;
use sluice_netlink::Proc;
use sluiced::conntrack::cleaner;
use sluiced::fatal::Fatal;
use sluiced::reconcile::Reconciler;
use sluiced::state::sysctls::Sysctls;

use crate::args::Common;
use crate::progress::Progress;
use crate::text::safe;
use crate::{config, daemon, kernel, output};

/// Remove everything sluice has put in the kernel
///
/// Removes table `inet sluice`, and puts forwarding back to what it was if sluice switched it on. UDP flows that were
/// translated are forgotten, so that their clients no longer reach a backend. Established connections go on only where
/// another table has NAT rules, such as docker's; where this was the only one, they are not translated any more, and
/// are reset or hang. Needs CAP_NET_ADMIN.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Cleanup {
    /// State directory, instead of the one that the configuration file names
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  systemctl stop sluiced && sluice cleanup
  sluice cleanup -c sluice.yaml     a configuration with a state directory of its own

Refuses while a daemon runs, for it would put everything back. Where there is no configuration file, or one that cannot \
be read, the defaults count, and what --socket and --state say.

Exit codes: 1 if something is left, which is named.";

impl Cleanup {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let (socket, state) = places(common.config(None));
        let state = self.state.as_ref().unwrap_or(&state);
        output::log();
        let (state, _claim) = daemon::exclude(common.socket_or(&socket), state, "stop it first")?;
        let progress = Progress::of("cleanup: removing");
        let mut reconciler = Reconciler::new(kernel::look()?);
        let found = reconciler.find();
        let removed = daemon::run(reconciler.remove(&Services::new()))?;
        if removed.is_ok() {
            cleaner::settle(Affected::at_start(&Services::new(), found), Arc::default());
        }
        // Whatever became of the table.
        let mut sysctls = Sysctls::new(Proc::default(), state);
        let mut left = sysctls.put_back();
        left.extend(sysctls.doubtful());
        drop(progress);
        left.iter().for_each(|line| output::complain(&format!("left: {}", safe(line))));
        removed.map_err(kernel::refused)?;
        if !left.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
        output::print("nothing of sluice is left in the kernel\n")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Control socket and state directory. Without a file those of the defaults: it may be gone with the package, or be
/// what is wrong.
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
            output::complain(&problems.to_string());
            let (socket, state) = defaults();
            let (socket, state) = (socket.display(), state.display());
            output::complain(&format!(
                "warning: went on with {socket} and {state} (name others with --socket and --state)"
            ));
            defaults()
        }
    }
}
