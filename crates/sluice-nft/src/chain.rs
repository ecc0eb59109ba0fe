//! Chains: where rules live, and where the kernel calls them.

use std::fmt;

use crate::Rule;

/// Where the kernel calls a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Packets that arrive.
    Prerouting,
    /// Packets of local processes.
    Output,
    /// Packets that leave.
    Postrouting,
}

impl Hook {
    /// nft's keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            Hook::Prerouting => "prerouting",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        }
    }

    /// `NF_INET_*`.
    pub fn number(self) -> u32 {
        match self {
            Hook::Prerouting => 0,
            Hook::Output => 3,
            Hook::Postrouting => 4,
        }
    }
}

/// What makes a chain a base chain: `type nat`, policy accept.
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
    /// Translation of destinations of packets of local processes.
    pub const OUTPUT: Base = Base { hook: Hook::Output, priority: -100 };
    /// Translation of sources (`NF_IP_PRI_NAT_SRC`).
    pub const POSTROUTING: Base = Base { hook: Hook::Postrouting, priority: 100 };
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type nat hook {} priority ", self.hook.keyword())?;
        // nft 1.0.6 knows `dstnat` only at prerouting and `srcnat` only at postrouting.
        match *self {
            Base::PREROUTING => f.write_str("dstnat")?,
            Base::POSTROUTING => f.write_str("srcnat")?,
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
