//! Which backends serve, and how it is found out: what of that could never work.

use std::time::Duration;

use sluice_core::model::{Address, Backend, Listener, Probe, Scheduler};
use sluice_core::slots::MAX_SLOTS;
use sluice_nft::Ip;

use super::{Draft, Elements};
use crate::place::Here;
use crate::problem::Fault;
use crate::read::Given;

/// Checks what a service says of probes and of its quorum against its listeners and backends.
pub(super) fn check(here: &Here<'_>, draft: &Draft) {
    if draft.listeners.complete && !draft.listeners.good.is_empty() {
        probe_port(here, draft);
    }
    if draft.backends.complete {
        quorum(here, draft);
        table_size(here, draft);
    }
}

/// Warns of a scheduler that does not go with a slow start.
pub(super) fn check_slow_start(here: &Here<'_>, scheduler: Scheduler, slow_start: Option<Duration>) {
    if let (Scheduler::SourceHash(_), Some(_)) = (scheduler, slow_start) {
        here.key("slow_start").warning(Fault::new(
            "with source-hash, every step of a slow start moves clients to other backends",
            "remove `slow_start`, or use another scheduler",
        ));
    }
}

/// Every probe that needs a port must have one. The first backend without speaks for all.
fn probe_port(here: &Here<'_>, draft: &Draft) {
    let Draft { listeners, backends: Elements { good, .. }, policy, .. } = draft;
    let Some(check) = &policy.health else { return };
    let needs_port = match &check.probe {
        Probe::Tcp | Probe::Http(_) | Probe::Udp(_) => true,
        Probe::Icmp => false,
        Probe::Exec(words) => words.iter().any(|word| word.contains("{port}")),
    };
    if !needs_port || check.port.is_some() {
        return;
    }
    let unknown = |(_, backend): &&(usize, Backend)| backend.port_behind(listeners.iter()).is_none();
    if let Some((_, backend)) = good.iter().find(unknown) {
        let what = format!(
            "which port of backend {} to probe is not known: it keeps the client's, of which there are several",
            backend.name
        );
        here.key("health").error_at_key(Fault::new(what, "add `port` to `health`"));
    }
}

/// A table needs a slot for each backend of an IP version, and a listener that is not exact has a stripe of slots.
fn table_size(here: &Here<'_>, draft: &Draft) {
    let Scheduler::Maglev(_, size) = draft.policy.scheduler else { return };
    let here = here.key("scheduler");
    for ip in Ip::ALL {
        let count = draft.backends.iter().filter(|backend| Ip::of(backend.address) == ip).count();
        let slots = size as usize;
        if count > slots {
            let what = format!("a table of {slots} slots leaves some of {count} backends without");
            here.error(Fault::new(
                what,
                "raise `table_size` in `hash`, best to a hundred times the backends",
            ));
        } else if count * 10 > slots {
            let what = format!("a table of {slots} slots for {count} backends makes uneven shares");
            here.warning(Fault::new(
                what,
                "raise `table_size` in `hash`, best to a hundred times the backends",
            ));
        }
    }
    let is_exact = |listener: &Listener| {
        matches!(draft.interface, Given::Absent)
            && listener.address != Address::Any
            && listener.ports.as_single().is_some()
    };
    if let Some(listener) = draft.listeners.iter().find(|listener| size > MAX_SLOTS && !is_exact(listener)) {
        let what = format!("{listener} has room for {MAX_SLOTS} slots, and the table has {size}");
        here.error(Fault::new(
            what,
            "write `table_size: 65521`, or name one address and port, and no interface",
        ));
    }
}

/// A quorum counts the backends of one IP version that are no backups.
fn quorum(here: &Here<'_>, draft: &Draft) {
    let quorum = draft.policy.quorum;
    for (ip, version) in [(Ip::V4, "IPv4"), (Ip::V6, "IPv6")] {
        let backends = draft.backends.iter();
        let count = backends.filter(|backend| Ip::of(backend.address) == ip && !backend.backup).count();
        if count > 0 && usize::from(quorum) > count {
            let plural = if count == 1 { "" } else { "s" };
            let what = format!(
                "quorum {quorum} is never met: besides backups the service has {count} {version} backend{plural}"
            );
            here.key("quorum").error_at_key(Fault::new(what, "lower `quorum`, or add backends"));
        }
    }
}
