//! [`BytesFile`]: `bytes.json`, the totals of bytes for the next daemon.

use serde::{Deserialize, Serialize};
use sluice_core::model::{BackendName, ServiceName, Services};
use sluice_netlink::conntrack::Bytes;
use tracing::warn;

use super::ledger::BackendBytes;
use crate::state::{Durable, FileError, Files};

const FILE: &str = "bytes.json";

const VERSION: u32 = 1;

/// `bytes.json` in the state directory, and the current boot.
#[derive(Clone, Debug)]
pub(super) struct BytesFile {
    files: Files,
    boot: String,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    boot: String,
    backends: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    service: String,
    backend: String,
    #[serde(rename = "in")]
    incoming: u64,
    out: u64,
}

impl BytesFile {
    pub(super) fn at(files: Files, boot: &str) -> Self {
        BytesFile { files, boot: boot.to_owned() }
    }

    /// The saved totals of these services, and whether they are of the current boot. State must never prevent a start: an
    /// invalid file is logged and ignored.
    pub(super) fn load(&self, services: &Services) -> (BackendBytes, bool) {
        let contents = match self.files.read(FILE) {
            Ok(Some(json)) => serde_json::from_str::<Contents>(&json).map_err(|error| error.to_string()),
            Ok(None) => return (BackendBytes::new(), false),
            Err(error) => Err(error.to_string()),
        };
        let contents = contents.and_then(|contents| match contents.version {
            VERSION => Ok(contents),
            version => Err(format!("unknown format version {version}")),
        });
        let Contents { boot, backends, .. } = match contents {
            Ok(contents) => contents,
            Err(error) => {
                warn!("ignored {}: {error}", self.files.path(FILE).display());
                return (BackendBytes::new(), true);
            }
        };
        let mut totals = BackendBytes::new();
        for Line { service, backend, incoming, out } in backends {
            let (Ok(service), Ok(backend)) = (ServiceName::new(&service), BackendName::new(&backend)) else {
                continue;
            };
            let backends_of = |service| services.get(service).map(|service| &service.backends);
            if backends_of(&service)
                .is_some_and(|backends| backends.iter().any(|known| known.name == backend))
            {
                totals.entry(service).or_default().insert(backend, Bytes { incoming, outgoing: out });
            }
        }
        (totals, boot == self.boot)
    }

    /// Replaces the file atomically. Not synced, because the file must survive a crash of the daemon, not of the machine.
    pub(super) fn save(&self, totals: &BackendBytes) -> Result<(), FileError> {
        let lines = totals.iter().flat_map(|(service, backends)| {
            backends.iter().map(|(backend, bytes)| Line {
                service: service.to_string(),
                backend: backend.to_string(),
                incoming: bytes.incoming,
                out: bytes.outgoing,
            })
        });
        let contents = Contents { version: VERSION, boot: self.boot.clone(), backends: lines.collect() };
        let json = serde_json::to_vec(&contents).expect("names and numbers are valid JSON");
        self.files.replace(FILE, &json, Durable::No)
    }
}
