//! What backends carried, from one daemon to the next.

use serde::{Deserialize, Serialize};
use sluice_core::model::{BackendName, ServiceName, Services};
use sluice_netlink::conntrack::Bytes;
use tracing::warn;

use super::ledger::Carried;
use crate::state::{Durable, FileError, Files};

const FILE: &str = "bytes.json";

const VERSION: u32 = 1;

/// `bytes.json` in the state directory, and the boot it is written in.
#[derive(Clone, Debug)]
pub(super) struct Written {
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

impl Written {
    pub(super) fn at(files: Files, boot: &str) -> Self {
        Written { files, boot: boot.to_owned() }
    }

    /// What was counted before of these services, and whether some of it in this boot of the machine. It must never
    /// prevent a start: what cannot be understood is logged and counts as nothing.
    pub(super) fn load(&self, services: &Services) -> (Carried, bool) {
        let contents = match self.files.read(FILE) {
            Ok(Some(json)) => serde_json::from_str::<Contents>(&json).map_err(|error| error.to_string()),
            Ok(None) => return (Carried::new(), false),
            Err(error) => Err(error.to_string()),
        };
        let contents = contents.and_then(|contents| match contents.version {
            VERSION => Ok(contents),
            version => Err(format!("version {version} of its format is not known")),
        });
        let Contents { boot, backends, .. } = match contents {
            Ok(contents) => contents,
            Err(error) => {
                warn!("ignored {}: {error}", self.files.path(FILE).display());
                return (Carried::new(), true);
            }
        };
        let mut carried = Carried::new();
        for Line { service, backend, incoming, out } in backends {
            let (Ok(service), Ok(backend)) = (ServiceName::new(&service), BackendName::new(&backend)) else {
                continue;
            };
            let is_known = |service| services.get(service).map(|service| &service.backends);
            if is_known(&service).is_some_and(|backends| backends.iter().any(|known| known.name == backend)) {
                carried.entry(service).or_default().insert(backend, Bytes { incoming, outgoing: out });
            }
        }
        (carried, boot == self.boot)
    }

    /// Replaces what is written in one step. Not synced: it is the daemon that may end at any time, not the machine.
    pub(super) fn save(&self, carried: &Carried) -> Result<(), FileError> {
        let lines = carried.iter().flat_map(|(service, backends)| {
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
