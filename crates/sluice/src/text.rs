//! How things are written for people: ages, rates, amounts, colours, and text that others chose.

use std::borrow::Cow;
use std::time::Duration;

use sluice_api::Timestamp;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Time from `then` to `now`; 0 s when the clock was set back.
pub(crate) fn age(now: Timestamp, then: Timestamp) -> String {
    duration(now.duration_since(then).as_secs().max(0).unsigned_abs())
}

/// Why there is no newer answer than one at `last`.
pub(crate) fn since_when(error: &str, last: Option<Timestamp>, now: Timestamp) -> String {
    match last {
        Some(last) => format!("{error}; last answer {} ago", age(now, last)),
        None => error.to_owned(),
    }
}

/// Seconds in their two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// Parses a time in whole seconds, minutes or hours: `90s`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    match number.parse::<u32>() {
        Ok(number) if seconds > 0 => Ok(Duration::from_secs(u64::from(number) * seconds)),
        _ => Err("write a number with s, m or h, such as 90s".to_owned()),
    }
}

/// New connections per second, `-` when unknown: one digit behind the point where it tells something.
pub(crate) fn rate(per_second: Option<f64>) -> String {
    match per_second {
        None => "-".to_owned(),
        Some(rate) if rate < 100.0 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.0}"),
    }
}

/// A fraction, `25.0 %`.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.1} %", 100.0 * fraction)
}

/// A count that may be unknown.
pub(crate) fn count(count: Option<u64>) -> String {
    count.map_or("-".to_owned(), |count| count.to_string())
}

/// Bytes in the largest binary unit that leaves at least 1, `-` when they are not counted.
pub(crate) fn bytes(count: Option<u64>) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let Some(count) = count else { return "-".to_owned() };
    let Some(power) = count.checked_ilog2().map(|bits| bits / 10).filter(|power| *power > 0) else {
        return format!("{count} B");
    };
    let power = power.min(UNITS.len() as u32);
    format!("{:.1} {}", count as f64 / 1024_f64.powi(power as i32), UNITS[power as usize - 1])
}

/// A number with a comma before every third digit: `53,211`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Untrusted text, such as a probe's output or the name of a process, with control characters escaped.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let spelt = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(spelt).collect()
}

/// A user as `uid 1000 (alice)`; without a name if the system knows none.
pub(crate) fn user(uid: u32) -> String {
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    user.map_or_else(|| format!("uid {uid}"), |user| format!("uid {uid} ({})", safe(&user.name)))
}

/// The start of a line that takes at most `width` columns; colours stay whole, and end with it.
pub(crate) fn clip(line: &str, width: usize) -> String {
    let (mut text, mut left, mut coloured) = (String::new(), width, false);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        text.push(c);
        if c == '\x1b' {
            // Ours are of one form: ESC [ digits m.
            text.extend(rest.by_ref().take_while(|c| *c != 'm'));
            text.push('m');
            coloured = !text.ends_with("[0m");
            continue;
        }
        match left.checked_sub(c.width().unwrap_or(0)) {
            Some(still) => left = still,
            None => {
                text.pop();
                break;
            }
        }
    }
    if coloured { text + "\x1b[0m" } else { text }
}

/// Breaks text between words into lines of at most `width` columns; a longer word has one of its own.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => *line += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Colours by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As it should be.
    Good,
    /// It may become bad.
    Warn,
    /// Clients may notice.
    Bad,
    /// Of no weight.
    Dim,
}

impl Paint {
    /// The text in its colour, or as it is.
    pub(crate) fn on(self, text: &str, colour: bool) -> String {
        let code = match self {
            Paint::Good => 32,
            Paint::Warn => 33,
            Paint::Bad => 31,
            Paint::Dim => 2,
        };
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_of_a_clock_set_back_is_zero() {
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(age(at("2025-01-01T00:00:00Z"), at("2025-01-01T00:00:01Z")), "0s");
    }

    #[test]
    fn amounts_of_every_size_are_short() {
        let sizes = [0, 1023, 1024, 1536, 1 << 20, 5 << 30, u64::MAX];
        let told = sizes.map(|size| bytes(Some(size)));
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.0 GiB", "16384.0 PiB"]);
        assert_eq!([None, Some(0.0), Some(99.94), Some(1234.5)].map(rate), ["-", "0.0", "99.9", "1234"]);
        assert_eq!(
            [0, 999, 1000, 53_211, 1_234_567].map(grouped),
            ["0", "999", "1,000", "53,211", "1,234,567"]
        );
    }

    #[test]
    fn line_that_is_clipped_fits_and_keeps_no_colour() {
        assert_eq!(clip("abcdef", 6), "abcdef");
        assert_eq!(clip("abcdef", 4), "abcd");
        assert_eq!(clip("a\x1b[31mbcdef\x1b[0mg", 3), "a\x1b[31mbc\x1b[0m");
        assert_eq!(clip("\x1b[31mab\x1b[0m cd", 4), "\x1b[31mab\x1b[0m c");
        assert_eq!(clip("漢字", 3), "漢");
    }

    #[test]
    fn text_that_is_wrapped_loses_no_word() {
        assert_eq!(wrap("ab cd efghij k", 5), ["ab cd", "efghij", "k"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn text_of_others_with_control_characters_is_spelt_out() {
        assert_eq!(safe("connect: refused ü"), "connect: refused ü");
        assert_eq!(safe("a\x1b[2J\r\nb\u{9b}"), "a\\u{1b}[2J\\r\\nb\\u{9b}");
    }
}
