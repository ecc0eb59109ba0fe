//! `hash`: what the schedulers `source-hash` and `maglev` hash, and the size of `maglev`'s table.

use sluice_core::model::HashOn;

use crate::mapping::mapping;
use crate::problem::Fault;
use crate::read::{Check, Checked, Many};
use crate::values::HashPart;
use crate::values::TableSize;
use crate::yaml_path::Here;

mapping! {
    HashSettings, "a mapping of `on` and `table_size`", refused: |_| None, required: [], {
        /// Which parts of the client are hashed.
        on: Checked<HashOn>,
        /// The number of slots of `maglev`, a prime.
        table_size: TableSize,
    }
}

impl Check for HashOn {
    type Unchecked = Many<HashPart>;

    fn check(here: &Here<'_>, Many(parts): Many<HashPart>) -> Option<Self> {
        let parts: Vec<_> = parts.into_iter().collect::<Option<_>>()?;
        let what = match parts[..] {
            [HashPart::Address] => return Some(HashOn::Address),
            [HashPart::Address, HashPart::Port] | [HashPart::Port, HashPart::Address] => {
                return Some(HashOn::AddressAndPort);
            }
            [] => "the list is empty",
            [HashPart::Port] => "source-port alone is not supported",
            _ => "the list has a duplicate",
        };
        here.error(Fault::new(what, "write [source-address] or [source-address, source-port]"));
        None
    }
}
