//! The status as text.

mod backends;
mod node;
mod summary;
#[cfg(test)]
pub(crate) mod tests;

use sluice_api::{Event, HookStatus, ServiceState, ServiceStatus, Severity, Status, Timestamp};

use crate::rates::Rates;
use crate::text::{Paint, age, safe};

pub(crate) use backends::{overridden, why_not, word};
pub(crate) use summary::conntrack;

/// Number of events in a live view.
const EVENTS: usize = 5;

/// How the status is shown.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) now: Timestamp,
    /// With ANSI colours.
    pub(crate) colour: bool,
    /// With the titles of columns.
    pub(crate) headers: bool,
    /// New connections per second, where they are known.
    pub(crate) rates: Option<&'a Rates>,
    /// Columns of the terminal; `None`: as many as the text has.
    pub(crate) width: Option<usize>,
}

/// The status, services first.
pub(crate) fn render(status: &Status, look: Look<'_>) -> String {
    services(status, look) + &summary::render(status, look)
}

/// The status for a live view: summary and events first.
pub(crate) fn render_live(status: &Status, look: Look<'_>) -> String {
    let mut text = summary::render(status, look);
    let latest = &status.events[status.events.len().saturating_sub(EVENTS)..];
    for (index, event) in latest.iter().rev().enumerate() {
        let heading = if index == 0 { "events" } else { "" };
        let ago = age(look.now, event.at);
        let told = happened(event, look.colour);
        text += &format!("{heading:8}{ago:>6} ago  {told}\n");
    }
    text.push('\n');
    text += &services(status, look);
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// An event on one line, without its time.
pub(crate) fn happened(event: &Event, colour: bool) -> String {
    let whom = match (&event.service, &event.backend) {
        (Some(service), Some(backend)) => format!("{service}/{backend}: "),
        (Some(service), None) => format!("{service}: "),
        _ => String::new(),
    };
    let told = format!("{whom}{}", safe(&event.text));
    match event.severity {
        Severity::Info => told,
        Severity::Warning => Paint::Warn.on(&told, colour),
        Severity::Error => Paint::Bad.on(&told, colour),
    }
}

fn services(status: &Status, look: Look<'_>) -> String {
    let one = |service| {
        heading(service, look.colour)
            + &not_ready(service, look.colour)
            + &hook(service, look)
            + &backends::render(service, look)
            + "\n"
    };
    status.services.iter().map(one).collect()
}

/// Why a service of the ruleset is not ready, on one line.
fn not_ready(service: &ServiceStatus, colour: bool) -> String {
    let reason = service.not_ready.as_ref().filter(|_| service.state != ServiceState::Disabled);
    let told = |reason: &String| Paint::Bad.on(&format!("not ready: {}", safe(reason)), colour);
    reason.map_or(String::new(), |reason| format!("  {}\n", told(reason)))
}

/// The last run of a hook, on one line.
fn hook(service: &ServiceStatus, look: Look<'_>) -> String {
    let Some(HookStatus { hook, ok, at, detail, .. }) = &service.last_hook else { return String::new() };
    let told = format!("{hook}, {} ago: {}", age(look.now, *at), safe(detail));
    let told = if *ok == Some(true) { told } else { Paint::Bad.on(&told, look.colour) };
    format!("  {told}\n")
}

fn heading(service: &ServiceStatus, colour: bool) -> String {
    let (state, paint) = match service.state {
        ServiceState::Up => ("up", Paint::Good),
        ServiceState::Empty => ("no backends", Paint::Bad),
        ServiceState::Disabled => ("disabled", Paint::Dim),
    };
    let state = paint.on(state, colour);
    format!("{}: {state}, {} on {}\n", service.name, service.scheduler, service.listeners.join(", "))
}
