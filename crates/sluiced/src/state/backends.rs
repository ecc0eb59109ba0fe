//! What is remembered of backends from one daemon to the next: what operators said, and their health.

use std::net::SocketAddr;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_api::Override;
use tracing::warn;

use crate::state::{Durable, FileError, Files};

const FILE: &str = "backends.json";

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
    files: Files,
    boot: String,
    /// What it holds.
    written: Remembered,
}

impl Memory {
    /// Reads what an earlier daemon left. That must never prevent a start: what cannot be understood is logged and
    /// counts as nothing.
    pub(crate) fn open(files: Files, boot: &str) -> (Self, Remembered) {
        let file = files.path(FILE);
        let read = match files.read(FILE) {
            Ok(Some(json)) => serde_json::from_str::<Written>(&json).map_err(|error| error.to_string()),
            Ok(None) => {
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
        (Memory { files, boot: boot.to_owned(), written }, found)
    }

    /// Replaces what is remembered in one step, if it is something else.
    pub(crate) fn save(&mut self, overrides: Vec<Said>, health: Vec<Known>) -> Result<(), FileError> {
        let now = Remembered { overrides, health, ..Remembered::of(&self.boot) };
        if now != self.written {
            let json = serde_json::to_vec_pretty(&now).expect("names and numbers are valid JSON");
            self.files.replace(FILE, &json, Durable::Yes)?;
            self.written = now;
        } else {
            // It may be so again after something else could not be written.
            self.files.settled(FILE);
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
    use std::fs;

    use super::*;
    use crate::state::tests::Scratch;

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
        let state = Scratch::default();
        let (mut memory, found) = Memory::open(state.files(), "one");
        assert_eq!((found.overrides, found.health), (vec![], vec![]));
        memory.save(said(), known()).unwrap();
        let (_, found) = Memory::open(state.files(), "one");
        assert_eq!((found.overrides, found.health), (said(), known()));
        let (_, found) = Memory::open(state.files(), "two");
        assert_eq!((found.overrides, found.health), (said(), vec![]));
    }

    #[test]
    fn damaged_memory_counts_as_none() {
        let state = Scratch::default();
        for text in ["", "{", "[1]", r#"{"version":2,"boot":"one","overrides":[],"health":[]}"#] {
            fs::write(state.path().join("backends.json"), text).unwrap();
            let (mut memory, found) = Memory::open(state.files(), "one");
            assert_eq!((found.overrides, found.health), (vec![], vec![]), "{text:?}");
            memory.save(said(), vec![]).unwrap();
            assert_eq!(Memory::open(state.files(), "one").1.overrides, said());
        }
    }

    #[test]
    fn damaged_entry_is_left_out_and_the_others_are_read() {
        let state = Scratch::default();
        let (mut memory, _) = Memory::open(state.files(), "one");
        memory.save(said(), known()).unwrap();
        let file = state.path().join("backends.json");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("\"overrides\": [", "\"overrides\": [{\"service\": 7},")).unwrap();
        let (_, found) = Memory::open(state.files(), "one");
        assert_eq!((found.overrides, found.health), (said(), known()));

        let mut bytes = fs::read(&file).unwrap();
        let place = bytes.windows(9).position(|bytes| bytes == b"10.0.2.11").unwrap();
        bytes[place] = 0xff;
        fs::write(&file, bytes).unwrap();
        let (_, found) = Memory::open(state.files(), "one");
        assert_eq!((found.overrides, found.health), (said(), vec![]), "a byte that is no UTF-8");
    }
}
