//! Stateful objects: named counters, quotas, limits and so on. sluice creates none.

use std::fmt;

/// The identity of a stateful object of the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// `NFT_OBJECT_*`.
    pub kind: u32,
    /// Its name; objects of other kinds may have the same name.
    pub name: String,
}

impl Object {
    /// nft's keyword for the kind; `object` if nft 1.0.6 has none.
    pub fn keyword(&self) -> &'static str {
        match self.kind {
            1 => "counter",
            2 => "quota",
            3 => "ct helper",
            4 => "limit",
            7 => "ct timeout",
            8 => "secmark",
            9 => "ct expectation",
            10 => "synproxy",
            _ => "object",
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.keyword(), self.name)
    }
}
