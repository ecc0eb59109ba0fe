//! The summary below the services: table, host, configuration, daemon.

use std::fmt::Write;

use sluice_api::{FollowerStatus, ForeignChange, HostStatus, Status, pluralize};

use super::{Look, node};
use crate::text::{Paint, age, grouped, percent, safe};

/// Fraction of conntrack entries in use that is highlighted, as in `sluice doctor`.
const SCARCE: f64 = 0.8;

pub(super) fn render(status: &Status, look: Look<'_>) -> String {
    let Look { now, colour, .. } = look;
    let Status { config, reload, table, daemon, state, .. } = status;
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| {
        writeln!(text, "{args}").expect("writing to a string does not fail");
    };
    let changed = table.last_commit.map_or("not changed since the start".to_owned(), |commit| {
        format!("changed {} ago", age(now, commit))
    });
    let synced = match (table.synced, &table.error) {
        (true, _) => Paint::Good.on("in sync", colour),
        (false, None) => Paint::Bad.on("not in sync", colour),
        (false, Some(error)) => Paint::Bad.on(&format!("not in sync: {}", safe(error)), colour),
    };
    let flags = match table.flags.is_empty() {
        true => String::new(),
        false => format!(" ({})", table.flags.join(", ")),
    };
    line(format_args!(
        "kernel  {synced}; table {}{flags}, {changed}: {}, {}, {}, {}",
        table.name,
        pluralize(table.services, "service"),
        pluralize(table.sets, "set"),
        pluralize(table.chains, "chain"),
        pluralize(table.elements, "element")
    ));
    let others = &table.foreign_changes;
    if let Some(last) = &others.last {
        let (ago, total) = (age(now, last.at), others.total);
        let ForeignChange { process, pid, .. } = last;
        let process = safe(process);
        line(format_args!("        changed by others: {total}, last {ago} ago by {process} (pid {pid})"));
    }
    for difference in &table.differences {
        line(format_args!("        {}", safe(difference)));
    }
    if let Some(at) = table.retry_at {
        line(format_args!("        next retry in {}", age(at, now)));
    }
    if let Some((conntrack, paint)) = conntrack(&status.host) {
        line(format_args!(
            "host    conntrack {}",
            paint.map_or(conntrack.clone(), |it| it.on(&conntrack, colour))
        ));
    }
    let applied = match reload.ok {
        true => Paint::Good.on("applied", colour),
        false => Paint::Bad.on("failed", colour),
    };
    line(format_args!(
        "config  {}, loaded {} ago: {applied}, {}",
        safe(&daemon.config),
        age(now, reload.at),
        safe(&reload.summary)
    ));
    if !config.digest.is_empty() {
        line(format_args!("digest  {}", safe(&config.digest)));
    }
    for problem in reload.problems.iter().chain(&reload.warnings) {
        line(format_args!("        {}", safe(problem)));
    }
    line(format_args!(
        "daemon  sluiced {}, pid {}, started {} ago",
        daemon.version,
        daemon.pid,
        age(now, daemon.started)
    ));
    if let Some(error) = &daemon.http_error {
        let missing = Paint::Bad.on("no status page and no metrics", colour);
        line(format_args!("http    {missing}: {}", safe(error)));
    }
    if !state.problems.is_empty() {
        let problem = Paint::Bad.on("is not writable: a restart loses state", colour);
        line(format_args!("state   {} {problem}", safe(&state.directory)));
    }
    for problem in &state.problems {
        line(format_args!("        {}", safe(problem)));
    }
    for of_node in node::lines(status, look) {
        line(format_args!("{of_node}"));
    }
    for FollowerStatus { name, error, since } in &status.followers {
        let Some(error) = error else { continue };
        let lost = format!("changes are not noticed but at a refresh, for {}", age(now, *since));
        line(format_args!("follow  {}: {}: {}", safe(name), Paint::Bad.on(&lost, colour), safe(error)));
    }
    text
}

/// Use of the conntrack table if known, with a colour if it is nearly full.
pub(crate) fn conntrack(host: &HostStatus) -> Option<(String, Option<Paint>)> {
    let (entries, max) = host.conntrack_entries.zip(host.conntrack_max)?;
    let fraction = entries as f64 / max.max(1) as f64;
    let text = format!("{} of {} entries in use ({})", grouped(entries), grouped(max), percent(fraction));
    Some((text, (fraction >= SCARCE).then_some(Paint::Bad)))
}
