//! `sluice apply`: applies a configuration once, without the daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use sluice_core::flows::Affected;
use sluice_core::model::Transition;
use sluice_core::model::{Config, EffectiveServices, Initial, Service, Services};
use sluice_core::pool;
use sluice_netlink::Proc;
use sluiced::conntrack::cleaner;
use sluiced::fatal::{Exit, Fatal};
use sluiced::reconcile::forwarding::{self, versions};
use sluiced::reconcile::{Outcome, Reconciler, Trigger};
use sluiced::state::sysctls::Sysctls;

use crate::options::Common;
use crate::progress::Progress;
use crate::{config, daemon, kernel, output};

/// Apply the configuration once, without the daemon
///
/// Enables IP forwarding as configured, commits the ruleset, and verifies it. The ruleset stays until `sluice cleanup` or
/// a reboot. Without the daemon nothing repairs it, and backends are not probed: those with `initial: down`, and backups,
/// get no connections. Needs CAP_NET_ADMIN.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ApplyCommand {
    /// Configuration file
    file: Option<PathBuf>,

    /// Print what changed as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice apply sluice.yaml
  sluice plan sluice.yaml; [ $? -eq 3 ] && sluice apply sluice.yaml

JSON: { \"added\": number, \"changed\": number, \"removed\": number }

Fails while the daemon runs: use `sluice reload` instead.";

#[derive(Default, Serialize)]
struct ApplyReport {
    added: usize,
    changed: usize,
    removed: usize,
}

impl ApplyCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let config = config::load(common.config(self.file.as_ref()))?.config;
        let Config { forwarding: mode, state, control, services, .. } = config;
        output::log();
        // Without the capability, this is the error, and not that the state directory belongs to another user.
        kernel::look()?;
        let (state, _namespace_lock) = daemon::exclude(
            common.socket_or(&control.socket),
            &state,
            "use `sluice reload`, or stop it first",
        )?;
        let mut reconciler = Reconciler::new(kernel::open()?);
        // Holds the lock on the state directory until the end.
        let mut sysctls = Sysctls::new(Proc::default(), state);
        let versions = versions(&*services);
        daemon::run(forwarding::ensure(&mut sysctls, mode, &versions))?.map_err(|error| {
            let exit = if error.is_permission() { Exit::Permission } else { Exit::Runtime };
            let hint = error.hint();
            Fatal::new(exit, error, hint)
        })?;
        let progress = Progress::of("apply: updating the kernel");
        let networks = kernel::networks()?;
        let nothing = Services::new();
        let at_start = pool::at_start(&services);
        for (name, _) in at_start.iter().filter(|(_, service)| is_waiting(service)) {
            output::print_error(&format!(
                "sluice: {name}: no backend gets connections: all wait for their first probe (initial: down), and only sluiced probes"
            ));
        }
        let transition = Transition::between(
            &nothing,
            EffectiveServices::new(&services, &at_start).with_networks(&networks),
        );
        let outcome =
            daemon::run(reconciler.round(Trigger::Start, &transition))?.map_err(kernel::unfinished)?;
        while let Some(eviction) = reconciler.begin_eviction(transition.desired) {
            let ended = reconciler.end_eviction(transition.desired, eviction.read());
            daemon::run(ended)?.map_err(kernel::unfinished)?;
        }
        cleaner::sweep_once(Affected::at_start(&services, reconciler.take_found()), services);
        drop(progress);
        match self.json {
            true => output::print_json(&ApplyReport::of(&outcome))?,
            false => output::print(&format!("{outcome}\n"))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether no backend is eligible because all wait for their first probe.
fn is_waiting(service: &Service) -> bool {
    let waits = service.health.as_ref().is_some_and(|check| check.initial == Initial::Down);
    service.enabled && waits && service.backends.iter().all(|backend| backend.weight == 0)
}

impl ApplyReport {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Unchanged => ApplyReport::default(),
            Outcome::Changed { summary, .. } => {
                ApplyReport { added: summary.added, changed: summary.changed, removed: summary.removed }
            }
        }
    }
}

/// A report with everything in it.
#[cfg(test)]
pub(crate) fn examples() -> Vec<serde_json::Value> {
    vec![serde_json::to_value(ApplyReport { added: 1, changed: 2, removed: 3 }).unwrap()]
}
