//! Host diagnostics: [`Facts`] is what the host is like, and [`findings`] derives findings from it.
//!
//! `facts`, `routes`, `tables`, `sockets` and `units` read; `checks`, `network`, `conflicts` and `companions` derive; `peers`
//! does both for programs of other nodes. `rules` evaluates rules of other tables for the packets of `flows`, and `precedence`
//! says which of two NAT chains wins.

mod announced;
mod checks;
mod companions;
mod conflicts;
mod facts;
mod findings;
mod flows;
mod network;
mod peers;
mod precedence;
mod routes;
mod rules;
mod run;
mod sockets;
mod tables;
mod units;

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

pub(crate) use checks::{findings, probed_by_sctp};
pub(crate) use facts::Facts;
pub(crate) use precedence::{Conflict, also_translated, conflicts};
pub(crate) use rules::{End, Hook, Packet};
pub(crate) use tables::Tables;

/// A setting that breaks services, or may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Severity.
    pub(crate) severity: Severity,
    /// The setting and its effect.
    pub(crate) finding: String,
    /// The command that fixes it; `null`: none.
    pub(crate) command: Option<String>,
}

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// A service does not work.
    Error,
    /// A service may stop working, or fails for some clients.
    Warning,
    /// Expected on many hosts, but not on all.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity, self.finding)?;
        self.command.iter().try_for_each(|command| writeln!(f, "    {command}"))
    }
}

/// Findings with everything in them.
#[cfg(test)]
pub(crate) fn examples() -> Vec<serde_json::Value> {
    let findings = [(Severity::Error, Some("sysctl")), (Severity::Warning, None), (Severity::Note, None)];
    let finding = |(severity, command): (Severity, Option<&str>)| {
        let command = command.map(str::to_owned);
        serde_json::to_value(Finding { severity, finding: "f".into(), command }).unwrap()
    };
    findings.map(finding).into()
}
