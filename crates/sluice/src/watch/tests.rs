use super::*;
use crate::golden::assert_golden;
use crate::status_text::tests::{at, status};

const NO_DAEMON: &str = "sluiced is not running, or its socket is elsewhere: connect /run/sluice/sluice.sock: No such file \
                         or directory (os error 2) (start it with systemctl start sluiced, or set --socket)";

/// A screen as text; no line is wider than it.
fn text(watch: &Watch, now: Timestamp, size: (u16, u16)) -> String {
    let lines = watch.screen(now, false, size);
    assert!(lines.len() <= size.1.into());
    lines.iter().map(|line| format!("{line}|\n")).collect()
}

#[test]
fn screen_after_two_looks_and_then_none_shows_rates_and_what_to_do() {
    let (mut watch, start, now) = (Watch::default(), Instant::now(), at("2025-01-05T00:01:00Z"));
    let mut state = status();
    watch.look(Ok(state.clone()), now, start);
    state.services[2].backends[1].connections_total += 3;
    watch.look(Ok(state), now, start + INTERVAL);
    let mut told = text(&watch, now, (110, 24));
    watch.look(Err(NO_DAEMON.to_owned()), now, start + 2 * INTERVAL);
    told += "=\n";
    told += &text(&watch, at("2025-01-05T00:01:02Z"), (60, 14));
    assert_golden("watch.txt", &told);
}

#[test]
fn screen_of_few_columns_shows_states_and_counters_of_all_backends() {
    let (mut watch, now) = (Watch::default(), at("2025-01-05T00:01:00Z"));
    watch.look(Ok(status()), now, Instant::now());
    assert_golden("watch-narrow.txt", &text(&watch, now, (50, 60)));
    let whole = watch.text(now, false).unwrap();
    assert!(whole.contains("CONNECTIONS") && whole.contains("WEIGHT"), "a pipe has no width: {whole}");
}

#[test]
fn screen_before_the_first_answer_shows_the_error_alone() {
    let (mut watch, now) = (Watch::default(), at("2025-01-05T00:01:00Z"));
    watch.look(Err("no daemon (start it)".to_owned()), now, Instant::now());
    assert_eq!(watch.screen(now, true, (80, 24)), ["\x1b[31mno daemon (start it)\x1b[0m", ""]);
    assert_eq!(watch.text(now, false), None);
}

#[test]
fn error_is_complained_of_once_until_there_is_another_or_an_answer() {
    let (mut watch, now) = (Watch::default(), at("2025-01-05T00:01:00Z"));
    assert_eq!((watch.complaint(), watch.status()), (None, None));
    let mut look = |answer: Result<(), &str>| {
        let answer = answer.map(|()| status()).map_err(str::to_owned);
        watch.look(answer, now, Instant::now());
        (watch.complaint(), watch.status().is_some())
    };
    assert_eq!(look(Err("gone")), (Some("gone".to_owned()), false));
    assert_eq!(look(Err("gone")), (None, false));
    assert_eq!(look(Err("broken")), (Some("broken".to_owned()), false));
    assert_eq!(look(Ok(())), (None, true));
    assert_eq!(look(Err("broken")), (Some("broken".to_owned()), false));
}

#[test]
fn screen_of_many_services_ends_with_what_else_to_do() {
    let (mut watch, now) = (Watch::default(), at("2025-01-05T00:01:00Z"));
    let mut state = status();
    let service = state.services[0].clone();
    state.services = vec![service; 1000];
    watch.look(Ok(state), now, Instant::now());
    let lines = watch.screen(now, false, (80, 24));
    assert_eq!((lines.len(), lines[23].starts_with("... 39")), (24, true), "{}", lines[23]);
    for size in [(1, 1), (0, 0), (10, 2)] {
        watch.screen(now, true, size);
    }
}

#[test]
fn pause_after_a_slow_look_is_as_long_as_that() {
    let ms = Duration::from_millis;
    assert_eq!([0, 100, 600, 3000].map(|took| pause(ms(took))), [1000, 900, 600, 3000].map(ms));
}
