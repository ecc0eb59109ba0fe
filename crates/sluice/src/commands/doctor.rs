//! `sluice doctor`: host settings that break services.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use sluice_api::Timestamp;
use sluice_core::model::{Address, Config};
use sluice_netlink::Proc;
use sluiced::fatal::Fatal;

use crate::doctor::{Facts, Severity, findings, probed_by_sctp};
use crate::options::Common;
use crate::progress::Progress;
use crate::{config, daemon, output};

/// Find settings of this host that break services
///
/// Checks forwarding, rules of other tables, routes, addresses, rp_filter, bridges, connection tracking, and the daemon if
/// it runs. Each finding has its effect and a command: it fixes the cause until the next reboot, or until the firewall or
/// network service restarts, or shows more. Changes nothing. Works with and without the daemon.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DoctorCommand {
    /// Configuration file with the services to check
    file: Option<PathBuf>,

    /// Least severity for which the exit code is 3
    #[arg(long, value_name = "SEVERITY", default_value = "note")]
    fail_on: Severity,

    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice doctor
  sluice doctor --fail-on=warning
  sluice doctor --json | jq -r '.[] | select(.severity == \"error\") | .command'

JSON: [{ \"severity\": error, warning or note, \"finding\": sentence, \"command\": text or null }]

Exits with 3 if there are findings of the severity of --fail-on or above; by default notes count, too.";

/// Printed below the commands.
const NOT_PERSISTENT: &str = "\
These commands change the running system only: a reboot, or a restart of the firewall or network service, undoes them.
To make a change permanent, put it into /etc/sysctl.d or the configuration of the firewall or network service.
";

impl DoctorCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let config = config::load(common.config(self.file.as_ref()))?.config;
        let socket = common.socket_or(&config.control.socket);
        let status = daemon::ask_if_running("doctor", socket, async |client| client.status().await);
        let (status, silent) = match status {
            Ok(status) => (status, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let addresses = addresses(&config);
        let progress = Progress::of("doctor: checking the host");
        let mut facts = Facts::gather(&Proc::default(), &addresses, status);
        facts.blind.extend(silent);
        facts.has_sctp = probed_by_sctp(&config).next().map(|_| sluice_probe::has_sctp());
        let findings = findings(&config, &facts, Timestamp::now());
        drop(progress);
        match self.json {
            true => output::print_json(&findings)?,
            false if findings.is_empty() => output::print("no findings\n")?,
            false => {
                findings.iter().try_for_each(|finding| output::print(&finding.to_string()))?;
                if findings.iter().any(|finding| finding.command.is_some()) {
                    output::print(NOT_PERSISTENT)?;
                }
            }
        }
        // From error to note.
        let fails = findings.iter().any(|finding| finding.severity <= self.fail_on);
        Ok(ExitCode::from(if fails { 3 } else { 0 }))
    }
}

/// Addresses of listeners and backends that are in use.
fn addresses(config: &Config) -> Vec<IpAddr> {
    let mut addresses = BTreeSet::new();
    for service in config.services.values().filter(|service| service.enabled) {
        addresses.extend(service.backends.iter().map(|backend| backend.address));
        addresses.extend(service.listeners.iter().filter_map(|listener| match listener.address {
            Address::Exact(address) => Some(address),
            Address::Any => None,
        }));
    }
    addresses.into_iter().collect()
}
