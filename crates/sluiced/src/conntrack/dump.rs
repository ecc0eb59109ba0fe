//! Dumps of conntrack, on a processor without prompt threads: the kernel runs no other thread there for a while.

use std::io;

use sluice_netlink::conntrack::{Conntrack, Flow};

use crate::host::processors::Aside;

/// Calls `f` with each flow.
///
/// # Errors
/// As [`Conntrack::each`].
pub(crate) fn each(conntrack: &mut Conntrack, f: impl FnMut(Flow)) -> io::Result<()> {
    let _aside = Aside::new();
    conntrack.each(f)
}

/// Calls `f` with each flow whose destination was translated.
///
/// # Errors
/// As [`Conntrack::each`].
pub(crate) fn each_translated(conntrack: &mut Conntrack, mut f: impl FnMut(Flow)) -> io::Result<()> {
    each(conntrack, |flow| {
        if flow.is_translated() {
            f(flow);
        }
    })
}
