//! Which backends serve, and how it is found out: what of that could never work.

use std::time::Duration;

use sluice_core::model::{Backend, Probe, Scheduler};
use sluice_nft::Ip;

use super::{Draft, Elements};
use crate::place::Here;
use crate::problem::Fault;

/// Checks what a service says of probes and of its quorum against its listeners and backends.
pub(super) fn check(here: &Here<'_>, draft: &Draft) {
    if draft.listeners.complete && !draft.listeners.good.is_empty() {
        probe_port(here, draft);
    }
    if draft.backends.complete {
        quorum(here, draft);
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
