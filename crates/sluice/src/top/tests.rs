use std::time::{Duration, Instant};

use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Terminal, style::Color};
use sluice_api::{
    Admin, Health, OverrideChange, OverrideReply, OverrideRequest, ProbeStatus, ServiceState, Status,
    Timestamp,
};

use super::app::{App, Effect, Event, Mode};
use super::column::{Column, fit};
use super::view;
use crate::golden::assert_golden;
use crate::status_text::tests::{at, backend, service, status};

const NO_DAEMON: &str = "sluiced is not running, or its socket is elsewhere: connect /run/sluice/sluice.sock: No such file \
                         or directory (os error 2) (start it with systemctl start sluiced, or set --socket)";

fn now() -> Timestamp {
    at("2025-01-05T00:01:00Z")
}

/// Three services with backends in every state.
fn pool() -> Status {
    let mut state = status();
    let mut dns = service("dns", &["203.0.113.10:53/udp"], ServiceState::Empty);
    dns.backends = vec![backend("ns1", "10.0.2.21:53", 1, 0.0)];
    (dns.backends[0].health, dns.backends[0].eligible) = (Health::Unhealthy, false);
    dns.backends[0].last_probe = Some(ProbeStatus {
        ok: Some(false),
        at: at("2025-01-05T00:00:48Z"),
        took_ms: 0.4,
        detail: "connect 10.0.2.21:53: connection refused".into(),
        count: 3,
        needed: 3,
    });
    state.services[0] = dns;
    let web = &mut state.services[2].backends;
    (web[0].active, web[1].active, web[2].active) = (Some(7), Some(1200), Some(2));
    web[1].health = Health::Healthy;
    web[2].admin = Admin::Drain;
    state
}

/// An app that has seen the pool twice, on a terminal of this size.
fn app(size: (u16, u16)) -> App {
    let (mut app, start, mut state) = (App::new(size, now()), Instant::now(), pool());
    app.update(Event::Answer(Ok(Box::new(state.clone())), start), now());
    for (index, grown) in [(0, 10), (1, 250)] {
        state.services[2].backends[index].connections_total += grown;
    }
    app.update(Event::Answer(Ok(Box::new(state)), start + Duration::from_secs(2)), now());
    app
}

fn key(app: &mut App, code: KeyCode) -> Option<Effect> {
    app.update(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), now())
}

fn type_keys(app: &mut App, text: &str) {
    for c in text.chars() {
        assert_eq!(key(app, KeyCode::Char(c)), None);
    }
}

/// The screen as text, and what is on it in colour.
fn draw(app: &App, colour: bool) -> (String, usize) {
    let mut terminal = Terminal::new(TestBackend::new(app.size.0, app.size.1)).unwrap();
    terminal.draw(|frame| view::draw(frame, app, colour)).unwrap();
    let buffer = terminal.backend().buffer();
    let coloured = buffer.content().iter().filter(|cell| cell.fg != Color::Reset).count();
    let row = |y| (0..app.size.0).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    ((0..app.size.1).map(|y| format!("{}|\n", row(y))).collect(), coloured)
}

/// Names of the backends in the table, from the first.
fn order(app: &App) -> Vec<String> {
    let (status, _) = app.last.as_ref().unwrap();
    app.rows
        .iter()
        .map(|(service, backend)| status.services[*service].backends[*backend].name.clone())
        .collect()
}

fn selected(app: &App) -> &str {
    &app.selected().unwrap().backend.name
}

fn drain(backend: &str) -> OverrideRequest {
    let change = OverrideChange::Admin(Admin::Drain);
    OverrideRequest { service: "web".into(), backend: backend.into(), change, reason: None }
}

#[test]
fn screen_of_every_size_shows_what_fits() {
    for (columns, rows) in [(80, 24), (120, 16), (48, 14), (30, 10)] {
        assert_golden(&format!("top-{columns}x{rows}.txt"), &draw(&app((columns, rows)), false).0);
    }
    for size in [(1, 1), (3, 2), (8, 3), (0, 0)] {
        let mut app = app(size);
        key(&mut app, KeyCode::PageDown);
        draw(&app, true);
    }
}

#[test]
fn screen_in_every_mode_is_as_reviewed() {
    let mut app = app((80, 18));
    let mut screens = String::new();
    let mut show = |app: &App, what: &str| screens += &format!("== {what}\n{}", draw(app, false).0);
    type_keys(&mut app, "jj/WEB heal");
    show(&app, "typing a filter");
    assert_eq!(key(&mut app, KeyCode::Enter), None);
    type_keys(&mut app, "d");
    show(&app, "asked whether to drain");
    assert_eq!(key(&mut app, KeyCode::Char('y')), Some(Effect::Override(drain("web2"))));
    app.update(Event::Said(drain("web2"), Err("no service web (did you mean www?)".into())), now());
    show(&app, "refused");
    type_keys(&mut app, "?");
    show(&app, "help");
    type_keys(&mut app, "x/zzz");
    show(&app, "nothing matches");
    assert_golden("top-modes.txt", &screens);
}

#[test]
fn screen_while_the_daemon_is_away_says_what_to_do_and_keeps_what_was_known() {
    let mut app = App::new((80, 12), now());
    let mut screens = draw(&app, false).0;
    app.update(Event::Answer(Err(NO_DAEMON.into()), Instant::now()), now());
    screens += &format!("==\n{}", draw(&app, false).0);
    app.update(Event::Answer(Ok(Box::new(pool())), Instant::now()), now());
    app.update(Event::Answer(Err(NO_DAEMON.into()), Instant::now()), at("2025-01-05T00:01:09Z"));
    screens += &format!("==\n{}", draw(&app, false).0);
    assert_golden("top-away.txt", &screens);
    let mut failed = pool();
    failed.reload.ok = false;
    failed.reload.problems = vec!["sluice.yaml:3:5: error: unknown key lisen (did you mean listen?)".into()];
    (failed.table.synced, failed.table.error) = (false, Some("commit: ENOMEM".into()));
    app.update(Event::Answer(Ok(Box::new(failed)), Instant::now()), now());
    let told = draw(&app, false).0;
    assert!(told.contains("kernel not in sync: commit: ENOMEM"), "{told}");
    assert!(told.contains("config failed 2s ago: sluice.yaml:3:5: error: unknown key"), "{told}");
    assert!(!told.contains("not running"), "{told}");
}

#[test]
fn colours_are_there_only_when_requested() {
    let app = app((80, 24));
    assert_eq!(draw(&app, false).1, 0);
    assert!(draw(&app, true).1 > 0);
    assert_eq!(draw(&app, false).0, draw(&app, true).0);
}

#[test]
fn sort_by_each_column_puts_first_what_is_looked_for() {
    let mut app = app((80, 24));
    let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (ns1, first, web2, web3) = ("ns1", "10.0.2.11:8080", "web2", "web3");
    let by = |order: [&str; 4]| order.map(str::to_owned).to_vec();
    assert_eq!(order(&app), by([ns1, first, web2, web3]), "as the daemon tells them");
    let expected = [
        (Column::Backend, by([first, ns1, web2, web3])),
        (Column::State, by([ns1, web3, first, web2])),
        (Column::New, by([web2, first, ns1, web3])),
        (Column::Active, by([web2, first, web3, ns1])),
        (Column::Share, by([web2, first, ns1, web3])),
        (Column::Weight, by([web2, ns1, first, web3])),
        (Column::Since, by([web2, ns1, first, web3])),
        (Column::Service, by([ns1, first, web2, web3])),
    ];
    for (column, expected) in expected {
        type_keys(&mut app, "s");
        assert_eq!((app.sort.by, order(&app)), (column, expected));
    }
    type_keys(&mut app, "r");
    assert_eq!(order(&app), names("web3 web2 10.0.2.11:8080 ns1"));
    type_keys(&mut app, "s");
    assert!(!app.sort.reversed, "the next column sorts its own way");
}

#[test]
fn selected_backend_stays_so_wherever_it_moves() {
    let mut app = app((80, 24));
    type_keys(&mut app, "jj");
    assert_eq!((selected(&app), app.cursor), ("web2", 2));
    type_keys(&mut app, "ss");
    assert_eq!((selected(&app), app.cursor), ("web2", 3), "sorted by state");
    type_keys(&mut app, "/ns1");
    assert_eq!(selected(&app), "ns1", "what is in its place");
    key(&mut app, KeyCode::Esc);
    assert_eq!((selected(&app), order(&app).len(), &app.mode), ("ns1", 4, &Mode::Table));
    let mut gone = pool();
    gone.services.remove(0);
    app.update(Event::Answer(Ok(Box::new(gone)), Instant::now()), now());
    assert_eq!(app.cursor, 0);
    let nothing = Status { services: vec![], ..pool() };
    app.update(Event::Answer(Ok(Box::new(nothing)), Instant::now()), now());
    assert!(app.selected().is_none());
    type_keys(&mut app, "jd");
    assert_eq!(app.mode, Mode::Table, "nobody to drain");
    assert!(draw(&app, true).0.contains("no backends"));
}

#[test]
fn filter_takes_words_in_any_order_and_letters_of_any_case() {
    let mut app = app((80, 24));
    for (filter, left) in
        [("WEB", 3), ("10.0.2", 3), ("unhealthy", 1), ("drain web", 1), ("web drain", 1), ("x", 0)]
    {
        type_keys(&mut app, "/");
        type_keys(&mut app, filter);
        assert_eq!(order(&app).len(), left, "{filter}");
        key(&mut app, KeyCode::Esc);
    }
    type_keys(&mut app, "/webq");
    key(&mut app, KeyCode::Backspace);
    assert_eq!((order(&app).len(), app.filter.as_str()), (3, "web"));
    key(&mut app, KeyCode::Down);
    key(&mut app, KeyCode::Enter);
    assert_eq!((selected(&app), &app.mode), ("web2", &Mode::Table), "arrows move while it is typed");
    key(&mut app, KeyCode::Esc);
    assert_eq!(order(&app).len(), 4);
}

#[test]
fn drain_and_enable_are_done_after_y_only() {
    let mut app = app((80, 24));
    type_keys(&mut app, "jjd");
    assert_eq!(app.mode, Mode::Confirm(drain("web2")));
    // What comes meanwhile changes nothing about whom it is for.
    let mut other = pool();
    other.services[2].backends.remove(1);
    app.update(Event::Answer(Ok(Box::new(other)), Instant::now()), now());
    assert_eq!(app.mode, Mode::Confirm(drain("web2")));
    for no in [KeyCode::Char('n'), KeyCode::Char('Y'), KeyCode::Enter, KeyCode::Esc, KeyCode::Char('q')] {
        app.mode = Mode::Confirm(drain("web2"));
        assert_eq!(key(&mut app, no), None, "{no:?}");
        assert_eq!((&app.mode, &app.notice), (&Mode::Table, &Some(Ok("cancelled".into()))));
    }
    key(&mut app, KeyCode::Home);
    type_keys(&mut app, "d");
    let request = OverrideRequest { service: "dns".into(), ..drain("ns1") };
    assert_eq!(key(&mut app, KeyCode::Char('y')), Some(Effect::Override(request.clone())));
    let mut drained = backend("ns1", "10.0.2.21:53", 1, 0.0);
    drained.admin = Admin::Drain;
    app.update(
        Event::Said(request, Ok(Box::new(OverrideReply { backend: drained, not_remembered: None }))),
        now(),
    );
    assert_eq!(app.notice, Some(Ok("dns/ns1: drain, 0.0 % of new connections".into())));
    type_keys(&mut app, "e");
    assert_eq!(app.notice, Some(Ok("dns/ns1: enabled already".into())));
    key(&mut app, KeyCode::End);
    type_keys(&mut app, "e");
    let enable = OverrideRequest { change: OverrideChange::Admin(Admin::Enabled), ..drain("web3") };
    assert_eq!(key(&mut app, KeyCode::Char('y')), Some(Effect::Override(enable)));
}

#[test]
fn leaving_is_q_in_the_table_and_control_c_or_the_end_of_the_terminal_anywhere() {
    let mut app = app((80, 24));
    assert_eq!(key(&mut app, KeyCode::Char('q')), Some(Effect::Quit));
    type_keys(&mut app, "/q");
    assert_eq!(app.filter, "q");
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(app.update(Event::Key(control_c), now()), Some(Effect::Quit));
    assert_eq!(app.update(Event::End, now()), Some(Effect::Quit));
}

#[test]
fn table_of_ten_thousand_draws_what_is_seen_and_scrolls_by_pages() {
    let mut app = App::new((80, 24), now());
    let mut state = status();
    state.services.truncate(1);
    state.services[0].backends =
        (0..10_000).map(|n| backend(&format!("b{n:05}"), "10.0.2.11:8080", 1, 0.0001)).collect();
    app.update(Event::Answer(Ok(Box::new(state)), Instant::now()), now());
    let page = view::page(&app);
    let seen = |app: &App| {
        let text = draw(app, false).0;
        let rows: Vec<_> = text.lines().filter(|line| line.contains(" b0")).collect();
        assert_eq!(rows.len(), page, "{text}");
        assert!(rows.iter().any(|line| line.contains(selected(app))), "{text}");
        rows[0].split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(seen(&app), "b00000");
    key(&mut app, KeyCode::PageDown);
    assert_eq!(selected(&app), format!("b{page:05}"));
    seen(&app);
    key(&mut app, KeyCode::End);
    assert_eq!((selected(&app), seen(&app)), ("b09999", format!("b{:05}", 10_000 - page)));
    key(&mut app, KeyCode::Down);
    assert_eq!(selected(&app), "b09999");
    key(&mut app, KeyCode::PageUp);
    assert_eq!(selected(&app), format!("b{:05}", 9999 - page));
    key(&mut app, KeyCode::Home);
    assert_eq!(seen(&app), "b00000");
}

#[test]
fn forty_columns_show_states_and_rates() {
    let shown = |width| fit(width, (3, 14)).into_iter().map(|(column, _)| column).collect::<Vec<_>>();
    for column in [Column::Backend, Column::State, Column::New] {
        assert!(shown(40).contains(&column), "{column:?}: {:?}", shown(40));
    }
    assert_eq!(shown(100).len(), Column::ALL.len());
}

#[test]
fn columns_never_take_more_than_there_is() {
    for width in 0..200 {
        for longest in [(3, 5), (12, 14), (63, 63)] {
            let columns = fit(width, longest);
            let taken: usize = columns.iter().map(|(_, width)| usize::from(*width) + 1).sum();
            assert!(
                taken <= usize::from(width) + 1 || columns.len() == 2,
                "{width} {longest:?}: {columns:?}"
            );
            assert!(columns.iter().any(|(column, _)| *column == Column::Backend));
        }
    }
    assert_eq!(fit(80, (3, 14)).len(), 8);
}
