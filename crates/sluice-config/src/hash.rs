//! `hash`: what the schedulers `source-hash` and `maglev` hash, and the size of `maglev`'s table.

use sluice_core::model::HashOn;

use crate::amount::TableSize;
use crate::choice::HashPart;
use crate::place::Here;
use crate::problem::Fault;
use crate::read::{Check, Checked, Many, mapping};

mapping! {
    Hash, "a mapping of `on` and `table_size`", refused: |_| None, required: [], {
        /// What of the client decides.
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
            [] => "there is nothing to hash",
            [HashPart::Port] => "source-port alone is not supported",
            _ => "a part of the client is named twice",
        };
        here.error(Fault::new(what, "write [source-address] or [source-address, source-port]"));
        None
    }
}
