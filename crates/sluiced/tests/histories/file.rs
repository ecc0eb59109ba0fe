//! The configuration file of a history: small numbers that edits change, and the YAML that they represent.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::event::{Edit, Key};
use crate::lists;

/// Names that services have.
pub const SERVICES: [&str; 4] = ["web", "api", "dns", "mail"];

/// Where services listen. A service has a subset; most of them overlap with another one.
pub const LISTENERS: [&str; 12] = [
    "203.0.113.10:80",
    "203.0.113.10:443",
    "203.0.113.10:53/udp",
    "203.0.113.11:80",
    "203.0.113.11:53/udp",
    "*:80",
    "*:53/udp",
    "203.0.113.10:79-82",
    "203.0.113.11:50-60/udp",
    "*:79-82",
    "203.0.113.10:2905/sctp",
    "203.0.113.10:2900-2910/sctp",
];

/// Addresses of backends; services share them.
pub const ADDRESSES: [&str; 6] =
    ["10.0.2.11", "10.0.2.12", "10.0.2.13", "10.0.2.14", "10.0.3.11", "10.0.3.12"];

/// Ports of backends; an empty one is the client's.
const PORTS: [&str; 3] = [":8080", ":8081", ""];

/// A port where nobody ever answers.
pub const WRONG_PORT: u16 = 9999;

const SCHEDULERS: [&str; 6] = [
    "scheduler: round-robin",
    "scheduler: random",
    "scheduler: source-hash",
    "scheduler: maglev, hash: {on: [source-address], table_size: 251}",
    "scheduler: source-hash, hash: {on: [source-address, source-port]}",
    "scheduler: least-connections",
];

const SOURCES: [&str; 7] = [
    "masquerade",
    "auto",
    "preserve",
    "10.0.2.1",
    "10.0.2.1-10.0.2.4",
    "10.0.2.1, source_ports: keep",
    "10.0.2.1-10.0.2.4, source_ports: keep",
];

/// Checks: those at the same place differ in what they ask or how often; timeouts tell the jobs apart.
const CHECKS: [&str; 6] = [
    "",
    "tcp: {}, interval: 1s, timeout: 500ms, rise: 1, fall: 1",
    "tcp: {}, interval: 2s, timeout: 800ms, rise: 2, fall: 3",
    "tcp: {}, interval: 1s, timeout: 600ms, rise: 2, fall: 1, port: 9999",
    "http: {path: /healthz}, interval: 1s, timeout: 700ms, rise: 1, fall: 2",
    "tcp: {}, interval: 1s, timeout: 500ms, rise: 3, fall: 1",
];

/// The included file. Its backends are those of other services, too.
const EXTRA: &str = "services:
  extra:
    listen: 198.51.102.1:80
    health: {tcp: {}, interval: 1s, timeout: 500ms, rise: 1, fall: 1}
    backends: ['10.0.2.11:8080', '10.0.3.11:8080']
";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub services: BTreeMap<usize, Service>,
    pub refresh: usize,
    pub keep: bool,
    /// Whether the file is damaged.
    pub bad: bool,
    /// Further services of four backends each, and whether one of them is elsewhere.
    pub fill: (usize, bool),
    /// What becomes of the file that this one includes.
    pub include: usize,
}

/// Intervals of the refresh in seconds.
pub const REFRESH: [u64; 3] = [60, 15, 300];

/// One service of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub disabled: bool,
    pub announced: bool,
    pub listeners: Vec<usize>,
    pub interface: bool,
    pub scheduler: usize,
    pub affinity: bool,
    pub source: usize,
    pub allow: usize,
    pub deny: usize,
    pub check: usize,
    pub starts_down: bool,
    pub resets: bool,
    pub resets_denied: bool,
    pub on_empty: usize,
    pub quorum: usize,
    /// With fewer eligible backends than that it is lost.
    pub lost_below: usize,
    pub hooks: bool,
    pub slow_start: usize,
    pub backends: Vec<Backend>,
}

/// One backend of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// `None`: named after its address.
    pub name: Option<usize>,
    pub address: usize,
    pub port: usize,
    pub weight: usize,
    pub backup: bool,
    pub limit: usize,
}

impl File {
    /// One service with two backends, that are probed.
    pub fn new() -> Self {
        let service = Service::new(0, &[0, 1]);
        let services = BTreeMap::from([(0, service)]);
        File { services, refresh: 0, keep: false, bad: false, fill: (0, false), include: 0 }
    }

    /// Makes an edit. One that finds nothing to change changes nothing.
    pub fn edit(&mut self, edit: &Edit) {
        let names: Vec<usize> = self.services.keys().copied().collect();
        let pick = |index: usize| names.get(index % names.len().max(1)).copied();
        match *edit {
            Edit::Add(name, listener) => {
                let service = Service::new(listener, &[name, name + 1, name + 2]);
                self.services.entry(name % SERVICES.len()).or_insert(service);
            }
            Edit::Remove(service) => drop(pick(service).map(|name| self.services.remove(&name))),
            Edit::Rename(service, to) => {
                let to = to % SERVICES.len();
                if let Some(name) = pick(service).filter(|_| !self.services.contains_key(&to))
                    && let Some(service) = self.services.remove(&name)
                {
                    self.services.insert(to, service);
                }
            }
            Edit::Move(from, to) => {
                let (Some(from), Some(to)) = (pick(from), pick(to)) else { return };
                if let Some(listener) =
                    self.services.get_mut(&from).filter(|s| from != to && s.listeners.len() > 1)
                {
                    let listener = listener.listeners.remove(0);
                    self.services.get_mut(&to).into_iter().for_each(|to| to.listeners.push(listener));
                }
            }
            Edit::Swap(one, other) => {
                let (Some(one), Some(other)) = (pick(one), pick(other)) else { return };
                if let (Some(a), Some(b)) =
                    (self.services.get(&one).cloned(), self.services.get(&other).cloned())
                {
                    self.services.insert(one, b);
                    self.services.insert(other, a);
                }
            }
            Edit::Refresh(interval) => self.refresh = interval % REFRESH.len(),
            Edit::Keep(keep) => self.keep = keep,
            Edit::Include(what) => self.include = what % 4,
            Edit::Whole(listener) => {
                let keep = self.keep;
                *self = File { keep, ..File::new() };
                self.services = BTreeMap::from([(
                    listener % SERVICES.len(),
                    Service::new(listener, &[listener, listener + 2]),
                )]);
            }
            Edit::Fill(count) => self.fill = (count, false),
            Edit::Of(service, ref key) => {
                if matches!(key, Key::BackendAddress(..)) {
                    self.fill.1 = !self.fill.1;
                }
                if let Some(service) = pick(service).and_then(|name| self.services.get_mut(&name)) {
                    service.edit(key);
                }
            }
        }
    }

    /// The file's text, but for the control socket.
    pub fn yaml(&self) -> String {
        if self.bad {
            return "services: {web: {listen: nowhere}}\n".to_owned();
        }
        let on_stop = if self.keep { "keep" } else { "remove" };
        let include = if self.include == 3 { "conf.d/missing.yaml" } else { "conf.d/*.yaml" };
        let mut yaml = format!(
            "announce: {{hold: 0, withdraw_wait: 0}}\nrefresh: {}s\non_stop: {on_stop}\ninclude: [{include}]\nservices:\n",
            REFRESH[self.refresh]
        );
        for (name, service) in &self.services {
            writeln!(yaml, "  {}: {{{}}}", SERVICES[*name], service.yaml()).unwrap();
        }
        let (count, shifted) = self.fill;
        for n in 0..count {
            let first = if shifted && n == count / 2 { 15 } else { 11 };
            let backends = [first, 12, 13, 14].map(|host| format!("'10.0.4.{host}:8080'")).join(", ");
            let (high, low) = (n / 200, n % 200);
            writeln!(
                yaml,
                "  fill{n}: {{listen: '198.51.{}.{}:80', backends: [{backends}]}}",
                100 + high,
                1 + low
            )
            .unwrap();
        }
        if self.services.is_empty() && count == 0 {
            yaml = yaml.replace("services:\n", "services: {}\n");
        }
        yaml
    }
}

impl File {
    /// Text of the included file, if it is there.
    pub fn included(&self) -> Option<&'static str> {
        match self.include {
            1 => Some(EXTRA),
            2 => Some("services: {extra: {listen: nowhere}}\n"),
            _ => None,
        }
    }
}

impl Service {
    fn new(listener: usize, addresses: &[usize]) -> Self {
        let backend = |address: &usize| Backend {
            name: None,
            address: address % ADDRESSES.len(),
            port: 0,
            weight: 1,
            backup: false,
            limit: 0,
        };
        let mut backends: Vec<Backend> = addresses.iter().map(backend).collect();
        backends.dedup_by_key(|backend| backend.address);
        Service {
            disabled: false,
            announced: false,
            listeners: vec![listener % LISTENERS.len()],
            interface: false,
            scheduler: 0,
            affinity: false,
            source: 0,
            allow: 0,
            deny: 0,
            check: 1,
            starts_down: false,
            resets: false,
            resets_denied: false,
            on_empty: 0,
            quorum: 1,
            lost_below: 1,
            hooks: true,
            slow_start: 0,
            backends,
        }
    }

    fn edit(&mut self, key: &Key) {
        let count = self.backends.len();
        let backend = |index: usize| if count == 0 { usize::MAX } else { index % count };
        match *key {
            Key::Enabled(enabled) => self.disabled = !enabled,
            Key::Announce(announced) => self.announced = announced,
            Key::Interface(interface) => self.interface = interface,
            Key::Scheduler(scheduler) => self.scheduler = scheduler % SCHEDULERS.len(),
            Key::Affinity(affinity) => self.affinity = affinity,
            Key::Source(source) => self.source = source % SOURCES.len(),
            Key::Allow(list) => self.allow = list % lists::COUNT,
            Key::Deny(list) => self.deny = list % lists::COUNT,
            Key::Check(check) => self.check = check % CHECKS.len(),
            Key::StartsDown(down) => self.starts_down = down,
            Key::Resets(resets) => self.resets = resets,
            Key::ResetsDenied(resets) => self.resets_denied = resets,
            Key::OnEmpty(on_empty) => self.on_empty = on_empty % 3,
            Key::Quorum(quorum) => {
                [self.quorum, self.lost_below] = [[1, 1], [2, 2], [3, 3], [2, 1], [3, 1], [3, 2]][quorum % 6];
            }
            Key::Hooks(hooks) => self.hooks = hooks,
            Key::SlowStart(slow_start) => self.slow_start = slow_start % 3,
            Key::Listen(ref listeners) => {
                self.listeners = listeners.iter().map(|listener| listener % LISTENERS.len()).collect();
                self.listeners.sort_unstable();
                self.listeners.dedup();
            }
            Key::AddBackend(address, port) => {
                let (address, port) = (address % ADDRESSES.len(), port % PORTS.len());
                self.backends.push(Backend { name: None, address, port, weight: 1, backup: false, limit: 0 });
            }
            Key::RemoveBackend(index) => {
                if count > 0 {
                    self.backends.remove(index % count);
                }
            }
            Key::BackendAddress(index, address) => {
                if let Some(backend) = self.backends.get_mut(backend(index)) {
                    // A name that stays, or the address would be the name.
                    backend.name.get_or_insert(index % 4);
                    backend.address = address % ADDRESSES.len();
                }
            }
            Key::BackendPort(index, port) => {
                if let Some(backend) = self.backends.get_mut(backend(index)) {
                    backend.port = port % PORTS.len();
                }
            }
            Key::BackendName(index, name) => {
                if let Some(backend) = self.backends.get_mut(backend(index)) {
                    backend.name = Some(name % 4);
                }
            }
            Key::SwapBackends(one, other) => {
                if count > 0 {
                    let (one, other) = (one % count, other % count);
                    let (a, b) = (self.backends[one].address, self.backends[other].address);
                    (self.backends[one].address, self.backends[other].address) = (b, a);
                }
            }
            Key::Weight(index, weight) => {
                if let Some(backend) = self.backends.get_mut(backend(index)) {
                    backend.weight = [1, 0, 3, 2, 7][weight % 5];
                }
            }
            Key::Backup(index, backup) => {
                if let Some(backend) = self.backends.get_mut(backend(index)) {
                    backend.backup = backup;
                }
            }
            Key::Limit(index, limit) => {
                if let Some(backend) = self.backends.get_mut(backend(index)) {
                    backend.limit = limit % 3;
                }
            }
        }
    }

    fn yaml(&self) -> String {
        let quoted =
            |texts: Vec<String>| texts.iter().map(|text| format!("'{text}'")).collect::<Vec<_>>().join(", ");
        let listen = quoted(self.listeners.iter().map(|index| LISTENERS[*index].to_owned()).collect());
        let mut yaml = format!("listen: [{listen}], {}", SCHEDULERS[self.scheduler]);
        let mut add = |text: String| write!(yaml, ", {text}").unwrap();
        if self.disabled {
            add("enabled: false".into());
        }
        // `*` has no address.
        if self.announced && !self.listeners.iter().any(|index| LISTENERS[*index].starts_with('*')) {
            add("announce: true".into());
        }
        if self.interface {
            add("interface: eth0".into());
        }
        if self.affinity {
            add("affinity: 10m".into());
        }
        add(format!("source: {}", SOURCES[self.source]));
        for (key, list) in [("allow", self.allow), ("deny", self.deny)] {
            if list > 0 {
                add(format!("{key}: [{}]", quoted(lists::list(list))));
            }
        }
        if self.check > 0 {
            let initial = if self.starts_down { "down" } else { "up" };
            add(format!("health: {{{}, initial: {initial}}}", CHECKS[self.check]));
        }
        // SCTP listeners take none of these.
        let may_reset = !self.listeners.iter().any(|index| LISTENERS[*index].ends_with("/sctp"));
        if self.resets && may_reset {
            add("on_down: reset".into());
        }
        if self.resets_denied && may_reset {
            add("on_deny: reset".into());
        }
        add(format!("on_empty: {}", ["reject", "drop", "use-all"][self.on_empty]));
        match (self.quorum, self.lost_below) {
            (up, down) if down < up => add(format!("quorum: {{up: {up}, down: {down}}}")),
            (number, _) => add(format!("quorum: {number}")),
        }
        if self.hooks {
            add("on_ready: [/ready], on_unready: [/unready]".into());
        }
        if self.slow_start > 0 {
            add(format!("slow_start: {}s", [0, 20, 40][self.slow_start]));
        }
        let backends: Vec<String> = self.backends.iter().map(Backend::yaml).collect();
        add(format!("backends: [{}]", backends.join(", ")));
        yaml
    }
}

impl Backend {
    fn yaml(&self) -> String {
        let mut yaml = format!("{{address: '{}{}'", ADDRESSES[self.address], PORTS[self.port]);
        if let Some(name) = self.name {
            write!(yaml, ", name: b{name}").unwrap();
        }
        if self.weight != 1 {
            write!(yaml, ", weight: {}", self.weight).unwrap();
        }
        if self.backup {
            yaml += ", backup: true";
        }
        if self.limit > 0 {
            write!(yaml, ", max_connections: {}", self.limit).unwrap();
        }
        yaml + "}"
    }
}
