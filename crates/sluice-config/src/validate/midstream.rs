//! What a service does with packets of TCP connections that conntrack does not know.

use sluice_core::model::{Listener, Midstream, Protocol, Scheduler, Source};

use super::Elements;
use crate::place::Here;
use crate::problem::Fault;
use crate::read::Given;

/// What the key says, or what follows from the others.
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

/// Refuses the key with `synproxy`, which lets no such packet through.
pub(super) fn check(here: &Here<'_>, midstream: &Given<Midstream>, synproxy: bool) {
    if synproxy && !matches!(midstream, Given::Absent) {
        here.key("midstream").error_at_key(Fault::new(
            "`midstream` does not go together with `synproxy`, which drops a packet that neither begins a connection nor \
             returns a cookie",
            "remove one of them",
        ));
    }
}

/// Warns of the key where no listener is for TCP.
pub(super) fn check_listeners(here: &Here<'_>, midstream: &Given<Midstream>, listeners: &Elements<Listener>) {
    let is_tcp = |listener: &Listener| listener.protocol == Protocol::Tcp;
    if !matches!(midstream, Given::Absent) && listeners.complete && !listeners.iter().any(is_tcp) {
        here.key("midstream")
            .warning(Fault::new("`midstream` is for TCP, and no listener is", "remove `midstream`"));
    }
}
