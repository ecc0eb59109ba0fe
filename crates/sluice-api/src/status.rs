//! The state of the daemon, its services and what it has in the kernel.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Event;

/// Everything `sluice status` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Services by name.
    pub services: Vec<ServiceStatus>,
    /// What came of the last reload, or of the start.
    pub reload: ReloadStatus,
    /// What is in the kernel.
    pub table: TableStatus,
    /// What all of this machine shares.
    #[serde(default)]
    pub host: HostStatus,
    /// What happened in the last hour, oldest first; of very much the latest.
    #[serde(default)]
    pub events: Vec<Event>,
    /// Who answers.
    pub daemon: DaemonStatus,
    /// What a restart will know.
    #[serde(default)]
    pub state: StateStatus,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Where it is reached: `203.0.113.10:80/tcp`.
    pub listeners: Vec<String>,
    /// `round-robin`, `random`, `source-hash`, `maglev` or `least-connections`.
    pub scheduler: String,
    /// What a new connection meets.
    pub state: ServiceState,
    /// Packets that its guard dropped, by reason: `denied`, `not-allowed`, `client-rate`, `client-connections`,
    /// `rate`, `invalid`; and `clients-full`, those whose client there was no room to remember. What never happened, or what the file does not ask for any
    /// more, is left out.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
    /// Who serves, in file order.
    pub backends: Vec<BackendStatus>,
}

/// What a new connection to a service meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// A backend.
    Up,
    /// A reject, for want of an eligible backend.
    Empty,
    /// Nothing of ours: as if the service were absent.
    Disabled,
}

/// One backend of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Its name, unique in the service.
    pub name: String,
    /// `address:port` as in the file; the address alone when it keeps the listener's port.
    pub address: String,
    /// What was observed.
    pub health: Health,
    /// What is wanted.
    pub admin: Admin,
    /// Whether health and admin state let it take new flows.
    pub eligible: bool,
    /// Weight in force.
    pub weight: u16,
    /// Fraction of its IP version's new connections it gets, 0 to 1.
    pub share: f64,
    /// New connections over all listeners; never goes backwards, over restarts neither, as long as the backend is in the
    /// file.
    pub connections_total: u64,
    /// Live connections; `null`: not counted.
    pub active: Option<u64>,
    /// Bytes from clients; `null`: not counted (`http.accounting`).
    #[serde(default)]
    pub bytes_in: Option<u64>,
    /// Bytes to clients; `null`: not counted.
    #[serde(default)]
    pub bytes_out: Option<u64>,
    /// Fraction of the source ports in use that the balancer has for connections to it, of all services, 0 to 1; `null`:
    /// not counted, or it sees the clients' own.
    #[serde(default)]
    pub source_ports: Option<f64>,
    /// Most live connections that it is given new ones beside; `null`: any number.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// Whether it has that many and gets no new ones.
    #[serde(default)]
    pub full: bool,
    /// Whether it serves only when others cannot.
    #[serde(default)]
    pub backup: bool,
    /// When health, admin state or eligibility last changed.
    pub since: Timestamp,
    /// The last probe; `null`: there was none.
    pub last_probe: Option<ProbeStatus>,
    /// What an operator changed at run time; `null`: nothing.
    #[serde(rename = "override")]
    pub overridden: Option<Override>,
}

/// Fraction of source ports in use from which it is time to do something.
pub const SOURCE_PORTS_SCARCE: f64 = 0.8;

/// What an operator said of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// `drain` or `disabled`; `null`: nothing.
    pub admin: Option<Admin>,
    /// Weight instead of the file's; `null`: the file's.
    pub weight: Option<u16>,
    /// Who said so last: user id.
    pub uid: u32,
    /// When.
    pub since: Timestamp,
}

/// The last probe of a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// What it says of the backend; `null`: nothing, for it could not be made.
    pub ok: Option<bool>,
    /// When it ended.
    pub at: Timestamp,
    /// Milliseconds that it took.
    pub took_ms: f64,
    /// What was tried and what came of it: `connect 10.0.2.12:8080: connection refused`.
    pub detail: String,
    /// How many ended like it in a row, at most `needed`.
    pub count: u16,
    /// How many in a row change the backend's health.
    pub needed: u16,
}

/// Observed state of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not probed.
    Unknown,
    /// Its probes succeed.
    Healthy,
    /// Its probes fail.
    Unhealthy,
}

/// Wanted state of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// Takes new flows.
    Enabled,
    /// No new flows, established ones finish.
    Drain,
    /// As if it were not there.
    Disabled,
}

impl Admin {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Admin::Enabled => "enabled",
            Admin::Drain => "drain",
            Admin::Disabled => "disabled",
        }
    }
}

/// What came of the last time the configuration was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// When.
    pub at: Timestamp,
    /// Whether the kernel was made equal to that file, and read back.
    pub ok: bool,
    /// Why not, one line each: `FILE:LINE:COL: error: WHAT (FIX)`, or what the kernel refused.
    pub problems: Vec<String>,
    /// What the file could do better, in the same form.
    pub warnings: Vec<String>,
    /// One line for people: what changed in the kernel, or which configuration is in force instead.
    pub summary: String,
    /// How often the configuration was read, the start included.
    pub generation: u64,
}

/// What is in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStatus {
    /// Family and name, as nft writes them.
    pub name: String,
    /// Whether it exists.
    pub present: bool,
    /// Its flags, `owner` and `persist`, as nft calls them.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Whether the last round ended with the kernel equal to the configuration.
    pub synced: bool,
    /// Why not.
    pub error: Option<String>,
    /// What still differed after the table was repaired, as steps in nft syntax with `+`, `-` and `~`; of very many
    /// the first.
    #[serde(default)]
    pub differences: Vec<String>,
    /// When the next attempt is due, while not synced.
    pub retry_at: Option<Timestamp>,
    /// Enabled services in force.
    pub services: usize,
    /// Sets and maps.
    pub sets: usize,
    /// Chains.
    pub chains: usize,
    /// Elements of all sets.
    pub elements: usize,
    /// When we last changed it; `null`: not since the daemon started.
    pub last_commit: Option<Timestamp>,
    /// Rounds since the daemon started.
    pub rounds: u64,
    /// What others did to it since then.
    #[serde(default)]
    pub foreign_changes: ForeignChanges,
}

/// Commits by others that touched the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignChanges {
    /// How many.
    pub total: u64,
    /// The last one; `null`: there was none.
    pub last: Option<ForeignChange>,
}

/// A commit by somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignChange {
    /// When we heard of it.
    pub at: Timestamp,
    /// Name of the process that sent it, as the kernel has it.
    pub process: String,
    /// Its id.
    pub pid: u32,
}

/// What all of this machine shares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Entries of the connection tracking table; `null`: not known.
    pub conntrack_entries: Option<u64>,
    /// How many there can be; `null`: not known.
    pub conntrack_max: Option<u64>,
}

/// The daemon that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// The configuration file. Bytes of its path that are no UTF-8 are replaced.
    pub config: String,
    /// The control socket.
    pub socket: String,
}

/// Where the daemon keeps what a restart needs: overrides, health, totals, and old values of sysctls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateStatus {
    /// The directory.
    pub directory: String,
    /// Why some of it is not there, one line a file: `write /run/sluice/backends.json: No space left on device (os error
    /// 28)`. It is tried again. Empty: all of it is there.
    #[serde(default)]
    pub problems: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backend_status_in_json_has_the_promised_keys_and_null_for_the_unknown() {
        let backend = BackendStatus {
            name: "web2".into(),
            address: "10.0.2.12:8080".into(),
            health: Health::Unknown,
            admin: Admin::Enabled,
            eligible: true,
            weight: 3,
            share: 0.75,
            connections_total: 42,
            active: None,
            bytes_in: Some(7),
            bytes_out: None,
            source_ports: None,
            max_connections: Some(500),
            full: true,
            backup: false,
            since: "2025-01-02T03:04:05Z".parse().unwrap(),
            last_probe: None,
            overridden: None,
        };
        let json = serde_json::to_value(&backend).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "name": "web2", "address": "10.0.2.12:8080", "health": "unknown", "admin": "enabled",
                "eligible": true, "weight": 3, "share": 0.75, "connections_total": 42, "active": null,
                "bytes_in": 7, "bytes_out": null, "source_ports": null, "max_connections": 500, "full": true, "backup": false,
                "since": "2025-01-02T03:04:05Z", "last_probe": null, "override": null,
            })
        );
        assert_eq!(serde_json::from_value::<BackendStatus>(json).unwrap(), backend);
    }
}
