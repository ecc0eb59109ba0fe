//! Measures the memory of the daemon.

use std::fs;
use std::time::Duration;

use anyhow::{Context, anyhow};
use comfy_table::Table;
use sluice_testkit::{Daemon, Lab};

use super::figures;
use super::generate::Case;

/// Maximum delay with which allocators return free memory.
const SETTLE: Duration = Duration::from_secs(12);

/// Resident memory in MiB when the daemon is idle, and its maximum so far.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) resident: f64,
    most: f64,
}

/// Measurements in order.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    start: Usage,
    status: Usage,
    reload: Usage,
}

impl Memory {
    /// Starts `sluiced` with a configuration in a network namespace, requests its status, and reloads the
    /// unchanged file.
    pub(crate) fn of_daemon(config: &str) -> anyhow::Result<Memory> {
        let lab = Lab::with_backends(0);
        let mut daemon = lab.start(config);
        let start = Usage::of(&daemon)?;
        lab.sluice(&["status", "--json"]).expect(0);
        let status = Usage::of(&daemon)?;
        daemon.hang_up();
        let reload = Usage::of(&daemon)?;
        daemon.stop();
        Ok(Memory { start, status, reload })
    }

    /// The maximum of the idle resident memory.
    pub(crate) fn resident(self) -> f64 {
        [self.start, self.status, self.reload].map(|usage| usage.resident).into_iter().fold(0.0, f64::max)
    }

    pub(crate) fn table(self, case: Case) -> Table {
        let mut table = figures::table(&["daemon", "resident", "max so far"], 1);
        for (moment, Usage { resident, most }) in
            [("started", self.start), ("asked for its status", self.status), ("reloaded", self.reload)]
        {
            table.add_row([
                format!("{case}: {moment}"),
                format!("{resident:.0} MiB"),
                format!("{most:.0} MiB"),
            ]);
        }
        table
    }
}

impl Usage {
    fn of(daemon: &Daemon<'_>) -> anyhow::Result<Self> {
        std::thread::sleep(SETTLE);
        let path = format!("/proc/{}/status", daemon.pid());
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let mebibytes = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            number.map(|kibibytes| kibibytes / 1024.0).ok_or_else(|| anyhow!("no {key} in {path}"))
        };
        Ok(Usage { resident: mebibytes("VmRSS")?, most: mebibytes("VmHWM")? })
    }
}
