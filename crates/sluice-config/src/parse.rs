//! Text to configuration, without I/O.

use std::collections::HashSet;
use std::mem;
use std::path::PathBuf;

use serde::de::DeserializeSeed;

use crate::document::{Main, Snippet};
use crate::file::{Included, SourceFile};
use crate::outline::Root;
use crate::problem::{Fault, Position, Problem, Severity};
use crate::read::{FromYaml, Given, Many, Seed};
use crate::values::PathPattern;
use crate::yaml_path::{Finding, Findings, Here, YamlPath};
use crate::{Loaded, outline, validate};

/// Validates `main` and the files it includes. `include` reads the files of one pattern.
///
/// # Errors
/// As [`load`](crate::load).
pub fn parse(main: SourceFile, include: impl Fn(&str) -> Included) -> Result<Loaded, Vec<Problem>> {
    let findings = Findings::default();
    let mut files = vec![File::new(main, Root::Settings)];
    let here = Here::root(&findings, 0);
    let mut main: Main = files[0].read(&here).unwrap_or_default();
    let mut services = vec![mem::take(&mut main.services).unwrap_or_default()];
    for source in included(&here.key("include"), mem::take(&mut main.include), include) {
        let mut file = source.map_or_else(File::refused, |source| File::new(source, Root::Settings));
        let snippet: Snippet = file.read(&Here::root(&findings, files.len())).unwrap_or_default();
        services.push(snippet.services.unwrap_or_default());
        files.push(file);
    }
    let config = validate::validate(&findings, main, services);

    let path = files[0].source.path.clone();
    let mut problems = located(files, findings.into_inner());
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    let nothing = match config.services.is_empty() {
        true => Some(Fault::new("no service is defined", "add one under `services`")),
        false if config.services.values().all(|service| !service.enabled) => {
            Some(Fault::new("no service is enabled", "set `enabled: true`, or leave it out"))
        }
        false => None,
    };
    problems.extend(nothing.map(|fault| Problem::at(&path, None, Severity::Warning, fault)));
    Ok(Loaded { config, warnings: problems })
}

/// The control socket of a file, even if the rest of the file is invalid; `None` if it sets none.
pub(crate) fn control_socket(main: SourceFile) -> Result<Option<PathBuf>, Problem> {
    let findings = Findings::default();
    let mut file = File::new(main, Root::Settings);
    let main: Option<Main> = file.read(&Here::root(&findings, 0));
    match (main, file.refused) {
        (None, Some(problem)) => Err(problem),
        (main, _) => {
            let control = main.unwrap_or_default().control.unwrap_or_default();
            Ok(control.socket.map_or_else(|| None, |path| Some(path.0)))
        }
    }
}

/// The files of all patterns, each once.
fn included(
    here: &Here<'_>,
    patterns: Given<Many<PathPattern>>,
    include: impl Fn(&str) -> Included,
) -> Vec<Result<SourceFile, Problem>> {
    let mut seen = HashSet::new();
    let mut sources = Vec::new();
    for (index, pattern) in patterns.unwrap_or(Many(vec![])).0.into_iter().enumerate() {
        let Some(pattern) = pattern else { continue };
        match include(&pattern.0) {
            Ok(found) => sources.extend(found.into_iter().filter(|source| {
                seen.insert(match source {
                    Ok(source) => source.path.clone(),
                    Err(problem) => problem.file.clone(),
                })
            })),
            Err(fault) => here.index(index).error(fault),
        }
    }
    sources
}

/// A file, and the problem if its text is not YAML.
pub(crate) struct File {
    source: SourceFile,
    root: Root,
    refused: Option<Problem>,
}

impl File {
    pub(crate) fn new(mut source: SourceFile, root: Root) -> Self {
        // The two parsers treat a byte order mark differently.
        if source.text.starts_with('\u{feff}') {
            source.text.drain(..'\u{feff}'.len_utf8());
        }
        File { source, root, refused: None }
    }

    fn refused(problem: Problem) -> Self {
        let source = SourceFile { path: problem.file.clone(), text: String::new() };
        File { source, root: Root::Settings, refused: Some(problem) }
    }

    /// Reads the text; `None` if it is not YAML or not a `T`.
    pub(crate) fn read<T: FromYaml>(&mut self, here: &Here<'_>) -> Option<T> {
        if self.refused.is_some() {
            return None;
        }
        let text = &self.source.text;
        let read = control_character(text).and_then(|()| outline::check(text, self.root)).and_then(|()| {
            Seed::new(*here)
                .deserialize(serde_yaml::Deserializer::from_str(text))
                .map_err(|error| disagreement(&error))
        });
        match read {
            Ok(document) => document,
            Err((at, fault)) => {
                let problem = Problem::at(&self.source.path, Some(at), Severity::Error, fault);
                self.refused = Some(problem);
                None
            }
        }
    }
}

/// YAML allows no other control characters, not even in quotes, and its parsers report their position inexactly.
fn control_character(text: &str) -> Result<(), (Position, Fault)> {
    let allowed = |c| matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    match text.char_indices().find(|(_, c)| c.is_control() && !allowed(*c)) {
        None => Ok(()),
        Some((offset, c)) => {
            let what = format!("control character U+{:04X}", c as u32);
            Err((Position::of(text.as_bytes(), offset), Fault::new(what, "remove it")))
        }
    }
}

/// An error that only the second parser finds.
fn disagreement(error: &serde_yaml::Error) -> (Position, Fault) {
    let position = error.location().map_or(Position { line: 1, column: 1 }, |at| Position {
        line: at.line() as u32,
        column: at.column() as u32,
    });
    (
        position,
        Fault::new(
            format!("not valid YAML: {error}"),
            "check the indentation, quotes and brackets up to here",
        ),
    )
}

/// Adds lines and columns to findings, in file order. A file that is not YAML has only that problem.
pub(crate) fn located(files: Vec<File>, mut findings: Vec<Finding>) -> Vec<Problem> {
    findings.retain(|finding| files[finding.place.file].refused.is_none());
    let mut places: Vec<Vec<&YamlPath>> = vec![Vec::new(); files.len()];
    for Finding { place, see, .. } in &findings {
        [Some(place), see.as_ref()].into_iter().flatten().for_each(|place| places[place.file].push(place));
    }
    // A file without findings is not walked again.
    let mut positions: Vec<_> = files
        .iter()
        .zip(places)
        .map(|(file, places)| match places.is_empty() {
            true => Vec::new().into_iter(),
            false => outline::locate(&file.source.text, file.root, &places).into_iter(),
        })
        .collect();
    let mut position = |place: &YamlPath| positions[place.file].next().flatten();

    let mut problems = Vec::new();
    for Finding { place, severity, mut fault, see } in findings {
        let at = position(&place);
        if let Some(see) = see {
            let line = position(&see).map_or(0, |at| at.line);
            fault.what = format!("{} at {}:{line}", fault.what, files[see.file].source.path.display());
        }
        let problem = Problem::at(&files[place.file].source.path, at, severity, fault);
        problems.push((place.file, problem));
    }
    problems.extend(files.into_iter().enumerate().filter_map(|(n, file)| Some((n, file.refused?))));
    problems.sort_by_key(|(file, problem)| (*file, problem.line, problem.column));
    problems.into_iter().map(|(_, problem)| problem).collect()
}
