//! Status of the daemon, its services, and the table in the kernel.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AnnounceStatus, Event, NodeStatus};

/// The status that `sluice status` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Services by name.
    pub services: Vec<ServiceStatus>,
    /// The configuration in force.
    #[serde(default)]
    pub config: ConfigStatus,
    /// Result of the last reload, or of the start.
    pub reload: ReloadStatus,
    /// The table in the kernel.
    pub table: TableStatus,
    /// Resources of the host.
    #[serde(default)]
    pub host: HostStatus,
    /// Events of the last hour, oldest first; truncated to the most recent.
    #[serde(default)]
    pub events: Vec<Event>,
    /// The daemon.
    pub daemon: DaemonStatus,
    /// Saved state.
    #[serde(default)]
    pub state: StateStatus,
    /// What the daemon follows, by name.
    #[serde(default)]
    pub followers: Vec<FollowerStatus>,
    /// The node as a whole.
    #[serde(default)]
    pub node: NodeStatus,
    /// Announced addresses.
    #[serde(default)]
    pub announce: AnnounceStatus,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Listeners as text: `203.0.113.10:80/tcp`.
    pub listeners: Vec<String>,
    /// `round-robin`, `random`, `source-hash`, `maglev`, `least-connections` or `first`.
    pub scheduler: String,
    /// What happens to new connections.
    pub state: ServiceState,
    /// Whether it is in sync and has its quorum, so that it can be given traffic, for example by VRRP or BGP.
    #[serde(default)]
    pub ready: bool,
    /// Why it is not ready; `null`: it is.
    #[serde(default)]
    pub not_ready: Option<String>,
    /// Its quorum.
    #[serde(default)]
    pub quorum: QuorumStatus,
    /// The last run of `on_ready` or `on_unready`; `null`: none since the daemon started.
    #[serde(default)]
    pub last_hook: Option<HookStatus>,
    /// Packets that the guard dropped, by reason: `denied`, `not-allowed`, `client-rate`, `client-connections`,
    /// `rate`, `invalid`, and `clients-full` for clients that found no room in the table of clients. Reasons without a
    /// packet, or that the file does not enable any more, are left out.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
    /// Backends in file order.
    pub backends: Vec<BackendStatus>,
}

/// The eligible backends of an IP version, backups not counted, that a service needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumStatus {
    /// Number from which the quorum is met.
    pub up: u16,
    /// Number below which it is lost.
    pub down: u16,
    /// Whether it is met, for all IP versions of the service.
    pub met: bool,
}

/// A run of a hook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HookStatus {
    /// `on_ready` or `on_unready`.
    pub hook: String,
    /// Whether it succeeded; `null`: it could not run, for a reason on this host.
    pub ok: Option<bool>,
    /// Time when it ended.
    pub at: Timestamp,
    /// Duration in milliseconds.
    pub took_ms: f64,
    /// Its result: `run /usr/local/bin/notify: exit status 1: no route`.
    pub detail: String,
}

/// What happens to new connections of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// A backend gets them.
    Up,
    /// They are rejected, as no backend is eligible.
    Empty,
    /// They are not handled, as if the service did not exist.
    Disabled,
}

/// One backend of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Its name, unique in the service.
    pub name: String,
    /// `address:port` as in the file; only the address if the backend keeps the listener's port.
    pub address: String,
    /// Observed health.
    pub health: Health,
    /// Administrative state.
    pub admin: Admin,
    /// Whether health and admin state permit new flows.
    pub eligible: bool,
    /// Effective weight.
    pub weight: u16,
    /// Fraction of new connections of its IP version, 0 to 1.
    pub share: f64,
    /// New connections over all listeners. Monotonic, also across restarts, while the backend is in the file.
    pub connections_total: u64,
    /// Live connections; `null`: not counted.
    pub active: Option<u64>,
    /// Bytes from clients; `null`: not counted (`http.accounting`).
    #[serde(default)]
    pub bytes_in: Option<u64>,
    /// Bytes to clients; `null`: not counted.
    #[serde(default)]
    pub bytes_out: Option<u64>,
    /// Fraction of the balancer's source ports to this backend that are in use, by all services, 0 to 1; `null`: not
    /// counted, or the backend sees the clients' own.
    #[serde(default)]
    pub source_ports: Option<f64>,
    /// Live connections from which it gets no new ones; `null`: no limit.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// Whether `max_connections` is reached, so that it gets no new ones.
    #[serde(default)]
    pub full: bool,
    /// Whether it serves only while too few other backends are eligible.
    #[serde(default)]
    pub backup: bool,
    /// When health, admin state or eligibility last changed.
    pub since: Timestamp,
    /// The last probe; `null`: none yet.
    pub last_probe: Option<ProbeStatus>,
    /// The override of an operator; `null`: none.
    #[serde(rename = "override")]
    pub overridden: Option<Override>,
}

/// Fraction of source ports in use above which more addresses are needed.
pub const SOURCE_PORTS_SCARCE: f64 = 0.8;

/// What an operator changed at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// `drain` or `disabled`; `null`: unchanged.
    pub admin: Option<Admin>,
    /// Weight; `null`: that of the file.
    pub weight: Option<u16>,
    /// User id of the operator who changed it last.
    pub uid: u32,
    /// Time of the last change.
    pub since: Timestamp,
    /// The operator's reason; `null`: none given.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The last probe of a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// Whether it succeeded; `null`: it could not run, for a reason on this host.
    pub ok: Option<bool>,
    /// Time when it ended.
    pub at: Timestamp,
    /// Duration in milliseconds.
    pub took_ms: f64,
    /// The attempt and its result: `connect 10.0.2.12:8080: connection refused`.
    pub detail: String,
    /// Consecutive results like this one, at most `needed`.
    pub count: u16,
    /// Consecutive results that change the health.
    pub needed: u16,
}

/// Observed health of a backend.
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

/// Administrative state of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// New flows are allowed.
    Enabled,
    /// No new flows; established ones finish.
    Drain,
    /// As if it were not in the file.
    Disabled,
}

impl Admin {
    /// The keyword in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Admin::Enabled => "enabled",
            Admin::Drain => "drain",
            Admin::Disabled => "disabled",
        }
    }
}

/// The configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Hash of its services, 12 hexadecimal digits, as `sluice digest` prints it.
    pub digest: String,
}

/// Result of the last reload, or of the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// Time of the reload.
    pub at: Timestamp,
    /// Whether the file was applied and verified.
    pub ok: bool,
    /// Whether the file itself is invalid; otherwise the host or the kernel refused what it asks for.
    #[serde(default)]
    pub invalid: bool,
    /// Why not, one line each: `FILE:LINE:COL: error: WHAT (FIX)`, or the error of the kernel.
    pub problems: Vec<String>,
    /// Warnings about the file, in the same form.
    pub warnings: Vec<String>,
    /// One line of text: what changed in the kernel, or which configuration is still in force.
    pub summary: String,
    /// Number of loads of the configuration, including the start.
    pub generation: u64,
}

/// The table in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStatus {
    /// Family and name, as in nft.
    pub name: String,
    /// Whether it exists.
    pub present: bool,
    /// Flags, `owner` and `persist`, as in nft.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Whether the last round ended with a table that matches the configuration.
    pub synced: bool,
    /// Why not.
    pub error: Option<String>,
    /// Differences that remain after a repair, as steps in nft syntax with `+`, `-` and `~`; truncated.
    #[serde(default)]
    pub differences: Vec<String>,
    /// Time of the next retry, while not synced.
    pub retry_at: Option<Timestamp>,
    /// Enabled services.
    pub services: usize,
    /// Sets and maps.
    pub sets: usize,
    /// Chains.
    pub chains: usize,
    /// Elements of all sets.
    pub elements: usize,
    /// Time of our last commit; `null`: none since the daemon started.
    pub last_commit: Option<Timestamp>,
    /// Rounds since the daemon started.
    pub rounds: u64,
    /// Changes of the table by other processes since the daemon started.
    #[serde(default)]
    pub foreign_changes: ForeignChanges,
}

/// Changes of the table by other processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignChanges {
    /// Number of commits.
    pub total: u64,
    /// The last one; `null`: none.
    pub last: Option<ForeignChange>,
}

/// A commit of another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignChange {
    /// Time when the daemon was notified.
    pub at: Timestamp,
    /// Name of the process, from the kernel.
    pub process: String,
    /// Process id.
    pub pid: u32,
}

/// Resources of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Entries in conntrack; `null`: unknown.
    pub conntrack_entries: Option<u64>,
    /// Maximum of entries; `null`: unknown.
    pub conntrack_max: Option<u64>,
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Time of the start.
    pub started: Timestamp,
    /// The configuration file. Bytes that are not UTF-8 are replaced.
    pub config: String,
    /// The control socket.
    pub socket: String,
    /// Why `http.listen` has no listener: `listen on 10.0.1.1:9180, which is http.listen: Address already in use`. The daemon
    /// tries again at each refresh and reload. `None`: it has one, or is not configured.
    #[serde(default)]
    pub http_error: Option<String>,
}

/// Saved state: overrides, health, totals, and previous values of sysctls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateStatus {
    /// The directory.
    pub directory: String,
    /// Files that are not up to date, one line each: `write /run/sluice/backends.json: No space left on device (os
    /// error 28)`. The daemon retries. Empty: all are saved.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// Whether changes of one kind by others reach the daemon immediately, or are found at a refresh only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowerStatus {
    /// What is followed: `addresses` (interfaces, addresses, forwarding) or `ruleset` (commits by others, where the
    /// table is not owned).
    pub name: String,
    /// Why changes are not noticed; `null`: they are. The daemon retries.
    pub error: Option<String>,
    /// Time since when it is so.
    pub since: Timestamp,
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
