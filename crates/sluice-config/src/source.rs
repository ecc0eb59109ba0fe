//! Files: the only part of the crate that touches any.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::problem::{Fault, Position, Problem, Severity, quoted, quoted_path};

/// Largest file that is read, in bytes. Fifty thousand services with four backends each take 8 MB.
pub const MAX_FILE_SIZE: u64 = 64 << 20;

/// A text and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name it has in problems.
    pub path: PathBuf,
    /// The YAML text.
    pub text: String,
}

/// What one `include` pattern stands for: files in order, each read or refused on its own.
pub type Included = Result<Vec<Result<Source, Problem>>, Fault>;

impl Source {
    /// Reads a file of at most [`MAX_FILE_SIZE`] bytes of UTF-8. A pipe is read to its end.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let bytes = read(path).map_err(|error| {
            let fix = match error.kind() {
                io::ErrorKind::NotFound => "check the path",
                io::ErrorKind::PermissionDenied => "check the owner and the mode",
                io::ErrorKind::IsADirectory => "name a file",
                _ => "check the file",
            };
            Problem::file(path, Fault::new(format!("cannot read the file: {error}"), fix))
        })?;
        if bytes.len() as u64 > MAX_FILE_SIZE {
            let what = format!("the file is larger than {} MB", MAX_FILE_SIZE >> 20);
            return Err(Problem::file(path, Fault::new(what, "split it with `include`")));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = Position::of(error.as_bytes(), error.utf8_error().valid_up_to());
            let fault = Fault::new("the file is not UTF-8 here", "save it as UTF-8");
            Problem::at(path, Some(at), Severity::Error, fault)
        })?;
        Ok(Source { path: path.to_owned(), text })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Finds and reads the files that `pattern` in `file` stands for, sorted by name.
///
/// The pattern is relative to the folder of `file`; as in a shell, a wildcard matches neither `/`
/// nor a leading dot. A pattern with a wildcard may match nothing, a plain path must exist.
pub(crate) fn include(file: &Path, pattern: &str) -> Included {
    const SHELL: glob::MatchOptions = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    if !pattern.contains(['*', '?', '[']) {
        let path = folder.join(pattern);
        return match path.try_exists() {
            Ok(false) => Err(Fault::new(format!("no file {}", quoted_path(&path)), "check the path")),
            _ if same(&path, file) => Err(itself(pattern)),
            _ => Ok(vec![Source::read(&path)]),
        };
    }
    // The folder is a plain path, whatever characters it is made of.
    let whole = if Path::new(pattern).is_absolute() || folder.as_os_str().is_empty() {
        pattern.to_owned()
    } else {
        format!("{}/{pattern}", glob::Pattern::escape(&folder.to_string_lossy()))
    };
    let paths = glob::glob_with(&whole, SHELL).map_err(|error| {
        Fault::new(format!("{} is no pattern: {}", quoted(pattern), error.msg), "use *, ? and [a-z]")
    })?;
    let mut found = Vec::new();
    for path in paths {
        match path {
            Ok(path) if same(&path, file) => return Err(itself(pattern)),
            Ok(path) => found.push((path.clone(), Source::read(&path))),
            Err(error) => {
                let fault =
                    Fault::new(format!("cannot read the folder: {}", error.error()), "check its mode");
                found.push((error.path().to_owned(), Err(Problem::file(error.path(), fault))));
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found.into_iter().map(|(_, source)| source).collect())
}

fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn itself(pattern: &str) -> Fault {
    Fault::new(
        format!("{} matches the file it is written in", quoted(pattern)),
        "keep included files in a folder of their own, such as `conf.d/*.yaml`",
    )
}
