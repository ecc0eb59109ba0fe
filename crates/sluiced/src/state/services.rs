//! [`SavedServices`]: what identifies services and their backends, saved beside their health and overrides.
//!
//! `services.json` in the state directory, owned by the reconcile task. It has what [`sluice_core::identity`] needs to
//! recognize a service or a backend that is renamed while no daemon runs. It is large where there are many services, and
//! changes with the configuration file only, so it is not part of `backends.json`, which each flip writes. That names
//! the version of the services that its names are of. The version before is kept beside a new one, so that a crash between
//! the two writes leaves two files that fit.

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

/// Wait after a failure before all services are written again because the health of one backend changed.
const RETRY: Duration = Duration::from_secs(1);

/// Which services names in `backends.json` are of.
pub(crate) type Id = u64;

/// The file, and which of its versions is of the services in force.
#[derive(Debug)]
pub(crate) struct SavedServices {
    files: Files,
    current: Option<(Weak<Services>, Id)>,
    /// The services that could not be written, why, and when that is tried again.
    failed: Option<(Weak<Services>, String, Instant)>,
}

/// Contents of the file.
#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    /// At most two.
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

    /// The services of this id, with names, listeners, addresses and ports, and all else as by default; `None`: they
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
                "{} does not have the services that overrides and health were saved of: those of renamed backends are lost",
                self.files.path(FILE).display()
            );
        }
        services
    }

    /// Makes sure that the file has these services, and those of the id that `backends.json` names until it names the
    /// new one. Returns the id of these services.
    ///
    /// # Errors
    /// Why they could not be written.
    pub(crate) fn save(&mut self, services: &Arc<Services>, named: Option<Id>) -> Result<Id, String> {
        let is_same = |other: &Weak<Services>| std::ptr::eq(other.as_ptr(), Arc::as_ptr(services));
        if let Some((_, id)) = self.current.as_ref().filter(|(current, _)| is_same(current)) {
            self.settled();
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
                self.settled();
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

    /// Has the next [`SavedServices::save`] try again.
    pub(crate) fn retry_now(&mut self) {
        self.failed = None;
    }

    /// Notes that the file need not hold anything else than it does.
    pub(crate) fn settled(&self) {
        self.files.settled(FILE);
    }

    /// What is in the file. It must never prevent a start: what cannot be understood is logged and counts as nothing.
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
            // A weight with which it took new flows: a daemon that starts begins no ramp.
            Some(Backend { name, address, port, weight: 1, backup: false, max_connections: None })
        };
        let backends = self.backends.into_iter().map(backend).collect::<Option<_>>()?;
        Some(Service { listeners: self.listeners, backends, ..Service::default() })
    }
}

/// What identifies services and their backends.
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
