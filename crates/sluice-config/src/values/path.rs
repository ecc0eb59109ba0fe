//! Paths of files and directories.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::text;
use crate::problem::{Fault, quoted, quoted_path};
use crate::read::{Leaf, Scalar};
use crate::schema::pattern;

/// Longest path that fits a Unix socket address with its closing NUL (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// A path, or a pattern of paths, relative to the main file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPattern(pub(crate) String);

impl Leaf for PathPattern {
    const EXPECTED: &'static str = "a path or a pattern such as conf.d/*.yaml";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let text = text(scalar, "path")?;
        if text.is_empty() || text.contains(char::is_control) {
            return Err(Fault::new(
                format!("invalid path {}", quoted(text)),
                "write a path or a pattern, such as `conf.d/*.yaml`",
            ));
        }
        Ok(PathPattern(text.to_owned()))
    }

    fn schema() -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// `state`: the path of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryPath(pub(crate) PathBuf);

impl Leaf for DirectoryPath {
    const EXPECTED: &'static str = "the absolute path of a directory";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        absolute(scalar).map(DirectoryPath)
    }

    fn schema() -> Value {
        pattern("^/", Self::EXPECTED)
    }
}

/// `control.socket`: the path of the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketPath(pub(crate) PathBuf);

impl Leaf for SocketPath {
    const EXPECTED: &'static str = "an absolute path";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let path = absolute(scalar)?;
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_PATH {
            let what = format!(
                "the path has {length} bytes; the path of a Unix socket has at most {MAX_SOCKET_PATH}"
            );
            return Err(Fault::new(what, "use a shorter path"));
        }
        if path.file_name().is_none() || path.as_os_str().to_string_lossy().ends_with('/') {
            let what = format!("{} is a directory", quoted_path(&path));
            return Err(Fault::new(what, "write the path of the socket, such as /run/sluice/sluice.sock"));
        }
        Ok(SocketPath(path))
    }

    fn schema() -> Value {
        pattern("^/.*[^/]$", Self::EXPECTED)
    }
}

fn absolute(scalar: Scalar<'_>) -> Result<PathBuf, Fault> {
    let text = text(scalar, "path")?;
    if !text.starts_with('/') || text.contains(char::is_control) {
        return Err(Fault::new(format!("{} is not an absolute path", quoted(text)), "start with /"));
    }
    Ok(PathBuf::from(text))
}
