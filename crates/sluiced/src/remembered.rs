//! What is remembered of backends from one daemon to the next: what operators said, and their health.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_api::Override;
use tracing::warn;

const VERSION: u32 = 1;

/// Contents of `backends.json` in the state directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Remembered {
    version: u32,
    /// The boot in which the health was observed; it means nothing in another.
    boot: String,
    /// What operators said.
    pub(crate) overrides: Vec<Said>,
    /// Backends whose health is not what it would be without a probe.
    pub(crate) health: Vec<Known>,
}

/// The same as it is read: one damaged entry does not spoil the others.
#[derive(Deserialize)]
struct Written {
    version: u32,
    boot: String,
    overrides: Vec<Value>,
    health: Vec<Value>,
}

/// What an operator said of a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) service: String,
    pub(crate) backend: String,
    pub(crate) said: Override,
}

/// Health of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) service: String,
    pub(crate) backend: String,
    /// Where it was asked; asked elsewhere it is another backend.
    pub(crate) target: SocketAddr,
    pub(crate) healthy: bool,
}

/// The file, and the boot it is written in.
#[derive(Debug)]
pub(crate) struct Memory {
    file: PathBuf,
    boot: String,
    /// What it holds.
    written: Remembered,
}

impl Memory {
    /// Reads what an earlier daemon left. That must never prevent a start: what cannot be understood is logged and
    /// counts as nothing.
    pub(crate) fn open(state: &Path, boot: &str) -> (Self, Remembered) {
        let file = state.join("backends.json");
        let read = match fs::read(&file) {
            Ok(json) => serde_json::from_slice::<Written>(&json).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (version, boot) = (VERSION, boot.to_owned());
                Ok(Written { version, boot, overrides: vec![], health: vec![] })
            }
            Err(error) => Err(error.to_string()),
        };
        let read = read.and_then(|found| match found.version {
            VERSION => Ok(Remembered {
                overrides: each(&file, found.overrides),
                health: each(&file, found.health),
                ..Remembered::of(&found.boot)
            }),
            version => Err(format!("version {version} of its format is not known")),
        });
        let mut found = read.unwrap_or_else(|error| {
            warn!("ignored {}: {error}", file.display());
            Remembered::of(boot)
        });
        let written = found.clone();
        if found.boot != boot {
            found.health.clear();
        }
        (Memory { file, boot: boot.to_owned(), written }, found)
    }

    /// Replaces what is remembered in one step, if it is something else.
    pub(crate) fn save(&mut self, overrides: Vec<Said>, health: Vec<Known>) -> io::Result<()> {
        let now = Remembered { overrides, health, ..Remembered::of(&self.boot) };
        if now != self.written {
            let new = self.file.with_extension("json.new");
            let json = serde_json::to_vec_pretty(&now)?;
            let mut file = File::create(&new)?;
            file.write_all(&json)?;
            file.sync_all()?;
            fs::rename(&new, &self.file)?;
            self.written = now;
        }
        Ok(())
    }
}

/// The entries that can be understood.
fn each<T: DeserializeOwned>(file: &Path, entries: Vec<Value>) -> Vec<T> {
    let read = |entry: Value| {
        let text = entry.to_string();
        let ignored = |error| warn!("ignored {text} in {}: {error}", file.display());
        serde_json::from_value(entry).map_err(ignored).ok()
    };
    entries.into_iter().filter_map(read).collect()
}

impl Remembered {
    fn of(boot: &str) -> Self {
        Remembered { version: VERSION, boot: boot.to_owned(), ..Remembered::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Known> {
        let [service, backend] = ["web", "b"].map(str::to_owned);
        vec![Known { service, backend, target: "10.0.2.11:80".parse().unwrap(), healthy: false }]
    }

    fn said() -> Vec<Said> {
        let said = Override {
            admin: None,
            weight: Some(3),
            uid: 1000,
            since: "2025-01-01T00:00:00Z".parse().unwrap(),
        };
        vec![Said { service: "web".into(), backend: "b".into(), said }]
    }

    #[test]
    fn what_is_remembered_is_read_by_the_next_daemon_but_for_health_of_another_boot() {
        let state = tempfile::tempdir().unwrap();
        let (mut memory, found) = Memory::open(state.path(), "one");
        assert_eq!((found.overrides, found.health), (vec![], vec![]));
        memory.save(said(), known()).unwrap();
        let (_, found) = Memory::open(state.path(), "one");
        assert_eq!((found.overrides, found.health), (said(), known()));
        let (_, found) = Memory::open(state.path(), "two");
        assert_eq!((found.overrides, found.health), (said(), vec![]));
    }

    #[test]
    fn damaged_memory_counts_as_none() {
        let state = tempfile::tempdir().unwrap();
        for text in ["", "{", "[1]", r#"{"version":2,"boot":"one","overrides":[],"health":[]}"#] {
            fs::write(state.path().join("backends.json"), text).unwrap();
            let (mut memory, found) = Memory::open(state.path(), "one");
            assert_eq!((found.overrides, found.health), (vec![], vec![]), "{text:?}");
            memory.save(said(), vec![]).unwrap();
            assert_eq!(Memory::open(state.path(), "one").1.overrides, said());
        }
    }

    #[test]
    fn damaged_entry_is_left_out_and_the_others_are_read() {
        let state = tempfile::tempdir().unwrap();
        let (mut memory, _) = Memory::open(state.path(), "one");
        memory.save(said(), known()).unwrap();
        let file = state.path().join("backends.json");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("\"overrides\": [", "\"overrides\": [{\"service\": 7},")).unwrap();
        let (_, found) = Memory::open(state.path(), "one");
        assert_eq!((found.overrides, found.health), (said(), known()));
    }
}
