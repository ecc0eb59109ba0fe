//! Health check, quorum and table size of a service: settings that can never work.

use std::time::Duration;

use sluice_core::model::{Address, Backend, Listener, Probe, Quorum, Scheduler};
use sluice_core::render::slots::MAX_SLOTS;
use sluice_nft::Ip;

use super::{Draft, Elements};
use crate::problem::Fault;
use crate::read::Given;
use crate::yaml_path::Here;

/// Checks the health check, the quorum and the table size against listeners and backends.
pub(super) fn check(here: &Here<'_>, draft: &Draft) {
    if draft.listeners.complete && !draft.listeners.good.is_empty() {
        probe_port(here, draft);
    }
    if draft.backends.complete {
        quorum(here, draft);
        table_size(here, draft);
    }
}

/// Warns about `slow_start` with a scheduler that hashes.
pub(super) fn check_slow_start(here: &Here<'_>, scheduler: Scheduler, slow_start: Option<Duration>) {
    if let (Scheduler::SourceHash(_), Some(_)) = (scheduler, slow_start) {
        here.key("slow_start").warning(Fault::new(
            "with source-hash, each step of `slow_start` moves clients to other backends",
            "remove `slow_start`, or use another scheduler",
        ));
    }
}

/// Checks that each probe has a port. Reports the first backend without one.
fn probe_port(here: &Here<'_>, draft: &Draft) {
    let Draft { listeners, backends: Elements { good, .. }, policy, .. } = draft;
    let Some(check) = &policy.health else { return };
    let needs_port = match &check.probe {
        Probe::Exec(program) => program.command.iter().any(|word| word.contains("{port}")),
        probe => probe.protocol().is_some(),
    };
    if !needs_port || check.port.is_some() {
        return;
    }
    let unknown = |(_, backend): &&(usize, Backend)| backend.port_behind(listeners.iter()).is_none();
    if let Some((_, backend)) = good.iter().find(unknown) {
        let what = format!(
            "backend {} has no single port to probe: it keeps the client's port, and the listeners have several",
            backend.name
        );
        here.key("health").error_at_key(Fault::new(what, "add `port` to `health`"));
    }
}

/// Checks the size of a `maglev` table: it needs a slot per backend of an IP version, and listeners that are not exact
/// have a fixed number of slots.
fn table_size(here: &Here<'_>, draft: &Draft) {
    let Scheduler::Maglev(_, size) = draft.policy.scheduler else { return };
    let here = here.key("scheduler");
    for ip in Ip::ALL {
        let count = draft.backends.iter().filter(|backend| Ip::of(backend.address) == ip).count();
        let slots = size as usize;
        if count > slots {
            let what = format!("a table of {slots} slots is smaller than the {count} backends");
            here.error(Fault::new(what, "raise `table_size` in `hash` to about 100 slots per backend"));
        } else if count * 10 > slots {
            let what = format!("a table of {slots} slots gives {count} backends uneven shares");
            here.warning(Fault::new(what, "raise `table_size` in `hash` to about 100 slots per backend"));
        }
    }
    let is_exact = |listener: &Listener| {
        matches!(draft.interface, Given::Absent)
            && listener.address != Address::Any
            && listener.ports.as_single().is_some()
    };
    if let Some(listener) = draft.listeners.iter().find(|listener| size > MAX_SLOTS && !is_exact(listener)) {
        let what = format!("{listener} is limited to {MAX_SLOTS} slots, but the table has {size}");
        here.error(Fault::new(
            what,
            "write `table_size: 65521`, or a listener with one address, one port and no `interface`",
        ));
    }
}

/// Checks that the quorum can be met. It counts the backends of one IP version, without backups.
fn quorum(here: &Here<'_>, draft: &Draft) {
    let Quorum { up, down } = draft.policy.quorum;
    let number = if down < up { format!("`up: {up}` of the quorum") } else { format!("quorum {up}") };
    for (ip, version) in [(Ip::V4, "IPv4"), (Ip::V6, "IPv6")] {
        let backends = draft.backends.iter();
        let count = backends.filter(|backend| Ip::of(backend.address) == ip && !backend.backup).count();
        if count > 0 && usize::from(up) > count {
            let plural = if count == 1 { "" } else { "s" };
            let what = format!(
                "{number} can never be met: the service has {count} {version} backend{plural}, backups not counted"
            );
            here.key("quorum").error_at_key(Fault::new(what, "lower `quorum`, or add backends"));
        }
    }
}
