//! [`SavedServices`]: what identifies services and their backends, saved beside their health and overrides.
//!
//! `services.json` in the state directory, written by the saver thread. It has the data with which `pool::identity`
//! recognises a service or a backend that is renamed while no daemon runs. With many services it is large, and it
//! changes with the configuration file only, so it is separate from `backends.json`, which each health change writes.
//! `backends.json` refers to the version of the services to which its names belong. The previous version is kept beside a
//! new one, so that a crash between the two writes leaves two consistent files.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_core::model::{Backend, BackendName, BackendPort, Listener, Service, ServiceName, Services};
use tokio::time::Instant;
use tracing::warn;

use super::{Durable, Files};
use crate::fatal::chain;

const FILE: &str = "services.json";

const VERSION: u32 = 1;

/// Minimum wait after a failure before a change of one backend's health writes all services again.
const RETRY: Duration = Duration::from_secs(1);

/// The version of the services to which names in `backends.json` belong.
pub(crate) type Id = u64;

/// The file, and the version of the services in force.
#[derive(Debug)]
pub(crate) struct SavedServices {
    files: Files,
    current: Option<(Weak<Services>, Id)>,
    /// The services that could not be written, the error, and the time of the next attempt.
    failed: Option<(Weak<Services>, String, Instant)>,
}

/// Contents of the file.
#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    /// At most two versions.
    services: Vec<Saved>,
}

/// The services of one configuration.
#[derive(Serialize, Deserialize)]
struct Saved {
    id: Id,
    by_name: BTreeMap<String, SavedService>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SavedService {
    listeners: Vec<Listener>,
    backends: Vec<SavedBackend>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SavedBackend {
    name: String,
    address: IpAddr,
    port: BackendPort,
}

impl SavedServices {
    pub(crate) fn new(files: Files) -> Self {
        SavedServices { files, current: None, failed: None }
    }

    /// The services of this version, with names, listeners, addresses and ports, and defaults for the rest; `None`: they
    /// were not saved, or cannot be read, which is logged.
    pub(crate) fn load(&self, id: Id) -> Option<Services> {
        let saved = self.read().into_iter().find(|saved| saved.id == id);
        let services = saved.and_then(|saved| {
            let restored = saved
                .by_name
                .into_iter()
                .map(|(name, service)| Some((ServiceName::new(&name).ok()?, service.restored()?)));
            restored.collect::<Option<Services>>()
        });
        if services.is_none() {
            warn!(
                "{} lacks the services of the saved overrides and health: renamed backends lose theirs",
                self.files.path(FILE).display()
            );
        }
        services
    }

    /// Writes these services to the file if they are missing, and keeps the version to which `backends.json` refers until it
    /// refers to the new one. Returns the version of these services.
    ///
    /// # Errors
    /// The error of writing.
    pub(crate) fn save(&mut self, services: &Arc<Services>, named: Option<Id>) -> Result<Id, String> {
        let is_same = |other: &Weak<Services>| std::ptr::eq(other.as_ptr(), Arc::as_ptr(services));
        if let Some((_, id)) = self.current.as_ref().filter(|(current, _)| is_same(current)) {
            self.clear_problem();
            return Ok(*id);
        }
        if let Some((failed, why, until)) = &self.failed
            && is_same(failed)
            && Instant::now() < *until
        {
            return Err(why.clone());
        }
        let by_name = identifying(services);
        let mut all = self.read();
        let id = match all.iter().find(|saved| saved.by_name == by_name) {
            Some(saved) => {
                self.clear_problem();
                saved.id
            }
            None => {
                let id = all.iter().map(|saved| saved.id).chain(named).max().unwrap_or(0) + 1;
                all.retain(|saved| named == Some(saved.id));
                all.push(Saved { id, by_name });
                let json = serde_json::to_vec(&Contents { version: VERSION, services: all })
                    .expect("names and numbers are valid JSON");
                if let Err(error) = self.files.replace(FILE, &json, Durable::Yes) {
                    let why = chain(&error);
                    self.failed = Some((Arc::downgrade(services), why.clone(), Instant::now() + RETRY));
                    return Err(why);
                }
                id
            }
        };
        (self.current, self.failed) = (Some((Arc::downgrade(services), id)), None);
        Ok(id)
    }

    /// Makes the next [`SavedServices::save`] retry.
    pub(crate) fn retry_now(&mut self) {
        self.failed = None;
    }

    /// Records that the file needs no changes.
    pub(crate) fn clear_problem(&self) {
        self.files.clear_problem(FILE);
    }

    /// The content of the file. State must never prevent a start: an invalid file is logged and ignored.
    fn read(&self) -> Vec<Saved> {
        let contents = match self.files.read(FILE) {
            Ok(None) => return vec![],
            Ok(Some(json)) => serde_json::from_str::<Contents>(&json).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let contents = contents.and_then(|contents| match contents.version {
            VERSION => Ok(contents.services),
            version => Err(format!("unknown format version {version}")),
        });
        contents.unwrap_or_else(|error| {
            warn!("ignored {}: {error}", self.files.path(FILE).display());
            vec![]
        })
    }
}

impl SavedService {
    /// `None`: the name of a backend is invalid.
    fn restored(self) -> Option<Service> {
        let backend = |SavedBackend { name, address, port }| {
            let name = BackendName::new(&name).ok()?;
            // Any weight above 0: a start begins no slow start.
            Some(Backend { name, address, port, weight: 1, backup: false, max_connections: None })
        };
        let backends = self.backends.into_iter().map(backend).collect::<Option<_>>()?;
        Some(Service { listeners: self.listeners, backends, ..Service::default() })
    }
}

/// The identifying data of services and their backends.
fn identifying(services: &Services) -> BTreeMap<String, SavedService> {
    let backend = |backend: &Backend| SavedBackend {
        name: backend.name.to_string(),
        address: backend.address,
        port: backend.port,
    };
    let service = |service: &Service| SavedService {
        listeners: service.listeners.clone(),
        backends: service.backends.iter().map(backend).collect(),
    };
    services.iter().map(|(name, found)| (name.to_string(), service(found))).collect()
}
