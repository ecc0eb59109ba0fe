//! The key `midstream`.

use sluice_core::model::{Midstream, Scheduler, Source};

use crate::problem::Fault;
use crate::read::Given;
use crate::yaml_path::Here;

/// The value of the key, or its default, which depends on other keys.
pub(super) fn midstream(
    midstream: Given<Midstream>,
    scheduler: Scheduler,
    source: Source,
    synproxy: bool,
) -> Midstream {
    match midstream {
        _ if synproxy => Midstream::Ignore,
        Given::Good(midstream) => midstream,
        Given::Absent | Given::Bad => Midstream::default_for(scheduler, source),
    }
}

/// Refuses the key with `synproxy`, which drops such packets.
pub(super) fn check(here: &Here<'_>, midstream: &Given<Midstream>, synproxy: bool) {
    if synproxy && !matches!(midstream, Given::Absent) {
        here.key("midstream").error_at_key(Fault::new(
            "`midstream` cannot be used with `synproxy`, which drops packets that neither open a connection nor return a \
             cookie",
            "remove one of them",
        ));
    }
}
