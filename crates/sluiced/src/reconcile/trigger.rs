//! [`Trigger`]: the cause of a round.

use std::fmt;

/// The cause of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The daemon starts.
    Start,
    /// The configuration was reloaded.
    Reload,
    /// Another program changed the table, or may have changed it.
    Foreign,
    /// Backends became eligible or ineligible because of their health.
    Health,
    /// An operator changed an override.
    Operator,
    /// Shares changed with the load, or by a step of slow start.
    Load,
    /// Interfaces or addresses of the host changed.
    Networks,
    /// The refresh interval has passed.
    Refresh,
    /// The last round failed.
    Retry,
}

impl Trigger {
    /// Whether the round must read the kernel even if the table is known.
    pub(crate) fn reads_kernel(self) -> bool {
        matches!(self, Trigger::Start | Trigger::Foreign | Trigger::Refresh | Trigger::Retry)
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trigger::Start => "start",
            Trigger::Reload => "reload",
            Trigger::Health => "health",
            Trigger::Operator => "operator",
            Trigger::Load => "load",
            Trigger::Networks => "interfaces",
            Trigger::Foreign => "foreign change",
            Trigger::Refresh => "refresh",
            Trigger::Retry => "retry",
        })
    }
}
