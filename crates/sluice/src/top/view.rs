//! What is on the screen: a head, the part of the table that is seen, what there is to tell of the selected backend, and
//! what keys do.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Table};
use sluice_api::{Admin, OverrideChange, ServiceState, Status, pluralize};

use super::app::{App, Mode};
use super::column::{Column, Row, fit};
use super::rows::row;
use crate::status_text::{conntrack, why_not, word};
use crate::text::{Paint, age, grouped, rate, safe, since_when, user, wrap};

const KEYS: &str = "? help  q quit  s sort  r reverse  / filter  d drain  e enable";

const HELP: &str = "\
up down j k     select a backend
PgUp PgDn       a page up or down
Home End        the first, the last
s               sort by the next column
r               the other way round
/               show only what has these words in its service, name, address or state
Enter Esc       keep the filter, drop it
d               drain: no new connections, those it has go on; y confirms
e               enable: serve as the file says; y confirms
q Ctrl-C        leave

What is said here is what sluice drain and sluice enable say: it holds at once, survives reloads and restarts, and
is shown by sluice status.";

/// Rows above the backends.
const TITLES: usize = 1;

/// Rows for what there is to tell of the selected backend.
fn details(app: &App) -> u16 {
    if app.size.1 < 16 { 1 } else { 2 }
}

/// Rows of the table that are seen.
pub(super) fn page(app: &App) -> usize {
    let others = head(app, false).len() + TITLES + usize::from(details(app)) + foot(app, false).len();
    usize::from(app.size.1).saturating_sub(others).max(1)
}

/// Draws everything; `colour`: not only bold, dim and reversed.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, colour: bool) {
    let (head, foot) = (head(app, colour), foot(app, colour));
    let lines = |text: &[Line<'_>]| Constraint::Length(text.len() as u16);
    let constraints = [lines(&head), Constraint::Min(2), Constraint::Length(details(app)), lines(&foot)];
    let [above, middle, below, bottom] = Layout::vertical(constraints).areas(frame.area());
    frame.render_widget(Paragraph::new(head), above);
    if app.mode == Mode::Help {
        let lines = HELP.lines().flat_map(|line| wrap(line, middle.width.into()));
        frame.render_widget(Paragraph::new(lines.map(Line::from).collect::<Vec<_>>()), middle);
    } else {
        table(frame, middle, app, colour);
    }
    frame.render_widget(Paragraph::new(detail(app, colour)), below);
    frame.render_widget(Paragraph::new(foot), bottom);
}

/// Why there is no newer answer and what to do, and then how all is: of that a third of the screen at most.
fn head(app: &App, colour: bool) -> Vec<Line<'static>> {
    let (columns, rows) = (usize::from(app.size.0), usize::from(app.size.1));
    let (mut told, mut lines) = (vec![], vec![]);
    if let Some(error) = &app.error {
        let error = since_when(error, app.last.as_ref().map(|(_, at)| *at), app.now);
        told = wrapped(&error, columns, style(Some(Paint::Bad), colour));
    }
    let parts = app.last.as_ref().map(|(status, _)| parts(app, status)).unwrap_or_default();
    let mut line: Vec<Span<'static>> = vec![];
    let mut taken = 0;
    for (text, paint) in parts {
        let span = Span::styled(text, style(paint, colour));
        if taken > 0 && taken + 3 + span.width() > columns {
            lines.push(Line::from(std::mem::take(&mut line)));
            taken = 0;
        }
        if taken > 0 {
            line.push(Span::raw("   "));
            taken += 3;
        }
        taken += span.width();
        line.push(span);
    }
    if !line.is_empty() {
        lines.push(Line::from(line));
    }
    lines.truncate((rows / 3).max(1));
    told.append(&mut lines);
    // Something of the table stays.
    told.truncate(rows.saturating_sub(4).max(1));
    told
}

/// What concerns all, most important first.
fn parts(app: &App, status: &Status) -> Vec<(String, Option<Paint>)> {
    let Status { daemon, reload, table, host, services, .. } = status;
    let mut parts = vec![(format!("sluiced {}, up {}", daemon.version, age(app.now, daemon.started)), None)];
    parts.push(match (table.synced, &table.error) {
        (true, _) => ("kernel in sync".to_owned(), Some(Paint::Good)),
        (false, None) => ("kernel not in sync".to_owned(), Some(Paint::Bad)),
        (false, Some(error)) => (format!("kernel not in sync: {}", safe(error)), Some(Paint::Bad)),
    });
    let read = age(app.now, reload.at);
    parts.push(match (reload.ok, reload.problems.first()) {
        (true, _) => (format!("config applied {read} ago"), None),
        (false, None) => (format!("config failed {read} ago"), Some(Paint::Bad)),
        (false, Some(problem)) => (format!("config failed {read} ago: {}", safe(problem)), Some(Paint::Bad)),
    });
    if let Some((text, paint)) = conntrack(host) {
        parts.push((format!("conntrack {text}"), paint));
    }
    let not_up = services.iter().filter(|service| service.state != ServiceState::Up).count();
    let backends = || services.iter().flat_map(|service| &service.backends);
    let serving = backends().filter(|backend| backend.eligible).count();
    parts
        .push((format!("{}, {} not up", pluralize(services.len(), "service"), grouped(not_up as u64)), None));
    let all = grouped(backends().count() as u64);
    parts.push((format!("{} of {all} backends eligible", grouped(serving as u64)), None));
    parts.push((format!("{} new/s", rate(app.rates.sum())), None));
    if let Some(active) = backends().filter_map(|backend| backend.active).reduce(|sum, active| sum + active) {
        parts.push((format!("{} active", grouped(active)), None));
    }
    if !app.filter.is_empty() {
        let shown = grouped(app.rows.len() as u64);
        parts.push((format!("filter {}: {shown} of {all}", app.filter), Some(Paint::Warn)));
    }
    parts
}

fn table(frame: &mut Frame<'_>, area: Rect, app: &App, colour: bool) {
    let Some((status, _)) = &app.last else {
        let told = if app.error.is_some() { "retrying every second" } else { "waiting for sluiced" };
        return frame.render_widget(Paragraph::new(told), area);
    };
    if app.rows.is_empty() {
        let told =
            if app.filter.is_empty() { "no backends" } else { "no backend matches: Esc clears the filter" };
        return frame.render_widget(Paragraph::new(told), area);
    }
    // What is selected is in the middle, as far as there is something above and below.
    let page = usize::from(area.height).saturating_sub(TITLES);
    let first = app.cursor.saturating_sub(page / 2).min(app.rows.len().saturating_sub(page));
    let seen = app.rows.iter().enumerate().skip(first).take(page);
    let columns = fit(area.width, longest(status));
    let lines = seen.map(|(index, place)| {
        let row = row(status, *place);
        let cells = columns.iter().map(|(column, _)| cell(*column, row, app, colour));
        let line = ratatui::widgets::Row::new(cells);
        if index == app.cursor { line.style(Modifier::REVERSED) } else { line }
    });
    let titles = columns.iter().map(|(column, _)| {
        let mark = match (*column == app.sort.by, app.sort.reversed) {
            (false, _) => "",
            (true, false) => "▼",
            (true, true) => "▲",
        };
        aligned(*column, format!("{}{mark}", column.title()))
    });
    let header = ratatui::widgets::Row::new(titles).style(Modifier::BOLD);
    let widths = columns.iter().map(|(_, width)| Constraint::Length(*width));
    frame.render_widget(Table::new(lines, widths).header(header).column_spacing(1), area);
}

/// How long the longest names of a service and of a backend are.
fn longest(status: &Status) -> (usize, usize) {
    let service = status.services.iter().map(|service| service.name.len()).max();
    let backends = status.services.iter().flat_map(|service| &service.backends);
    (service.unwrap_or_default(), backends.map(|backend| backend.name.len()).max().unwrap_or_default())
}

fn cell(column: Column, row: Row<'_>, app: &App, colour: bool) -> Cell<'static> {
    let cell = aligned(column, column.cell(row, &app.rates, app.now));
    let paint = match (column, word(row.backend)) {
        (Column::State, "healthy" | "eligible") => Some(Paint::Good),
        (Column::State, "unhealthy" | "not eligible") => Some(Paint::Bad),
        (Column::State, "disabled") => Some(Paint::Dim),
        (Column::State, _) => Some(Paint::Warn),
        _ => None,
    };
    cell.style(style(paint, colour))
}

fn aligned(column: Column, text: String) -> Cell<'static> {
    let alignment = if column.is_number() { Alignment::Right } else { Alignment::Left };
    Cell::from(Line::from(text).alignment(alignment))
}

/// What the table has no room for; or what is about to be done.
fn detail(app: &App, colour: bool) -> Vec<Line<'static>> {
    let (text, paint) = match (&app.mode, app.selected()) {
        (Mode::Confirm(request), _) => match request.change {
            OverrideChange::Admin(Admin::Drain) => {
                ("no new connections; existing ones continue".to_owned(), Paint::Warn.into())
            }
            _ => ("it gets new connections again".to_owned(), Paint::Warn.into()),
        },
        (_, None) => return vec![],
        (_, Some(Row { service, backend })) => {
            let mut text = format!("{}/{} at {}", service.name, backend.name, backend.address);
            if backend.backup {
                text += ", backup";
            }
            if let Some(said) = &backend.overridden {
                text += &format!(", override by {}", user(said.uid));
            }
            match why_not(backend, app.now) {
                Some(why) => (format!("{text}: {why}"), Some(Paint::Bad)),
                None => (text, None),
            }
        }
    };
    wrapped(&text, app.size.0.into(), style(paint, colour))
}

/// A question, what came of its answer, or what keys do.
fn foot(app: &App, colour: bool) -> Vec<Line<'static>> {
    let columns = usize::from(app.size.0);
    let wrapped = |text: &str, style| {
        let mut lines = wrapped(text, columns, style);
        lines.truncate(3);
        lines
    };
    match (&app.mode, &app.notice) {
        (Mode::Confirm(request), _) => {
            let verb = match request.change {
                OverrideChange::Admin(Admin::Drain) => "drain",
                _ => "enable",
            };
            let question = format!("{verb} (y/n)? {}/{}", request.service, request.backend);
            wrapped(&question, style(Some(Paint::Warn), colour).add_modifier(Modifier::BOLD))
        }
        (Mode::Filter, _) => vec![Line::from(format!("/{}_", app.filter))],
        (Mode::Help, _) => vec![Line::from("press any key to return")],
        (Mode::Table, Some(Ok(notice))) => wrapped(notice, Style::from(Modifier::BOLD)),
        (Mode::Table, Some(Err(error))) => wrapped(&safe(error), style(Some(Paint::Bad), colour)),
        (Mode::Table, None) => vec![Line::styled(KEYS, Modifier::DIM)],
    }
}

fn wrapped(text: &str, columns: usize, style: Style) -> Vec<Line<'static>> {
    wrap(text, columns).into_iter().map(|line| Line::styled(line, style)).collect()
}

fn style(paint: Option<Paint>, colour: bool) -> Style {
    match paint {
        Some(Paint::Dim) => Style::from(Modifier::DIM),
        Some(Paint::Good) if colour => Style::from(Color::Green),
        Some(Paint::Warn) if colour => Style::from(Color::Yellow),
        Some(Paint::Bad) if colour => Style::from(Color::Red),
        Some(Paint::Warn | Paint::Bad) => Style::from(Modifier::BOLD),
        Some(Paint::Good) | None => Style::new(),
    }
}
