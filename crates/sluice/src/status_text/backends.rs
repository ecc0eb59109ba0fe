//! The backends of a service: a table, and lines for probe failures and overrides.

use comfy_table::{CellAlignment, Table, presets};
use sluice_api::{
    Admin, BackendStatus, Health, Override, ProbeStatus, SOURCE_PORTS_SCARCE, ServiceStatus, Timestamp,
};

use unicode_width::UnicodeWidthStr;

use super::Look;
use crate::text::{age, bytes, count, percent, rate, safe, user};

pub(super) fn render(service: &ServiceStatus, look: Look<'_>) -> String {
    let (backends, now) = (&service.backends, look.now);
    table(service, look)
        + &reasons(backends, now)
        + &overrides(backends, now)
        + &dropped(service)
        + &ports_run_out(backends)
}

/// Columns that are left out first where the terminal is too narrow.
const EXPENDABLE: [&str; 7] = ["ADDRESS", "SINCE", "WEIGHT", "SHARE", "OUT", "IN", "CONNECTIONS"];

/// The table; some columns are shown only if they have values, or if there is room.
fn table(service: &ServiceStatus, look: Look<'_>) -> String {
    if service.backends.is_empty() {
        return "  no backends\n".to_owned();
    }
    let mut without = 0;
    loop {
        let lines = table_without(service, look, &EXPENDABLE[..without]);
        let width = lines.iter().map(|line| line.width()).max().unwrap_or_default();
        if without == EXPENDABLE.len() || look.width.is_none_or(|room| width <= room) {
            return lines.iter().map(|line| format!("{line}\n")).collect();
        }
        without += 1;
    }
}

fn table_without(service: &ServiceStatus, look: Look<'_>, left_out: &[&str]) -> Vec<String> {
    let backends = &service.backends;
    let has_bytes = backends.iter().any(|backend| backend.bytes_in.is_some() || backend.bytes_out.is_some());
    // A live view has no room for the same text twice.
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
    ]
    .map(|(is_shown, title)| (is_shown && !left_out.contains(&title), title));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let header = shown.iter().filter(|(is_shown, _)| *is_shown).map(|(_, title)| *title);
    if look.headers {
        table.set_header(header.clone());
    }
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
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// The reasons why backends are not eligible, one line each.
fn reasons(backends: &[BackendStatus], now: Timestamp) -> String {
    let told = backends.iter().filter_map(|backend| Some((backend, why_not(backend, now)?)));
    told.map(|(backend, why)| format!("  {}: {why}\n", backend.name)).collect()
}

/// The last failed probe of a backend.
pub(crate) fn why_not(backend: &BackendStatus, now: Timestamp) -> Option<String> {
    let probe = backend.last_probe.as_ref().filter(|probe| probe.ok != Some(true))?;
    let ProbeStatus { at, detail, count, needed, .. } = probe;
    let (detail, ago) = (safe(detail), age(now, *at));
    Some(match probe.ok {
        None => format!("{detail} (probe could not run), {ago} ago"),
        Some(_) => format!("{detail}, {count} of {needed}, {ago} ago"),
    })
}

/// What an operator changed: `drain, weight 3`.
pub(crate) fn overridden(Override { admin, weight, .. }: &Override) -> String {
    let admin = admin.map(|admin| admin.as_str().to_owned());
    let said: Vec<_> = admin.into_iter().chain(weight.map(|weight| format!("weight {weight}"))).collect();
    said.join(", ")
}

/// Overrides by operators, one line each.
fn overrides(backends: &[BackendStatus], now: Timestamp) -> String {
    let told = backends.iter().filter_map(|backend| {
        let said = backend.overridden.as_ref()?;
        let Override { uid, since, reason, .. } = said;
        let (name, ago, by) = (&backend.name, age(now, *since), user(*uid));
        let reason = reason.as_ref().map(|reason| format!(": {}", safe(reason))).unwrap_or_default();
        Some(format!("  {name}: {} by {by}, {ago} ago (override){reason}\n", overridden(said)))
    });
    told.collect()
}

/// Packets dropped by the guard, on one line.
fn dropped(service: &ServiceStatus) -> String {
    let told: Vec<_> = service.dropped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    if told.is_empty() { String::new() } else { format!("  dropped: {}\n", told.join(", ")) }
}

/// Backends with few free source ports, one line each.
fn ports_run_out(backends: &[BackendStatus]) -> String {
    let told = backends.iter().filter_map(|backend| {
        let used = backend.source_ports.filter(|used| *used >= SOURCE_PORTS_SCARCE)?;
        let percent = 100.0 * used;
        Some(format!(
            "  {}: {percent:.0} % of source ports in use: set `source` to a range of addresses\n",
            backend.name
        ))
    });
    told.collect()
}

/// The reason why it gets no new connections, or its health.
fn state(backend: &BackendStatus) -> String {
    match (word(backend), backend.active) {
        ("drain", Some(left)) => format!("drain, {left} left"),
        (word, _) if backend.admin == Admin::Enabled && is_spare(backend) => format!("{word} backup"),
        (word, _) => word.to_owned(),
    }
}

/// The same without details.
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

/// Whether it is a backup that gets no connections now.
fn is_spare(backend: &BackendStatus) -> bool {
    backend.backup && backend.share == 0.0
}
