//! [`Contents`]: the backends in the files of one pattern.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use sluice_config::{Problem, Severity, SourceFile, parse_backends};
use sluice_core::model::{Answer, Found};

use crate::MAX_FOUND;
use crate::reply::{LookupError, Reply};

/// What the files contained when they were last read.
#[derive(Debug, Default)]
pub(super) struct Contents(BTreeMap<PathBuf, Content>);

#[derive(Debug, Default)]
struct Content {
    /// Of the text that was parsed last.
    digest: Option<u64>,
    /// Backends of the last good text; `None`: there was none yet.
    good: Option<Vec<Found>>,
    /// The first problem of the text, and the number of all.
    error: Option<String>,
}

impl Contents {
    /// Reads all files of the pattern. One with an error keeps its last good content, and the others go on.
    pub(super) fn read(&mut self, pattern: &Path) -> Result<Reply, LookupError> {
        let paths = matching(pattern)?;
        self.0.retain(|path, _| paths.contains(path));
        for path in paths {
            match SourceFile::read(&path) {
                Ok(source) => self.0.entry(path).or_default().parse(&source),
                Err(_) if is_gone(&path) => {
                    self.0.remove(&path);
                }
                Err(problem) => self.0.entry(path).or_default().fail(problem.to_string()),
            }
        }
        self.reply()
    }

    fn reply(&self) -> Result<Reply, LookupError> {
        let mut origins = BTreeMap::new();
        let mut found = Vec::new();
        let mut errors: Vec<_> = self.0.values().filter_map(|content| content.error.clone()).collect();
        for (path, content) in &self.0 {
            for backend in content.good.iter().flatten() {
                let key = (backend.address, backend.port);
                match origins.get(&key) {
                    None => {
                        origins.insert(key, path);
                        found.push(backend.clone());
                    }
                    Some(other) => {
                        let address = backend.address;
                        let [path, other] = [path, other].map(|path| path.display());
                        errors.push(format!("{path}: error: {address} is in {other} with the same port"));
                    }
                }
            }
        }
        if found.len() > MAX_FOUND {
            let number = found.len();
            return Err(LookupError(format!("{number} backends; at most {MAX_FOUND} are allowed")));
        }
        let keeps_previous = self.0.values().any(|content| content.good.is_none());
        let error = match errors.len() {
            0 => None,
            1 => errors.pop(),
            number => Some(format!("{} (and {} more)", errors.swap_remove(0), number - 1)),
        };
        Ok(Reply { answer: Answer { found }, ttl: None, error, keeps_previous })
    }
}

impl Content {
    fn parse(&mut self, source: &SourceFile) {
        let mut hasher = DefaultHasher::new();
        source.text.hash(&mut hasher);
        let digest = Some(hasher.finish());
        if self.digest == digest {
            return;
        }
        match parse_backends(&source.path, &source.text) {
            Ok(found) => *self = Content { digest, good: Some(found), error: None },
            Err(problems) => {
                self.digest = digest;
                self.error = Some(describe(&problems));
            }
        }
    }

    fn fail(&mut self, error: String) {
        (self.digest, self.error) = (None, Some(error));
    }
}

/// The first error, with file, line and column.
fn describe(problems: &[Problem]) -> String {
    let mut errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    match (errors.next(), errors.count()) {
        (None, _) => "invalid".to_owned(),
        (Some(error), 0) => error.to_string(),
        (Some(error), more) => format!("{error} (and {more} more)"),
    }
}

/// The files of a pattern, in order. Wildcards are in the last component, and match no leading dot.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, LookupError> {
    const SHELL: glob::MatchOptions = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let Some(name) = pattern.file_name().and_then(|name| name.to_str()) else {
        return Err(LookupError("it is not the path of a file".to_owned()));
    };
    if !name.contains(['*', '?', '[']) {
        return Ok(if is_gone(pattern) { vec![] } else { vec![pattern.to_owned()] });
    }
    let wildcard =
        glob::Pattern::new(name).map_err(|error| LookupError(format!("invalid pattern: {error}")))?;
    let directory = pattern.parent().unwrap_or(Path::new("/"));
    let unreadable =
        |error| LookupError(format!("cannot read the directory {}: {error}", directory.display()));
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(unreadable)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        if name.to_str().is_some_and(|name| wildcard.matches_with(name, SHELL)) {
            paths.push(directory.join(name));
        }
        if paths.len() > MAX_FOUND {
            return Err(LookupError(format!("more than {MAX_FOUND} files match")));
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Whether nothing has this name, not even a link to nowhere.
fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}
