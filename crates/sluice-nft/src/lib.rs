//! nftables objects as data.
//!
//! Tables, chains, maps and rules of the shapes sluice uses, their one text form (nft syntax, by
//! `Display`), the verbs that change them, a fake kernel that refuses what the kernel refuses, and
//! a trace that runs virtual packets through a ruleset. Pure: no I/O.

#![forbid(unsafe_code)]

mod chain;
mod dataplane;
pub mod fake;
mod field;
pub mod jhash;
mod name;
mod object;
mod octets;
mod part;
mod protocol;
mod rule;
mod set;
mod step;
mod table;
pub mod trace;

pub use chain::{Base, Chain, Hook, Kind};
pub use dataplane::{
    AsideRead, CommitError, Counter, Counters, Dataplane, Errno, Owner, ReadError, Receipt, Snapshot,
    TableFlags, generation_after,
};
pub use field::{Field, Ip, Operand, SlotExpr, mask};
pub use name::{ChainName, SetName};
pub use object::Object;
pub use octets::Octets;
pub use part::Part;
pub use protocol::Protocol;
pub use rule::{Comparison, Rate, Rule, SetUpdate, SourcePorts, Statement};
pub use set::{Data, Element, Key, Set, SetFlags, SetType};
pub use step::{SetRef, Step};
pub use table::Table;
