//! Chains: where rules live, and where the kernel calls them.

use std::fmt;

use crate::Rule;

/// Where the kernel calls a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Packets that arrive.
    Prerouting,
    /// Packets that pass through.
    Forward,
    /// Packets of local processes.
    Output,
    /// Packets that leave.
    Postrouting,
    /// Read from the kernel, never written: another hook, another type or policy.
    Foreign,
}

impl Hook {
    /// nft's keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            Hook::Prerouting => "prerouting",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
            Hook::Foreign => "foreign",
        }
    }

    /// Type of our chains there, as nft and the kernel call it.
    pub fn kind(self) -> &'static str {
        if self == Hook::Forward { "filter" } else { "nat" }
    }

    /// `NF_INET_*`; `None` for a foreign one.
    pub fn number(self) -> Option<u32> {
        match self {
            Hook::Prerouting => Some(0),
            Hook::Forward => Some(2),
            Hook::Output => Some(3),
            Hook::Postrouting => Some(4),
            Hook::Foreign => None,
        }
    }
}

/// What makes a chain a base chain: where and when; `type filter` at forward, `type nat` elsewhere; policy accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base {
    /// Where.
    pub hook: Hook,
    /// When, among the chains of that hook; lower is earlier.
    pub priority: i32,
}

impl Base {
    /// Translation of destinations of packets that arrive (`NF_IP_PRI_NAT_DST`).
    pub const PREROUTING: Base = Base { hook: Hook::Prerouting, priority: -100 };
    /// Filtering of packets that pass through (`NF_IP_PRI_FILTER`).
    pub const FORWARD: Base = Base { hook: Hook::Forward, priority: 0 };
    /// Translation of destinations of packets of local processes.
    pub const OUTPUT: Base = Base { hook: Hook::Output, priority: -100 };
    /// Translation of sources (`NF_IP_PRI_NAT_SRC`).
    pub const POSTROUTING: Base = Base { hook: Hook::Postrouting, priority: 100 };
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type {} hook {} priority ", self.hook.kind(), self.hook.keyword())?;
        // nft 1.0.6 knows `dstnat` only at prerouting and `srcnat` only at postrouting.
        match *self {
            Base::PREROUTING => f.write_str("dstnat")?,
            Base::POSTROUTING => f.write_str("srcnat")?,
            Base::FORWARD => f.write_str("filter")?,
            Base { priority, .. } => write!(f, "{priority}")?,
        }
        f.write_str("; policy accept;")
    }
}

/// A chain of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// `None`: reached only by `goto` and `jump`.
    pub base: Option<Base>,
    /// Rules in order.
    pub rules: Vec<Rule>,
}
