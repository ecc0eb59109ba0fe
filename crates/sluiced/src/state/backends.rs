//! `backends.json`: overrides and health of backends, saved for the next daemon.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_api::{NodeLeft, Override};
use sluice_core::model::Services;
use tracing::warn;

use super::services::{Id, SavedServices};
use super::{Durable, Files};
use crate::fatal::chain;

const FILE: &str = "backends.json";

const VERSION: u32 = 1;

/// Contents of `backends.json` in the state directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct SavedState {
    version: u32,
    /// The boot in which the health was observed; health of another boot is ignored.
    boot: String,
    /// The version of the services in `services.json` to which these names belong; `None`: they are not saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    services: Option<Id>,
    /// Overrides.
    pub(crate) overrides: Vec<SavedOverride>,
    /// Backends whose health differs from that before a first probe.
    pub(crate) health: Vec<SavedHealth>,
    /// Quorums that are met and are lost with fewer backends than it took to meet them.
    pub(crate) quorums: Vec<SavedQuorum>,
    /// That the node has left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left: Option<NodeLeft>,
}

/// [`SavedState`] before its entries are decoded, so that a damaged entry does not affect the others.
#[derive(Deserialize)]
struct RawSavedState {
    version: u32,
    boot: String,
    #[serde(default)]
    services: Option<Id>,
    overrides: Vec<Value>,
    health: Vec<Value>,
    #[serde(default)]
    quorums: Vec<Value>,
    #[serde(default)]
    left: Option<Value>,
}

/// The override of a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedOverride {
    pub(crate) service: String,
    pub(crate) backend: String,
    pub(crate) value: Override,
}

/// Health of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedHealth {
    pub(crate) service: String,
    pub(crate) backend: String,
    /// The probed address and port; with another one it is another backend.
    pub(crate) target: SocketAddr,
    pub(crate) healthy: bool,
}

/// A met quorum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedQuorum {
    pub(crate) service: String,
    /// The IP version, 4 or 6.
    pub(crate) version: u8,
}

/// The file, the saved services that identify its backends, and the current boot.
#[derive(Debug)]
pub(crate) struct BackendStateFile {
    files: Files,
    services: SavedServices,
    boot: String,
    /// Its content; `None`: unknown, because it could not be read.
    written: Option<SavedState>,
}

impl BackendStateFile {
    /// Reads the state that an earlier daemon saved, and the services of its backends; `None`: only their names are
    /// known. State must never prevent a start: an invalid file is logged and ignored.
    pub(crate) fn open(files: Files, boot: &str) -> (Self, SavedState, Option<Services>) {
        let file = files.path(FILE);
        let read = match files.read(FILE) {
            Ok(Some(json)) => serde_json::from_str::<RawSavedState>(&json).map_err(|error| error.to_string()),
            Ok(None) => {
                let (version, boot) = (VERSION, boot.to_owned());
                let (overrides, health, quorums) = Default::default();
                Ok(RawSavedState { version, boot, services: None, overrides, health, quorums, left: None })
            }
            Err(error) => Err(error.to_string()),
        };
        let read = read.and_then(|found| match found.version {
            VERSION => Ok(SavedState {
                services: found.services,
                overrides: each(&file, found.overrides),
                health: each(&file, found.health),
                quorums: each(&file, found.quorums),
                left: each(&file, found.left).pop(),
                ..SavedState::of(&found.boot)
            }),
            version => Err(format!("unknown format version {version}")),
        });
        let read = read.inspect_err(|error| warn!("ignored {}: {error}", file.display())).ok();
        let written = read.clone();
        let mut found = read.unwrap_or_else(|| SavedState::of(boot));
        if found.boot != boot {
            found.health.clear();
            found.quorums.clear();
        }
        let saved = SavedServices::new(files.clone());
        let services = found.services.and_then(|id| saved.load(id));
        (BackendStateFile { files, services: saved, boot: boot.to_owned(), written }, found, services)
    }

    /// Makes the next [`BackendStateFile::save`] retry also after a recent failure, because the answer to a command reports whether
    /// the change is saved.
    pub(crate) fn retry_now(&mut self) {
        self.services.retry_now();
    }

    /// Atomically replaces the saved state of the backends of these services, if it has changed.
    ///
    /// # Errors
    /// The first error of writing.
    pub(crate) fn save(
        &mut self,
        services: &Arc<Services>,
        overrides: Vec<SavedOverride>,
        health: Vec<SavedHealth>,
        quorums: Vec<SavedQuorum>,
        left: Option<NodeLeft>,
    ) -> Result<(), String> {
        let named = if overrides.is_empty() && health.is_empty() && quorums.is_empty() {
            // There is no state that a renamed backend could lose.
            self.services.clear_problem();
            Ok(None)
        } else {
            self.services.save(services, self.written.as_ref().and_then(|it| it.services)).map(Some)
        };
        // Without it, backends are matched by name.
        let services = named.as_ref().ok().copied().flatten();
        let now = SavedState { services, overrides, health, quorums, left, ..SavedState::of(&self.boot) };
        if self.written.as_ref() != Some(&now) {
            let json = serde_json::to_vec_pretty(&now).expect("names and numbers are valid JSON");
            self.files.replace(FILE, &json, Durable::Yes).map_err(|error| chain(&error))?;
            self.written = Some(now);
        } else {
            // The state may be back to the saved one after a failure to write another one.
            self.files.clear_problem(FILE);
        }
        named.map(drop)
    }
}

/// The valid entries.
fn each<T: DeserializeOwned>(file: &Path, entries: impl IntoIterator<Item = Value>) -> Vec<T> {
    let read = |entry: Value| {
        let text = entry.to_string();
        let ignored = |error| warn!("ignored {text} in {}: {error}", file.display());
        serde_json::from_value(entry).map_err(ignored).ok()
    };
    entries.into_iter().filter_map(read).collect()
}

impl SavedState {
    fn of(boot: &str) -> Self {
        SavedState { version: VERSION, boot: boot.to_owned(), ..SavedState::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sluice_core::model::Backend;

    use super::*;
    use crate::state::tests::Scratch;

    fn services(yaml: &str) -> Arc<Services> {
        let source = sluice_config::SourceFile { path: "sluice.yaml".into(), text: yaml.to_owned() };
        sluice_config::parse(source, |_| unreachable!()).unwrap().config.services
    }

    fn web() -> Arc<Services> {
        services("services: {web: {listen: '*:80', backends: [{name: b, address: 10.0.2.11}]}}")
    }

    fn health() -> Vec<SavedHealth> {
        let [service, backend] = ["web", "b"].map(str::to_owned);
        vec![SavedHealth { service, backend, target: "10.0.2.11:80".parse().unwrap(), healthy: false }]
    }

    fn overrides() -> Vec<SavedOverride> {
        let value = Override {
            admin: None,
            weight: Some(3),
            uid: 1000,
            since: "2025-01-01T00:00:00Z".parse().unwrap(),
            reason: Some("disk".into()),
        };
        vec![SavedOverride { service: "web".into(), backend: "b".into(), value }]
    }

    #[test]
    fn saved_state_is_read_by_the_next_daemon_except_health_of_another_boot() {
        let state = Scratch::default();
        let (mut file, found, _) = BackendStateFile::open(state.files(), "one");
        assert_eq!((found.overrides, found.health), (vec![], vec![]));
        file.save(&web(), overrides(), health(), vec![], None).unwrap();
        let (_, found, _) = BackendStateFile::open(state.files(), "one");
        assert_eq!((found.overrides, found.health), (overrides(), health()));
        let (_, found, _) = BackendStateFile::open(state.files(), "two");
        assert_eq!((found.overrides, found.health), (overrides(), vec![]));
    }

    #[test]
    fn damaged_file_is_ignored() {
        let state = Scratch::default();
        for text in ["", "{", "[1]", r#"{"version":2,"boot":"one","overrides":[],"health":[]}"#] {
            fs::write(state.path().join("backends.json"), text).unwrap();
            let (mut file, found, _) = BackendStateFile::open(state.files(), "one");
            assert_eq!((found.overrides, found.health), (vec![], vec![]), "{text:?}");
            file.save(&web(), overrides(), vec![], vec![], None).unwrap();
            assert_eq!(BackendStateFile::open(state.files(), "one").1.overrides, overrides());
        }
    }

    #[test]
    fn damaged_entry_is_ignored_and_the_others_are_read() {
        let state = Scratch::default();
        let (mut file, ..) = BackendStateFile::open(state.files(), "one");
        file.save(&web(), overrides(), health(), vec![], None).unwrap();
        let file = state.path().join("backends.json");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("\"overrides\": [", "\"overrides\": [{\"service\": 7},")).unwrap();
        let (_, found, _) = BackendStateFile::open(state.files(), "one");
        assert_eq!((found.overrides, found.health), (overrides(), health()));

        let mut bytes = fs::read(&file).unwrap();
        let place = bytes.windows(9).position(|bytes| bytes == b"10.0.2.11").unwrap();
        bytes[place] = 0xff;
        fs::write(&file, bytes).unwrap();
        let (_, found, _) = BackendStateFile::open(state.files(), "one");
        assert_eq!((found.overrides, found.health), (overrides(), vec![]), "invalid UTF-8");
    }

    /// Names of the services that are read with this state.
    fn read(state: &Scratch) -> Option<Vec<String>> {
        let (_, _, services) = BackendStateFile::open(state.files(), "one");
        Some(services?.keys().map(ToString::to_string).collect())
    }

    #[test]
    fn identifying_data_of_services_is_saved_only_if_there_are_overrides_or_health() {
        let state = Scratch::default();
        let services = services(
            "services:
               web: {listen: ['*:80', '[2001:db8::10]:1-9/udp'], backends: ['10.0.2.11:1', {name: b, address: 'fd00::1'}]}
               dns: {listen: '203.0.113.10:53/udp', interface: eth0, backends: [{address: '10.0.2.11:53', weight: 7}]}
               ftp: {listen: '203.0.113.10:30-39', backends: ['10.0.2.11:40-49', 10.0.2.12]}",
        );
        let (mut file, ..) = BackendStateFile::open(state.files(), "one");
        file.save(&services, vec![], vec![], vec![], None).unwrap();
        assert!(!state.path().join("services.json").exists());
        file.save(&services, overrides(), vec![], vec![], None).unwrap();
        let found = BackendStateFile::open(state.files(), "one").2.unwrap();
        assert_eq!(found.len(), 3);
        for (name, service) in services.iter() {
            let found = &found[name];
            assert_eq!(found.listeners, service.listeners);
            for (found, backend) in found.backends.iter().zip(&service.backends) {
                let identifying = |it: &Backend| (it.name.clone(), it.address, it.port);
                assert_eq!(identifying(found), identifying(backend));
            }
        }
        file.save(&services, vec![], vec![], vec![], None).unwrap();
        assert_eq!(read(&state), None, "no names refer to services");
    }

    #[test]
    fn changed_services_are_saved_beside_the_previous_ones_until_no_names_refer_to_these() {
        let state = Scratch::default();
        let versions = || {
            let text = fs::read_to_string(state.path().join("services.json")).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()["services"].as_array().unwrap().len()
        };
        let [one, two, three] = ["one", "two", "three"].map(|name| {
            services(&format!("services: {{{name}: {{listen: '*:80', backends: [10.0.2.11]}}}}"))
        });
        let (mut file, ..) = BackendStateFile::open(state.files(), "one");
        file.save(&one, overrides(), vec![], vec![], None).unwrap();
        let written = fs::read(state.path().join("services.json")).unwrap();
        file.save(&one, overrides(), health(), vec![], None).unwrap();
        assert_eq!(fs::read(state.path().join("services.json")).unwrap(), written, "health changes often");
        assert_eq!(read(&state).unwrap(), ["one"]);

        // The daemon ends between the two files.
        let in_the_way = state.path().join("backends.json.new");
        fs::create_dir(&in_the_way).unwrap();
        file.save(&two, overrides(), vec![], vec![], None).unwrap_err();
        assert_eq!((versions(), read(&state).unwrap()), (2, vec!["one".to_owned()]));
        fs::remove_dir(&in_the_way).unwrap();
        file.save(&two, overrides(), vec![], vec![], None).unwrap();
        assert_eq!((versions(), read(&state).unwrap()), (2, vec!["two".to_owned()]));
        file.save(&three, overrides(), vec![], vec![], None).unwrap();
        assert_eq!((versions(), read(&state).unwrap()), (2, vec!["three".to_owned()]));

        // The next daemon does not rewrite the file.
        let written = fs::read(state.path().join("services.json")).unwrap();
        let (mut file, ..) = BackendStateFile::open(state.files(), "one");
        file.save(&Arc::new((*three).clone()), overrides(), vec![], vec![], None).unwrap();
        assert_eq!(fs::read(state.path().join("services.json")).unwrap(), written);
    }

    #[test]
    fn failure_to_save_services_loses_only_the_state_of_renamed_backends() {
        let state = Scratch::default();
        let in_the_way = state.path().join("services.json.new");
        fs::create_dir(&in_the_way).unwrap();
        let (mut file, ..) = BackendStateFile::open(state.files(), "one");
        let why = file.save(&web(), overrides(), vec![], vec![], None).unwrap_err();
        assert!(why.starts_with("write ") && why.contains("services.json"), "{why}");
        let (_, found, services) = BackendStateFile::open(state.files(), "one");
        assert_eq!((found.overrides, services), (overrides(), None));

        fs::remove_dir(&in_the_way).unwrap();
        file.save(&web(), overrides(), health(), vec![], None).unwrap();
        assert_eq!(read(&state).unwrap(), ["web"]);
        for text in ["", "{", r#"{"version":2,"services":[]}"#, r#"{"version":1,"services":[]}"#] {
            fs::write(state.path().join("services.json"), text).unwrap();
            let (_, found, services) = BackendStateFile::open(state.files(), "one");
            assert_eq!((found.overrides, found.health, services), (overrides(), health(), None), "{text:?}");
        }
    }

    #[test]
    fn file_of_an_older_version_is_read_without_services() {
        let state = Scratch::default();
        let old = r#"{"version":1,"boot":"one","overrides":[],"health":[
            {"service":"web","backend":"b","target":"10.0.2.11:80","healthy":false}]}"#;
        fs::write(state.path().join("backends.json"), old).unwrap();
        let (_, found, services) = BackendStateFile::open(state.files(), "one");
        assert_eq!((found.health, services), (health(), None));
    }
}
