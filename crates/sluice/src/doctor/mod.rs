//! What on this host breaks the services: facts of the host (`facts`), and what follows from them (`checks`).

mod checks;
mod facts;
mod foreign;
mod sockets;

use std::fmt;

use serde::Serialize;

pub(crate) use checks::findings;
pub(crate) use facts::Facts;

/// Something that breaks services, or may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) severity: Severity,
    /// What is so, and what follows.
    pub(crate) finding: String,
    /// The command that mends it; `null`: there is none.
    pub(crate) command: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Some service does not work.
    Error,
    /// One may stop working, or for some clients.
    Warning,
    /// As it should be in many places, not in all.
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
