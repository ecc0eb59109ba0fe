//! What is known, what is shown, and what keys do.

use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use sluice_api::{Admin, BackendStatus, OverrideChange, OverrideReply, OverrideRequest, Status, Timestamp};

use super::column::{Column, Row};
use super::rows::{Place, Sort, row, select};
use super::view;
use crate::rates::Rates;
use crate::text::percent;

/// What happens to us.
#[derive(Debug)]
pub(super) enum Event {
    /// The daemon was looked at: its state, or why not and what to do.
    Answer(Result<Box<Status>, String>, Instant),
    /// What came of an [`Effect::Override`].
    Said(OverrideRequest, Result<Box<OverrideReply>, String>),
    Key(KeyEvent),
    /// Columns and rows of the terminal.
    Size(u16, u16),
    /// The terminal is gone, or a signal came.
    End,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Quit,
    Override(OverrideRequest),
}

/// What keys are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Table,
    /// The filter is being typed.
    Filter,
    /// The operator is asked whether to do it.
    Confirm(OverrideRequest),
    Help,
}

/// Everything that is shown follows from this.
pub(super) struct App {
    pub(super) rates: Rates,
    /// The daemon's last answer, and when it came.
    pub(super) last: Option<(Status, Timestamp)>,
    /// Why there is no newer one.
    pub(super) error: Option<String>,
    /// What came of what the operator did; until the next key.
    pub(super) notice: Option<Result<String, String>>,
    pub(super) now: Timestamp,
    pub(super) size: (u16, u16),
    pub(super) sort: Sort,
    pub(super) filter: String,
    pub(super) mode: Mode,
    /// Backends in the table.
    pub(super) rows: Vec<Place>,
    /// Which of them is selected.
    pub(super) cursor: usize,
    /// Its service and name: it stays selected wherever it moves.
    selected: Option<(String, String)>,
}

impl App {
    pub(super) fn new(size: (u16, u16), now: Timestamp) -> Self {
        App {
            rates: Rates::default(),
            last: None,
            error: None,
            notice: None,
            now,
            size,
            sort: Sort { by: Column::Service, reversed: false },
            filter: String::new(),
            mode: Mode::Table,
            rows: vec![],
            cursor: 0,
            selected: None,
        }
    }

    /// Takes in what happened at `now`.
    pub(super) fn update(&mut self, event: Event, now: Timestamp) -> Option<Effect> {
        self.now = now;
        match event {
            Event::Answer(Ok(status), at) => {
                self.rates.look(&status, at);
                (self.last, self.error) = (Some((*status, now)), None);
                self.arrange();
                None
            }
            Event::Answer(Err(error), _) => {
                self.error = Some(error);
                None
            }
            Event::Said(request, answer) => {
                let OverrideRequest { service, backend, .. } = &request;
                let failed = |error| format!("{service}/{backend}: not done: {error}");
                self.notice = Some(answer.map(|backend| told(&request, &backend)).map_err(failed));
                None
            }
            Event::Size(columns, rows) => {
                self.size = (columns, rows);
                None
            }
            Event::Key(key) => self.key(key),
            Event::End => Some(Effect::Quit),
        }
    }

    /// The selected backend.
    pub(super) fn selected(&self) -> Option<Row<'_>> {
        let (status, _) = self.last.as_ref()?;
        self.rows.get(self.cursor).map(|place| row(status, *place))
    }

    fn key(&mut self, key: KeyEvent) -> Option<Effect> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Effect::Quit);
        }
        self.notice = None;
        match std::mem::replace(&mut self.mode, Mode::Table) {
            Mode::Table => return self.table_key(key.code),
            Mode::Filter => self.filter_key(key.code),
            Mode::Confirm(request) if key.code == KeyCode::Char('y') => {
                return Some(Effect::Override(request));
            }
            Mode::Confirm(_) => self.notice = Some(Ok("cancelled".to_owned())),
            // Any key leaves it.
            Mode::Help => {}
        }
        None
    }

    fn table_key(&mut self, key: KeyCode) -> Option<Effect> {
        match key {
            KeyCode::Char('q') => return Some(Effect::Quit),
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('d') => self.ask(Admin::Drain),
            KeyCode::Char('e') => self.ask(Admin::Enabled),
            KeyCode::Char('s') => {
                self.sort = Sort { by: self.sort.by.next(), reversed: false };
                self.arrange();
            }
            KeyCode::Char('r') => {
                self.sort.reversed = !self.sort.reversed;
                self.arrange();
            }
            KeyCode::Esc => self.set_filter(String::new()),
            _ => self.move_key(key),
        }
        None
    }

    fn filter_key(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => return,
            KeyCode::Esc => return self.set_filter(String::new()),
            KeyCode::Char(c) => self.set_filter(format!("{}{c}", self.filter)),
            KeyCode::Backspace => {
                let mut filter = self.filter.clone();
                filter.pop();
                self.set_filter(filter);
            }
            _ => self.move_key(key),
        }
        self.mode = Mode::Filter;
    }

    fn move_key(&mut self, key: KeyCode) {
        let page = view::page(self);
        let to = match key {
            KeyCode::Up | KeyCode::Char('k') => self.cursor.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.cursor + 1,
            KeyCode::PageUp => self.cursor.saturating_sub(page),
            KeyCode::PageDown => self.cursor + page,
            KeyCode::Home => 0,
            KeyCode::End => usize::MAX,
            _ => return,
        };
        self.move_to(to);
    }

    fn move_to(&mut self, row: usize) {
        self.cursor = row.min(self.rows.len().saturating_sub(1));
        self.selected = self.selected().map(|row| (row.service.name.clone(), row.backend.name.clone()));
    }

    fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.arrange();
    }

    fn ask(&mut self, admin: Admin) {
        let Some(Row { service, backend }) = self.selected() else { return };
        let (service, name) = (service.name.clone(), backend.name.clone());
        if backend.admin == admin {
            self.notice = Some(Ok(format!("{service}/{name}: {} already", admin.as_str())));
        } else {
            let change = OverrideChange::Admin(admin);
            self.mode = Mode::Confirm(OverrideRequest { service, backend: name, change, reason: None });
        }
    }

    /// Filters and sorts anew; what is selected stays so, or what is in its place now.
    fn arrange(&mut self) {
        let Some((status, _)) = &self.last else { return };
        self.rows = select(status, &self.rates, self.sort, &self.filter);
        let is_selected = |place: &Place| {
            let Row { service, backend } = row(status, *place);
            self.selected.as_ref().is_some_and(|(of, name)| *of == service.name && *name == backend.name)
        };
        let at = self.rows.iter().position(is_selected);
        self.move_to(at.unwrap_or(self.cursor));
    }
}

/// What a backend is after an operator said something of it.
fn told(request: &OverrideRequest, reply: &OverrideReply) -> String {
    let BackendStatus { name, admin, share, .. } = &reply.backend;
    let lost = if reply.not_remembered.is_some() { "; a restart loses it" } else { "" };
    format!("{}/{name}: {}, {} of new connections{lost}", request.service, admin.as_str(), percent(*share))
}
