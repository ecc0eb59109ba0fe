//! Problems of a file, as shown to the administrator.

use std::fmt;
use std::path::{Path, PathBuf};

/// The severity of a [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is valid, but probably not what was meant.
    Warning,
}

/// One problem in one file. `Display` is one line, `FILE:LINE:COL: error: WHAT (FIX)`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// The path of the file, as it was given.
    pub file: PathBuf,
    /// Line, from 1; `None` for the file as a whole.
    pub line: Option<u32>,
    /// Column in characters, from 1; `None` if `line` is.
    pub column: Option<u32>,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// How to fix it.
    pub fix: String,
}

impl Problem {
    /// An error of the file as a whole.
    pub fn file(file: &Path, fault: Fault) -> Self {
        Self::at(file, None, Severity::Error, fault)
    }

    pub(crate) fn at(file: &Path, position: Option<Position>, severity: Severity, fault: Fault) -> Self {
        Problem {
            file: file.to_owned(),
            line: position.map(|at| at.line),
            column: position.map(|at| at.column),
            severity,
            what: fault.what,
            fix: fault.fix,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}:")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, " {severity}: {} ({})", self.what, self.fix)
    }
}

/// A problem without its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub what: String,
    /// How to fix it.
    pub fix: String,
}

impl Fault {
    /// Both texts are in lower case, without a full stop.
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Fault { what: what.into(), fix: fix.into() }
    }
}

/// A position in a text; both from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Position {
    /// The position of the character at byte `offset` of `text`.
    pub(crate) fn of(text: &[u8], offset: usize) -> Self {
        let before = &text[..offset];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        Position {
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count() as u32,
            column: 1 + String::from_utf8_lossy(&before[line_start..]).chars().count() as u32,
        }
    }
}

/// Text of the file for a message: in backquotes, on one line, truncated.
pub(crate) fn quoted(text: impl fmt::Display) -> String {
    in_backquotes(&text.to_string(), 80)
}

/// A path for a message: in backquotes, not truncated.
pub(crate) fn quoted_path(path: &Path) -> String {
    in_backquotes(&path.to_string_lossy(), usize::MAX)
}

fn in_backquotes(text: &str, longest: usize) -> String {
    let mut shown = String::from("`");
    for (n, c) in text.chars().enumerate() {
        match c {
            _ if n == longest => {
                shown.push('…');
                break;
            }
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown.push('`');
    shown
}

/// The element of `known` that is closest to `word`, if it is close enough.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', ' '], "-");
    // The distance costs the square of the length, and no known word is long.
    if word.len() > 40 {
        return None;
    }
    let word = plain(word);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
