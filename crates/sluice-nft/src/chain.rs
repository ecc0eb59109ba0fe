//! Chains: where rules live, and where the kernel calls them.

use std::fmt;

use crate::Rule;

/// Where the kernel calls a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Packets that arrive.
    Prerouting,
    /// Packets that are for the host itself.
    Input,
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
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
            Hook::Foreign => "foreign",
        }
    }

    /// `NF_INET_*`; `None` for a foreign one.
    pub fn number(self) -> Option<u32> {
        match self {
            Hook::Prerouting => Some(0),
            Hook::Input => Some(1),
            Hook::Forward => Some(2),
            Hook::Output => Some(3),
            Hook::Postrouting => Some(4),
            Hook::Foreign => None,
        }
    }
}

/// What a base chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Sees the first packet of a flow, and may translate it.
    Nat,
    /// Sees every packet.
    Filter,
}

impl Kind {
    /// Its type, as nft and the kernel call it.
    pub fn keyword(self) -> &'static str {
        match self {
            Kind::Nat => "nat",
            Kind::Filter => "filter",
        }
    }
}

/// What makes a chain a base chain: what for, where and when; policy accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base {
    /// What for.
    pub kind: Kind,
    /// Where.
    pub hook: Hook,
    /// When, among the chains of that hook; lower is earlier.
    pub priority: i32,
}

impl Base {
    /// Translation of destinations of packets that arrive (`NF_IP_PRI_NAT_DST`).
    pub const PREROUTING: Base = Base { kind: Kind::Nat, hook: Hook::Prerouting, priority: -100 };
    /// A look at packets that arrive, before their connections are known (`NF_IP_PRI_RAW`).
    pub const SYN: Base = Base { kind: Kind::Filter, hook: Hook::Prerouting, priority: -300 };
    /// Filtering of packets for the host itself, before a firewall's chains.
    pub const INPUT: Base = Base { kind: Kind::Filter, hook: Hook::Input, priority: -10 };
    /// Filtering of packets that pass through, before a firewall's chains.
    pub const FORWARD: Base = Base { kind: Kind::Filter, hook: Hook::Forward, priority: -10 };
    /// Translation of destinations of packets of local processes.
    pub const OUTPUT: Base = Base { kind: Kind::Nat, hook: Hook::Output, priority: -100 };
    /// Translation of sources (`NF_IP_PRI_NAT_SRC`).
    pub const POSTROUTING: Base = Base { kind: Kind::Nat, hook: Hook::Postrouting, priority: 100 };
    /// Filtering of packets that arrive, when their connections are known and before they are translated.
    pub const GUARD: Base = Base { kind: Kind::Filter, hook: Hook::Prerouting, priority: -110 };
    /// A look at what leaves, when its destination is translated and its source is not.
    pub const LEARN: Base = Base { kind: Kind::Nat, hook: Hook::Postrouting, priority: 90 };
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type {} hook {} priority ", self.kind.keyword(), self.hook.keyword())?;
        // nft 1.0.6 knows `dstnat` only at prerouting and `srcnat` only at postrouting.
        match *self {
            Base::PREROUTING => f.write_str("dstnat")?,
            Base::POSTROUTING => f.write_str("srcnat")?,
            Base::SYN => f.write_str("raw")?,
            Base::INPUT | Base::FORWARD => f.write_str("filter - 10")?,
            Base::GUARD => f.write_str("dstnat - 10")?,
            Base::LEARN => f.write_str("srcnat - 10")?,
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
