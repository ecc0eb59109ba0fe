//! What a service does with packets of TCP connections that conntrack does not know.

use sluice_core::model::{Listener, Midstream, Protocol, Scheduler, Source};

use super::Elements;
use crate::place::Here;
use crate::problem::Fault;
use crate::read::Given;

/// What the file says of one service, or what follows from its other keys.
pub(super) fn of(
    here: &Here<'_>,
    own: Given<Midstream>,
    default: Given<Midstream>,
    (scheduler, source, synproxy): (Scheduler, Source, bool),
    listeners: &Elements<Listener>,
) -> Midstream {
    check(here, &own, synproxy);
    let is_tcp = |listener: &Listener| listener.protocol == Protocol::Tcp;
    if !matches!(own, Given::Absent) && listeners.complete && !listeners.iter().any(is_tcp) {
        here.key("midstream")
            .warning(Fault::new("`midstream` is for TCP, and no listener is", "remove `midstream`"));
    }
    match own.or(default) {
        _ if synproxy => Midstream::Ignore,
        Given::Good(midstream) => midstream,
        Given::Absent | Given::Bad => Midstream::default_for(scheduler, source),
    }
}

/// Refuses the key where nothing of the kind gets past.
pub(super) fn check(here: &Here<'_>, midstream: &Given<Midstream>, synproxy: bool) {
    if synproxy && !matches!(midstream, Given::Absent) {
        here.key("midstream").error_at_key(Fault::new(
            "`midstream` does not go together with `synproxy`, which drops a packet that neither begins a connection nor \
             returns a cookie",
            "remove one of them",
        ));
    }
}
