//! docs/cli-json.md says what commands print as JSON: key by key what the types have, no more and no less.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, to_value};
use sluice_api::{
    AddressState, Admin, AnnounceStatus, AnnouncedAddress, BackendStatus, ChangedBackend, Connection,
    Connections, ErrorReply, Event, EventKind, FileText, FollowerStatus, ForeignChanges, Health, HookStatus,
    HostStatus, IncludeTexts, NodeChange, NodeLeft, NodeReply, NodeRequest, Override, OverrideChange,
    OverrideRequest, OverridesReply, OverridesRequest, PlanRequest, ProbeStatus, ReloadStatus, ServiceState,
    Severity, Status, StatusChanges, TableStatus, Timestamp,
};

use crate::commands::{
    apply, check, digest, explain, overrides, plan, ready, render, status as status_command,
};
use crate::doctor;
use crate::status_text::tests::{at, backend, service, status};

const DOCUMENT: &str = include_str!("../../../docs/cli-json.md");

/// Keys of an object and their types, as documented.
type Object = BTreeMap<String, String>;

/// Objects by the heading above their tables.
fn documented() -> BTreeMap<String, Object> {
    let mut objects: BTreeMap<String, Object> = BTreeMap::new();
    let mut heading = String::new();
    for line in DOCUMENT.lines() {
        if line.starts_with("##") {
            heading = line.trim_start_matches('#').trim().to_owned();
        }
        let Some((key, rest)) = line.strip_prefix("| `").and_then(|rest| rest.split_once("` | ")) else {
            continue;
        };
        let (of, meaning) = rest.split_once(" | ").unwrap_or((rest, ""));
        if key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            assert!(meaning.trim_end_matches('|').trim() != "", "{heading}: {key} means something");
            let twice = objects.entry(heading.clone()).or_default().insert(key.to_owned(), of.to_owned());
            assert_eq!(twice, None, "{heading}: {key}");
        }
    }
    objects
}

/// Looks through values, and notes what it has met.
struct Reader {
    objects: BTreeMap<String, Object>,
    met: BTreeSet<(String, String, String)>,
}

impl Reader {
    fn object(&mut self, name: &str, value: &Value) {
        let object = self.objects.get(name).unwrap_or_else(|| panic!("no table for {name}")).clone();
        let keys: BTreeSet<_> =
            value.as_object().unwrap_or_else(|| panic!("{name}: {value}")).keys().collect();
        assert_eq!(
            keys,
            object.keys().collect::<BTreeSet<_>>(),
            "{name}: keys that are, and that are documented"
        );
        for (key, of) in &object {
            let met = match &value[key] {
                Value::Null => "null".to_owned(),
                text @ Value::String(_) if of.contains(": `") => text.to_string().replace('"', "`"),
                _ => "a value".to_owned(),
            };
            self.met.insert((name.to_owned(), key.clone(), met));
            let place = format!("{name}: {key}");
            match (of.trim_end_matches("or null").trim_end_matches([' ', ';']), &value[key]) {
                (of, Value::Null) => assert!(object[key].ends_with("or null"), "{place} is null, not {of}"),
                (of, value) => self.value(&place, of, value),
            }
        }
    }

    fn value(&mut self, place: &str, of: &str, value: &Value) {
        let is_right = match of {
            "text" => value.is_string(),
            "time" => value.as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok()),
            "count" => value.is_u64(),
            "number" => value.is_number(),
            "bool" => value.is_boolean(),
            "map of any" => value.is_object(),
            _ if of.starts_with("text: ") => {
                value.as_str().is_some_and(|text| of.contains(&format!("`{text}`")))
            }
            _ => {
                if let Some(of) = of.strip_prefix("array of ") {
                    let items = value.as_array().unwrap_or_else(|| panic!("{place}: {value} is no {of}"));
                    items.iter().for_each(|item| self.value(place, of, item));
                } else if let Some(of) = of.strip_prefix("map of ") {
                    let map = value.as_object().unwrap_or_else(|| panic!("{place}: {value} is no map"));
                    map.values().for_each(|value| self.value(place, of, value));
                } else {
                    let (name, link) =
                        of.strip_prefix('[').and_then(|of| of.split_once("](#")).unwrap_or_else(|| {
                            panic!("{place}: what is `{of}`?");
                        });
                    assert_eq!(link, name.replace(' ', "-") + ")", "{place}");
                    self.object(name, value);
                }
                true
            }
        };
        assert!(is_right, "{place}: {value} is no {of}");
    }
}

/// A status in which every key has every value that it can be told by.
fn full() -> Status {
    let mut full = status();
    let when = at("2025-01-05T00:00:00Z");
    let mut backends: Vec<BackendStatus> = vec![];
    for (health, admin) in [
        (Health::Unknown, Admin::Enabled),
        (Health::Healthy, Admin::Drain),
        (Health::Unhealthy, Admin::Disabled),
    ] {
        let mut it = backend("web1", "10.0.2.11:8080", 1, 0.5);
        (it.health, it.admin, it.active) = (health, admin, Some(1));
        (it.bytes_in, it.bytes_out, it.source_ports, it.max_connections) =
            (Some(1), Some(1), Some(0.5), Some(1));
        let probe = |ok| ProbeStatus { ok, at: when, took_ms: 0.5, detail: "d".into(), count: 1, needed: 2 };
        it.last_probe = Some(probe((health != Health::Unknown).then_some(true)));
        let admin = (admin != Admin::Enabled).then_some(admin);
        it.overridden = Some(Override {
            admin,
            weight: admin.map(|_| 3),
            uid: 0,
            since: when,
            reason: admin.map(|_| "disk".into()),
        });
        backends.push(it);
    }
    // One of which nothing is known.
    backends.push(backend("web2", "10.0.2.12:8080", 1, 0.5));
    full.services = [ServiceState::Up, ServiceState::Empty, ServiceState::Disabled]
        .map(|state| service("web", &["203.0.113.10:80/tcp"], state))
        .into();
    full.services[0].backends = backends;
    let run =
        |hook: &str, ok| HookStatus { hook: hook.into(), ok, at: when, took_ms: 0.5, detail: "d".into() };
    full.services[0].last_hook = Some(run("on_ready", Some(true)));
    full.services[1].last_hook = Some(run("on_unready", None));
    full.services[0].dropped = [("denied".to_owned(), 1)].into();
    full.state.problems = vec!["p".into()];
    full.daemon.http_error = Some("e".into());
    full.followers.push(FollowerStatus { name: "ruleset".into(), error: Some("e".into()), since: when });
    full.node.left = Some(NodeLeft { uid: 0, since: when, reason: None });
    full.announce = AnnounceStatus {
        interface: "lo".into(),
        addresses: AddressState::ALL
            .map(|state| {
                let address = [203, 0, 113, 10].into();
                AnnouncedAddress { address, state, services: vec!["web".into()] }
            })
            .into(),
        error: Some("e".into()),
    };
    full.table.error = Some("e".into());
    full.table.differences = vec!["d".into()];
    full.table.retry_at = Some(when);
    let kinds = [
        EventKind::Start,
        EventKind::Reload,
        EventKind::Health,
        EventKind::Readiness,
        EventKind::Operator,
        EventKind::Announce,
        EventKind::Foreign,
        EventKind::Sync,
    ];
    let severities = [Severity::Info, Severity::Warning, Severity::Error].into_iter().cycle();
    full.events = kinds
        .into_iter()
        .zip(severities)
        .map(|(kind, severity)| {
            let name = (kind == EventKind::Health).then(|| "web".to_owned());
            Event { at: when, kind, severity, service: name.clone(), backend: name, text: "t".into() }
        })
        .collect();
    full
}

/// What is null when nothing is known.
fn bare() -> Status {
    let mut bare = status();
    bare.host = HostStatus::default();
    bare.table = TableStatus { foreign_changes: ForeignChanges::default(), ..TableStatus::default() };
    bare
}

fn connections() -> Connections {
    let connection = |bytes: Option<u64>| Connection {
        service: "web".into(),
        backend: "web1".into(),
        protocol: "tcp".into(),
        client: "198.51.100.7:40000".parse().unwrap(),
        listener: "203.0.113.10:80".parse().unwrap(),
        source: "10.0.2.1:61000".parse().unwrap(),
        address: "10.0.2.11:8080".parse().unwrap(),
        state: "established".into(),
        expires: 431_999,
        bytes_in: bytes,
        bytes_out: bytes,
    };
    Connections { total: 53_211, connections: vec![connection(None), connection(Some(1))] }
}

fn changes() -> [StatusChanges; 2] {
    let Status { services, config, reload, table, host, state, followers, node, announce, events, .. } =
        full();
    let nothing = StatusChanges::default();
    let all = StatusChanges {
        at: nothing.at,
        services,
        gone: vec!["old".into()],
        config: Some(config),
        reload: Some(reload),
        table: Some(table),
        host: Some(host),
        state: Some(state),
        followers: Some(followers),
        node: Some(node),
        announce: Some(announce),
        events,
    };
    [nothing, all]
}

#[test]
fn keys_that_are_documented_are_those_that_are_printed() {
    let mut reader = Reader { objects: documented(), met: BTreeSet::new() };
    for value in [full(), bare()] {
        reader.object("status", &to_value(value).unwrap());
    }
    let reload: ReloadStatus = status().reload;
    let request = OverrideRequest {
        service: "web".into(),
        backend: "web1".into(),
        change: OverrideChange::Weight(None),
        reason: Some("kernel update".into()),
    };
    let failure = ErrorReply { error: "e".into(), hint: "h".into() };
    reader.object("reload", &to_value(reload).unwrap());
    reader.object("connections", &to_value(connections()).unwrap());
    let unexplained = OverrideRequest { reason: None, ..request.clone() };
    [request.clone(), unexplained].iter().for_each(|it| reader.object("change", &to_value(it).unwrap()));
    let several = OverridesRequest::from(request.clone());
    let silent = OverridesRequest { reason: None, ..several.clone() };
    [several, silent].iter().for_each(|it| reader.object("changes of backends", &to_value(it).unwrap()));
    for not_remembered in [None, Some("read-only".to_owned())] {
        let changed = |status| ChangedBackend { service: "web".into(), status };
        let backends = status().services.into_iter().flat_map(|it| it.backends).map(changed).collect();
        let reply = OverridesReply { backends, not_remembered };
        reader.object("changed backends", &to_value(reply).unwrap());
    }
    for reason in [None, Some("kernel update".to_owned())] {
        let left = NodeLeft { uid: 0, since: at("2025-01-05T00:00:00Z"), reason: reason.clone() };
        for change in [NodeChange::Leave, NodeChange::Join] {
            let request = NodeRequest { change, reason: reason.clone() };
            reader.object("change of the node", &to_value(request).unwrap());
        }
        let left = reason.as_ref().map(|_| left);
        let (not_withdrawn, not_remembered) = (reason.clone(), reason);
        let reply = NodeReply { left, withdrawn: 2, not_withdrawn, not_remembered };
        reader.object("changed node", &to_value(reply).unwrap());
    }
    reader.object("failure", &to_value(failure).unwrap());
    let file = || FileText { path: "sluice.yaml".into(), text: "services: {}".into() };
    let include = IncludeTexts { pattern: "conf.d/*.yaml".into(), files: vec![file()] };
    let texts = PlanRequest { file: file(), includes: vec![include] };
    reader.object("configuration", &to_value(texts).unwrap());
    changes().iter().for_each(|value| reader.object("changes", &to_value(value).unwrap()));
    for (name, examples) in [
        ("check", check::examples()),
        ("digest", digest::examples()),
        ("plan", plan::examples()),
        ("apply", apply::examples()),
        ("ruleset", render::examples()),
        ("explanation", explain::examples()),
        ("finding", doctor::examples()),
        ("overridden backend", overrides::examples()),
        ("readiness", ready::examples()),
        ("conflict", status_command::conflict_examples()),
    ] {
        examples.iter().for_each(|value| reader.object(name, value));
    }

    // What the document says that can be, is.
    for (name, object) in &reader.objects {
        for (key, of) in object {
            let met = |what: &str| reader.met.contains(&(name.clone(), key.clone(), what.to_owned()));
            if of.contains("or null") {
                assert!(met("null"), "{name}: {key} is never null");
            }
            match of.split_once(": `") {
                Some((_, values)) => {
                    let values = format!("`{values}");
                    let values =
                        values.split([',', ';']).map(str::trim).filter(|value| value.starts_with('`'));
                    values.for_each(|value| assert!(met(value), "{name}: {key} is never {value}"));
                }
                None => assert!(met("a value"), "{name}: {key} is not in any example"),
            }
        }
    }
}

#[test]
fn commands_with_json_are_those_in_the_document() {
    use clap::CommandFactory;
    let cli = crate::args::Cli::command();
    let has_json = |command: &&clap::Command| command.get_arguments().any(|it| it.get_long() == Some("json"));
    let table: String = DOCUMENT.lines().filter(|line| line.starts_with("| `sluice ")).collect();
    for command in cli.get_subcommands() {
        let name = command.get_name();
        let is_documented = table.contains(&format!("`sluice {name} --json`"))
            || table.contains(&format!("`{name}`"))
            || table.contains(&format!("`sluice {name}`"));
        assert_eq!(has_json(&command), is_documented, "{name}");
    }
}
