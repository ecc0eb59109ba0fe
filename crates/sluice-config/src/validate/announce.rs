//! `announce`: the block of the file, and the key of services.

use sluice_core::model::{Address, Announce, Listener};

use super::Elements;
use crate::document;
use crate::problem::Fault;
use crate::read::Given;
use crate::yaml_path::Here;

/// The block, with defaults for missing keys.
pub(super) fn announce(block: Given<document::Announce>) -> Announce {
    let document::Announce { interface, hold, withdraw_wait } = block.unwrap_or_default();
    let default = Announce::default();
    Announce {
        interface: interface.unwrap_or(default.interface),
        hold: hold.map_or_else(|| default.hold, |hold| hold.0),
        withdraw_wait: withdraw_wait.map_or_else(|| default.withdraw_wait, |wait| wait.0),
    }
}

/// Refuses listeners of an announced service that have no address.
pub(super) fn check(here: &Here<'_>, listeners: &Elements<Listener>) {
    for (index, listener) in &listeners.good {
        if listener.address == Address::Any {
            here.key("listen").index(*index).error(Fault::new(
                format!("{listener} has no address that `announce` could put on an interface"),
                "write one listener per address, or remove `announce`",
            ));
        }
    }
}
