//! Reading files: the only module of the crate with I/O.

use std::cell::Cell;
use std::fs::{self, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::problem::{Fault, Position, Problem, Severity, quoted, quoted_path};

/// Maximum size of a configuration with all included files, in bytes. 50,000 services with four backends each take 8 MB.
pub const MAX_SIZE: u64 = 64 << 20;

/// An included file counts as at least this many bytes, which limits the number of files, too.
const MIN_COUNTED: u64 = 1 << 10;

/// The text of a file, and its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The path for messages.
    pub path: PathBuf,
    /// The YAML text.
    pub text: String,
}

/// The files of one `include` pattern, in order, each read or refused separately.
pub type Included = Result<Vec<Result<SourceFile, Problem>>, Fault>;

impl SourceFile {
    /// Reads a regular file of at most [`MAX_SIZE`] bytes of UTF-8.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        FileReader::new().read(path)
    }
}

/// Reads the files of one configuration, at most [`MAX_SIZE`] bytes in total.
pub(crate) struct FileReader {
    left: Cell<u64>,
    /// Whether a file was larger than what was left. No further file is read.
    is_exceeded: Cell<bool>,
}

impl FileReader {
    pub(crate) fn new() -> Self {
        FileReader { left: Cell::new(MAX_SIZE), is_exceeded: Cell::new(false) }
    }

    /// Reads a regular file of UTF-8.
    pub(crate) fn read(&self, path: &Path) -> Result<SourceFile, Problem> {
        let bytes = read(path, self.left.get()).map_err(|error| {
            let fix = match error.kind() {
                io::ErrorKind::NotFound => "check the path",
                io::ErrorKind::PermissionDenied => "check the owner and the mode",
                io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput => "write the path of a file",
                _ => "check the file",
            };
            Problem::file(path, Fault::new(format!("cannot read the file: {error}"), fix))
        })?;
        let counted = MIN_COUNTED.max(bytes.len() as u64);
        match self.left.get().checked_sub(counted) {
            Some(left) => self.left.set(left),
            None => {
                self.is_exceeded.set(true);
                return Err(Problem::file(path, too_large()));
            }
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = Position::of(error.as_bytes(), error.utf8_error().valid_up_to());
            let fault = Fault::new("invalid UTF-8", "save the file as UTF-8");
            Problem::at(path, Some(at), Severity::Error, fault)
        })?;
        Ok(SourceFile { path: path.to_owned(), text })
    }

    /// Finds and reads the files that match `pattern` in `file`, sorted by name.
    ///
    /// The pattern is relative to the directory of `file`. As in a shell, a wildcard matches neither `/` nor a leading
    /// dot. A pattern with a wildcard may match nothing; a plain path must exist.
    pub(crate) fn include(&self, file: &Path, pattern: &str) -> Included {
        const SHELL: glob::MatchOptions = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        if self.is_exceeded.get() {
            return Err(too_large());
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        if !pattern.contains(['*', '?', '[']) {
            let path = folder.join(pattern);
            return match path.try_exists() {
                Ok(false) => {
                    Err(Fault::new(format!("{} does not exist", quoted_path(&path)), "check the path"))
                }
                _ if same(&path, file) => Err(itself(pattern)),
                _ => Ok(vec![self.read(&path)]),
            };
        }
        // The directory is taken literally, whatever characters it has.
        let whole = if Path::new(pattern).is_absolute() || folder.as_os_str().is_empty() {
            pattern.to_owned()
        } else {
            format!("{}/{pattern}", glob::Pattern::escape(&folder.to_string_lossy()))
        };
        let paths = glob::glob_with(&whole, SHELL).map_err(|error| {
            Fault::new(format!("invalid pattern {}: {}", quoted(pattern), error.msg), "use *, ? and [a-z]")
        })?;
        let mut found = Vec::new();
        for path in paths.take_while(|_| !self.is_exceeded.get()) {
            match path {
                Ok(path) if same(&path, file) => return Err(itself(pattern)),
                Ok(path) => found.push((path.clone(), self.read(&path))),
                Err(error) => {
                    let fault =
                        Fault::new(format!("cannot read the directory: {}", error.error()), "check its mode");
                    found.push((error.path().to_owned(), Err(Problem::file(error.path(), fault))));
                }
            }
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found.into_iter().map(|(_, source)| source).collect())
    }
}

fn too_large() -> Fault {
    let what =
        format!("the configuration is larger than {} MB, with the files that it includes", MAX_SIZE >> 20);
    Fault::new(what, "remove services or files; a file counts as at least 1 KB")
}

fn read(path: &Path, left: u64) -> io::Result<Vec<u8>> {
    // Before it is opened, because opening a device may have an effect.
    ensure_regular(fs::metadata(path)?.file_type())?;
    // Another file may be there by now: opening a FIFO must not wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    ensure_regular(file.metadata()?.file_type())?;
    let mut bytes = Vec::new();
    file.take(left + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Refuses what may have no end, or one that never comes. The daemon could not reload such a file either.
fn ensure_regular(kind: FileType) -> io::Result<()> {
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
        () if kind.is_fifo() => "it is a FIFO or a pipe",
        () if kind.is_socket() => "it is a socket",
        () => "it is a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn itself(pattern: &str) -> Fault {
    Fault::new(
        format!("{} matches the file that includes it", quoted(pattern)),
        "keep included files in a separate directory, such as `conf.d/*.yaml`",
    )
}
