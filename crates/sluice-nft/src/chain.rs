//! Chains and base chains.

use std::fmt;

use crate::Rule;

/// Where the kernel calls a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Incoming packets, before routing.
    Prerouting,
    /// Packets to this host.
    Input,
    /// Forwarded packets.
    Forward,
    /// Packets of local processes.
    Output,
    /// Outgoing and forwarded packets, after routing.
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

/// Type of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Processes the first packet of each flow, and may translate it.
    Nat,
    /// Processes every packet.
    Filter,
}

impl Kind {
    /// The keyword of nft and the kernel.
    pub fn keyword(self) -> &'static str {
        match self {
            Kind::Nat => "nat",
            Kind::Filter => "filter",
        }
    }
}

/// Type, hook and priority of a base chain; the policy is accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base {
    /// Type.
    pub kind: Kind,
    /// Hook.
    pub hook: Hook,
    /// Priority among the chains of the hook; lower is earlier.
    pub priority: i32,
}

impl Base {
    /// Destination translation of incoming packets (`NF_IP_PRI_NAT_DST`).
    pub const PREROUTING: Base = Base { kind: Kind::Nat, hook: Hook::Prerouting, priority: -100 };
    /// Incoming packets before conntrack (`NF_IP_PRI_RAW`).
    pub const SYN: Base = Base { kind: Kind::Filter, hook: Hook::Prerouting, priority: -300 };
    /// Filter of packets to this host, before a firewall's chains.
    pub const INPUT: Base = Base { kind: Kind::Filter, hook: Hook::Input, priority: -10 };
    /// Filter of forwarded packets, before a firewall's chains.
    pub const FORWARD: Base = Base { kind: Kind::Filter, hook: Hook::Forward, priority: -10 };
    /// Destination translation of packets of local processes.
    pub const OUTPUT: Base = Base { kind: Kind::Nat, hook: Hook::Output, priority: -100 };
    /// Source translation (`NF_IP_PRI_NAT_SRC`).
    pub const POSTROUTING: Base = Base { kind: Kind::Nat, hook: Hook::Postrouting, priority: 100 };
    /// Filter of incoming packets, after conntrack and before translation.
    pub const GUARD: Base = Base { kind: Kind::Filter, hook: Hook::Prerouting, priority: -110 };
    /// Outgoing first packets, after destination and before source translation.
    pub const LEARN: Base = Base { kind: Kind::Nat, hook: Hook::Postrouting, priority: 90 };
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type {} hook {} priority ", self.kind.keyword(), self.hook.keyword())?;
        // nft 1.0.6 has `dstnat` only at prerouting and `srcnat` only at postrouting.
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
