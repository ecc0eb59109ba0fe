//! Checks values against each other: applies defaults, merges services, and reports contradictions.

mod announce;
mod clash;
mod exact;
mod guard;
mod http;
mod management;
mod midstream;
mod pool;
mod ports;
mod reentry;
mod service;
mod source;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sluice_core::model::{Address, Backend, Config, Control, InterfaceName, Listener, Service, ServiceName};
use sluice_nft::Ip;

use crate::document::{Main, Services};
use crate::problem::{Fault, quoted};
use crate::read::Given;
use crate::yaml_path::{Findings, Here, YamlPath};

const DEFAULT_SOCKET: &str = "/run/sluice/sluice.sock";
const DEFAULT_REFRESH: Duration = Duration::from_secs(60);

/// Makes a configuration from what was read. The result is meaningless if there are errors.
///
/// `files` has the services of each file, those of the main file first.
pub(crate) fn validate(findings: &Findings, main: Main, files: Vec<Services>) -> Config {
    let root = Here::root(findings, 0);
    let defaults = main.defaults.unwrap_or_default();
    service::check_defaults(&root.key("defaults"), &defaults);
    let entries = files
        .into_iter()
        .enumerate()
        .flat_map(|(file, services)| services.0.into_iter().map(move |entry| (file, entry)));
    let drafts: Vec<Draft> =
        entries.map(|(file, entry)| Draft::new(findings, file, entry, &defaults)).collect();
    let drafts = unique(findings, drafts);
    clash::check(findings, &drafts);
    reentry::check(findings, &drafts);
    management::check(findings, &drafts);

    let http = match main.http {
        Given::Good(http) => http::http(&root.key("http"), findings, http, &drafts),
        Given::Absent | Given::Bad => None,
    };
    let control = main.control.unwrap_or_default();
    let socket = control.socket.map_or_else(|| PathBuf::from(DEFAULT_SOCKET), |path| path.0);
    let beside_socket = || socket.parent().unwrap_or(Path::new("/")).to_owned();
    Config {
        forwarding: main.forwarding.unwrap_or_default(),
        on_stop: main.on_stop.unwrap_or_default(),
        state: main.state.map_or_else(beside_socket, |path| path.0),
        refresh: main.refresh.map_or_else(|| Some(DEFAULT_REFRESH), |refresh| refresh.0),
        announce: announce::announce(main.announce),
        control: Control { group: control.group.map_or_else(|| None, |group| Some(group.0)), socket },
        http,
        services: Arc::new(drafts.into_iter().filter_map(Draft::into_service).collect()),
    }
}

/// One service, with the valid part of its settings.
struct Draft {
    file: usize,
    key: String,
    nth: u32,
    name: Option<ServiceName>,
    interface: Given<InterfaceName>,
    listeners: Elements<Listener>,
    backends: Elements<Backend>,
    /// All other settings.
    policy: Service,
}

/// The valid elements of a list, with their indices in the file.
#[derive(Debug)]
struct Elements<T> {
    good: Vec<(usize, T)>,
    /// Whether all elements are valid, so that the list can be checked as a whole.
    complete: bool,
}

impl<T> Elements<T> {
    fn of(elements: impl IntoIterator<Item = Option<T>>) -> Self {
        let mut complete = true;
        let good = elements.into_iter().enumerate().filter_map(|(index, element)| {
            complete &= element.is_some();
            Some((index, element?))
        });
        let good = good.collect();
        Elements { good, complete }
    }

    fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.good.iter().map(|(_, element)| element)
    }

    fn into_vec(self) -> Vec<T> {
        self.good.into_iter().map(|(_, element)| element).collect()
    }
}

impl Draft {
    /// Calls `then` at the path of the service.
    fn at<R>(&self, findings: &Findings, then: impl FnOnce(&Here<'_>) -> R) -> R {
        then(&Here::root(findings, self.file).key("services").nth_key(&self.key, self.nth))
    }

    fn draft_listeners(&self) -> impl Iterator<Item = DraftListener<'_>> {
        self.listeners.good.iter().map(|(index, listener)| DraftListener {
            draft: self,
            index: *index,
            listener,
        })
    }

    fn into_service(self) -> Option<(ServiceName, Service)> {
        let interface = match self.interface {
            Given::Good(interface) => Some(interface),
            Given::Absent | Given::Bad => None,
        };
        let service = Service {
            listeners: self.listeners.into_vec(),
            interface,
            backends: self.backends.into_vec(),
            ..self.policy
        };
        Some((self.name?, service))
    }
}

/// A listener, with its service.
#[derive(Clone, Copy)]
struct DraftListener<'a> {
    draft: &'a Draft,
    index: usize,
    listener: &'a Listener,
}

impl DraftListener<'_> {
    fn at<R>(self, findings: &Findings, then: impl FnOnce(&Here<'_>) -> R) -> R {
        self.draft.at(findings, |here| then(&here.key("listen").index(self.index)))
    }

    fn path(self, findings: &Findings) -> YamlPath {
        self.at(findings, |here| here.path())
    }
}

/// Whether a listener can take packets of an IP version; `*` takes those of the backends.
fn takes(listener: &Listener, ip: Ip) -> bool {
    match listener.address {
        Address::Any => true,
        Address::Exact(address) => Ip::of(address) == ip,
    }
}

/// The first service of each name. The others are errors and are not checked further.
fn unique(findings: &Findings, drafts: Vec<Draft>) -> Vec<Draft> {
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut unique: Vec<Draft> = Vec::with_capacity(drafts.len());
    for draft in drafts {
        match first.get(&draft.key) {
            None => {
                first.insert(draft.key.clone(), unique.len());
                unique.push(draft);
            }
            Some(first) => {
                let earlier = unique[*first].at(findings, |here| here.path_of_key());
                let what = format!("service {} is already defined", quoted(&draft.key));
                draft.at(findings, |here| {
                    here.error_at_key_because_of(Fault::new(what, "rename or remove one of them"), earlier);
                });
            }
        }
    }
    unique
}
