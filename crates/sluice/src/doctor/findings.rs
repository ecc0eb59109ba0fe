//! The list of findings, and how they name things.

use sluice_core::model::{Config, Service, ServiceName};

use super::{Finding, Severity};
use crate::text::safe;

/// Findings so far.
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    /// Names of interfaces, tables and programs are untrusted: control characters are escaped, and a command with shell
    /// metacharacters is left out.
    pub(super) fn add(&mut self, severity: Severity, finding: impl Into<String>, command: Option<String>) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || " ._-/:=[]".contains(c);
        let command = command.filter(|command| command.chars().all(is_plain));
        self.0.push(Finding { severity, finding: safe(&finding.into()).into_owned(), command });
    }
}

/// Enabled services.
pub(super) fn enabled(config: &Config) -> impl Iterator<Item = (&ServiceName, &Service)> {
    config.services.iter().filter(|(_, service)| service.enabled)
}

/// Up to three names, and the number of others.
pub(super) fn names<T: ToString>(all: &[T]) -> String {
    let some: Vec<_> = all.iter().take(3).map(T::to_string).collect();
    match all.len() - some.len() {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

/// The command that sets a sysctl, by path: names of interfaces may contain dots.
pub(super) fn set(path: &str, value: u64) -> String {
    format!("sysctl -w {path}={value}")
}
