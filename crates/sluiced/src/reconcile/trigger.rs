//! Why a round takes place.

use std::fmt;

/// Why a round takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The daemon starts.
    Start,
    /// The configuration was read again.
    Reload,
    /// Somebody else changed the table, or may have.
    Foreign,
    /// Backends became able to take new flows, or no longer.
    Health,
    /// An operator said so.
    Operator,
    /// Shares follow the load, or time.
    Load,
    /// The host has other interfaces or addresses.
    Networks,
    /// It is time to look.
    Refresh,
    /// The round before failed.
    Retry,
}

impl Trigger {
    /// Whether the kernel has to be read, whatever is known of it.
    pub(crate) fn looks(self) -> bool {
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
