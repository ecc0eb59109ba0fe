//! A service's backends: a table, and a line for each that there is more to tell of.

use comfy_table::{CellAlignment, Table, presets};
use sluice_api::{
    Admin, BackendStatus, Health, Override, ProbeStatus, SOURCE_PORTS_SCARCE, ServiceStatus, Timestamp,
};

use super::Look;
use crate::text::{age, bytes, count, percent, rate, safe};

pub(super) fn render(service: &ServiceStatus, look: Look<'_>) -> String {
    let (backends, now) = (&service.backends, look.now);
    table(service, look)
        + &reasons(backends, now)
        + &overrides(backends, now)
        + &dropped(service)
        + &ports_run_out(backends)
}

/// Columns that are there when somebody counts what they show, and those always there.
fn table(service: &ServiceStatus, look: Look<'_>) -> String {
    let backends = &service.backends;
    if backends.is_empty() {
        return "  no backends\n".to_owned();
    }
    let has_bytes = backends.iter().any(|backend| backend.bytes_in.is_some() || backend.bytes_out.is_some());
    // On a screen there is no room to say a thing twice.
    let has_address = look.rates.is_none() || backends.iter().any(|backend| backend.name != backend.address);
    let shown = [
        (true, "BACKEND"),
        (has_address, "ADDRESS"),
        (true, "STATE"),
        (true, "SINCE"),
        (true, "WEIGHT"),
        (true, "SHARE"),
        (true, "CONNECTIONS"),
        (look.rates.is_some(), "NEW/S"),
        (true, "ACTIVE"),
        (has_bytes, "IN"),
        (has_bytes, "OUT"),
    ];
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let header = shown.iter().filter(|(is_shown, _)| *is_shown).map(|(_, title)| *title);
    table.set_header(header.clone());
    for backend in backends {
        let cells = [
            backend.name.clone(),
            backend.address.clone(),
            state(backend),
            age(look.now, backend.since),
            backend.weight.to_string(),
            percent(backend.share),
            backend.connections_total.to_string(),
            rate(look.rates.and_then(|rates| rates.of(&service.name, &backend.name))),
            count(backend.active),
            bytes(backend.bytes_in),
            bytes(backend.bytes_out),
        ];
        let cells = cells.into_iter().zip(shown).filter(|(_, (is_shown, _))| *is_shown);
        table.add_row(cells.map(|(cell, _)| cell));
    }
    for (column, title) in table.column_iter_mut().zip(header) {
        if !["BACKEND", "ADDRESS", "STATE", "SINCE"].contains(&title) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let before = if column.index == 0 { 2 } else { 0 };
        column.set_padding((before, 2));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Why backends do not serve, a line each.
fn reasons(backends: &[BackendStatus], now: Timestamp) -> String {
    let told = backends.iter().filter_map(|backend| Some((backend, why_not(backend, now)?)));
    told.map(|(backend, why)| format!("  {}: {why}\n", backend.name)).collect()
}

/// What the last probe of a backend failed on, and when.
pub(crate) fn why_not(backend: &BackendStatus, now: Timestamp) -> Option<String> {
    let probe = backend.last_probe.as_ref().filter(|probe| probe.ok != Some(true))?;
    let ProbeStatus { at, detail, count, needed, .. } = probe;
    let (detail, ago) = (safe(detail), age(now, *at));
    Some(match probe.ok {
        None => format!("{detail} (no probe could be made), {ago} ago"),
        Some(_) => format!("{detail}, {count} of {needed}, {ago} ago"),
    })
}

/// What operators say of backends, a line each.
fn overrides(backends: &[BackendStatus], now: Timestamp) -> String {
    let told = backends.iter().filter_map(|backend| {
        let Override { admin, weight, uid, since } = backend.overridden.as_ref()?;
        let admin = admin.map(|admin| admin.as_str().to_owned());
        let said: Vec<_> = admin.into_iter().chain(weight.map(|weight| format!("weight {weight}"))).collect();
        let (name, ago) = (&backend.name, age(now, *since));
        Some(format!("  {name}: {} by uid {uid}, {ago} ago (override)\n", said.join(", ")))
    });
    told.collect()
}

/// What its guard dropped, on one line.
fn dropped(service: &ServiceStatus) -> String {
    let told: Vec<_> = service.dropped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    if told.is_empty() { String::new() } else { format!("  dropped: {}\n", told.join(", ")) }
}

/// Backends that the balancer soon has no source ports for, a line each.
fn ports_run_out(backends: &[BackendStatus]) -> String {
    let told = backends.iter().filter_map(|backend| {
        let used = backend.source_ports.filter(|used| *used >= SOURCE_PORTS_SCARCE)?;
        let percent = 100.0 * used;
        Some(format!(
            "  {}: {percent:.0} % of source ports in use: give `source` a range of addresses\n",
            backend.name
        ))
    });
    told.collect()
}

/// A few words: what keeps it from taking new connections, or else its health.
fn state(backend: &BackendStatus) -> String {
    match (word(backend), backend.active) {
        ("drain", Some(left)) => format!("drain, {left} left"),
        (word, _) if backend.admin == Admin::Enabled && is_spare(backend) => format!("{word} backup"),
        (word, _) => word.to_owned(),
    }
}

/// The same in one word or two.
pub(crate) fn word(backend: &BackendStatus) -> &'static str {
    match (backend.admin, backend.health, backend.eligible) {
        (Admin::Disabled, ..) => "disabled",
        (Admin::Drain, ..) if backend.active == Some(0) => "drained",
        (Admin::Drain, ..) => "drain",
        (Admin::Enabled, Health::Unhealthy, _) => "unhealthy",
        (Admin::Enabled, ..) if backend.full => "full",
        (Admin::Enabled, Health::Healthy, true) => "healthy",
        (Admin::Enabled, Health::Unknown, true) => "eligible",
        (Admin::Enabled, _, false) => "not eligible",
    }
}

/// Whether it waits for others to fail.
fn is_spare(backend: &BackendStatus) -> bool {
    backend.backup && backend.share == 0.0
}
