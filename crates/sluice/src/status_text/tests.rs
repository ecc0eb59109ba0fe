//! Reviewed texts, and the state that other tests use, too.

use sluice_api::{
    Admin, AnnounceStatus, BackendStatus, ConfigStatus, DaemonStatus, Event, EventKind, FollowerStatus,
    ForeignChange, ForeignChanges, Health, HostStatus, NodeStatus, Override, ProbeStatus, QuorumStatus,
    ReloadStatus, Severity, StateStatus, TableStatus,
};

use super::*;
use crate::golden::assert_golden;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn backend(name: &str, address: &str, weight: u16, share: f64) -> BackendStatus {
    BackendStatus {
        name: name.into(),
        address: address.into(),
        health: Health::Unknown,
        admin: Admin::Enabled,
        eligible: weight > 0,
        weight,
        share,
        connections_total: 1000 * u64::from(weight),
        active: None,
        bytes_in: None,
        bytes_out: None,
        source_ports: None,
        max_connections: None,
        full: false,
        backup: false,
        since: at("2025-01-02T03:04:05Z"),
        last_probe: None,
        overridden: None,
    }
}

pub(crate) fn service(name: &str, listeners: &[&str], state: ServiceState) -> ServiceStatus {
    ServiceStatus {
        name: name.into(),
        listeners: listeners.iter().map(ToString::to_string).collect(),
        scheduler: "round-robin".into(),
        state,
        ready: state == ServiceState::Up,
        not_ready: match state {
            ServiceState::Up => None,
            ServiceState::Empty => Some("quorum lost: 0 of 2 backends eligible, needs 1".into()),
            ServiceState::Disabled => Some("disabled".into()),
        },
        quorum: QuorumStatus { up: 1, down: 1, met: state == ServiceState::Up },
        last_hook: None,
        dropped: Default::default(),
        backends: vec![],
    }
}

/// As `sluice status` prints it into a file.
pub(crate) fn plain(status: &Status, now: Timestamp) -> String {
    render(status, Look { now, colour: false, headers: true, rates: None, width: None })
}

/// A fixed state with every kind of service.
pub(crate) fn status() -> Status {
    let mut web = service("web", &["203.0.113.10:80/tcp", "[2001:db8::10]:80/tcp"], ServiceState::Up);
    web.backends = vec![
        backend("10.0.2.11:8080", "10.0.2.11:8080", 1, 0.25),
        backend("web2", "10.0.2.12:8080", 3, 0.75),
        backend("web3", "[2001:db8:2::13]:8080", 0, 0.0),
    ];
    web.backends[1].since = at("2025-01-05T00:00:00Z");
    Status {
        services: vec![
            service("dns", &["203.0.113.10:53/udp"], ServiceState::Empty),
            service("old", &["*:8000-8010/tcp"], ServiceState::Disabled),
            web,
        ],
        reload: ReloadStatus {
            invalid: false,
            at: at("2025-01-05T00:00:58Z"),
            ok: true,
            problems: vec![],
            warnings: vec![],
            summary: "4 added, 0 changed, 0 removed in the kernel (2 steps, 1 ms)".into(),
            generation: 2,
        },
        table: TableStatus {
            name: "inet sluice".into(),
            present: true,
            flags: vec!["owner".into(), "persist".into()],
            synced: true,
            error: None,
            differences: vec![],
            retry_at: None,
            services: 2,
            sets: 3,
            chains: 6,
            elements: 24,
            last_commit: Some(at("2025-01-04T22:58:59Z")),
            rounds: 7,
            foreign_changes: ForeignChanges {
                total: 2,
                last: Some(ForeignChange { at: at("2025-01-04T23:59:59Z"), process: "nft".into(), pid: 815 }),
            },
        },
        host: HostStatus { conntrack_entries: Some(812), conntrack_max: Some(262_144) },
        events: vec![],
        daemon: DaemonStatus {
            version: "0.1.0".into(),
            pid: 4711,
            started: at("2025-01-01T00:00:00Z"),
            config: "/etc/sluice/sluice.yaml".into(),
            socket: "/run/sluice/sluice.sock".into(),
            http_error: None,
        },
        state: StateStatus { directory: "/run/sluice".into(), problems: vec![] },
        followers: vec![FollowerStatus {
            name: "addresses".into(),
            error: None,
            since: at("2025-01-01T00:00:00Z"),
        }],
        config: ConfigStatus { digest: "0123456789ab".into() },
        node: NodeStatus::default(),
        announce: AnnounceStatus::default(),
    }
}

#[test]
fn status_of_all_services_is_aligned() {
    assert_golden("status.txt", &plain(&status(), at("2025-01-05T00:01:00Z")));
}

#[test]
fn status_of_a_follower_that_is_lost_says_why_and_since_when() {
    let mut status = status();
    let told = |status: &Status| plain(status, at("2025-01-05T00:01:00Z"));
    assert!(!told(&status).contains("follow  "), "{}", told(&status));
    status.followers[0].error = Some("Too many open files\u{1b}[31m".into());
    status.followers[0].since = at("2025-01-05T00:00:00Z");
    let expected = "follow  addresses: changes are not noticed but at a refresh, for 1m 0s: \
                    Too many open files\\u{1b}[31m\n";
    assert!(told(&status).ends_with(expected), "{}", told(&status));
}

#[test]
fn status_of_a_state_directory_that_cannot_be_written_says_why() {
    let mut status = status();
    let told = |status: &Status| plain(status, at("2025-01-05T00:01:00Z"));
    assert!(!told(&status).contains("state   "), "{}", told(&status));
    status.state.problems = vec!["write /run/sluice/backends.json: No space\u{1b}[31m left".into()];
    let expected = "state   /run/sluice is not writable: a restart loses state\n        \
                    write /run/sluice/backends.json: No space\\u{1b}[31m left\n";
    assert!(told(&status).ends_with(expected), "{}", told(&status));
}

#[test]
fn status_of_backends_that_do_not_serve_says_why() {
    let names = ["sick", "leaving", "left", "gone", "busy", "heavy", "spare"];
    let mut backends: Vec<_> = names.iter().map(|name| backend(name, "10.0.2.11:8080", 1, 0.0)).collect();
    let said = |admin, weight: Option<u16>| {
        let reason = Some("kernel update".to_owned()).filter(|_| weight.is_none());
        Some(Override { admin, weight, uid: 0, since: at("2025-01-05T00:00:00Z"), reason })
    };
    let [sick, leaving, left, gone, busy, heavy, spare] = backends.as_mut_slice() else { unreachable!() };
    (sick.health, sick.eligible) = (Health::Unhealthy, false);
    sick.last_probe = Some(ProbeStatus {
        ok: Some(false),
        at: at("2025-01-05T00:00:48Z"),
        took_ms: 0.4,
        detail: "connect 10.0.2.11:8080: connection refused".into(),
        count: 3,
        needed: 3,
    });
    for (backend, admin, active) in
        [(leaving, Admin::Drain, 12), (left, Admin::Drain, 0), (gone, Admin::Disabled, 0)]
    {
        (backend.admin, backend.active, backend.eligible) = (admin, Some(active), false);
        backend.overridden = said(Some(admin), None);
    }
    (busy.full, busy.max_connections, busy.active) = (true, Some(500), Some(500));
    (heavy.weight, heavy.share, heavy.overridden) = (5, 1.0, said(None, Some(5)));
    (spare.backup, spare.health) = (true, Health::Healthy);
    let mut status = status();
    status.services =
        vec![ServiceStatus { backends, ..service("web", &["203.0.113.10:80/tcp"], ServiceState::Up) }];
    assert_golden("status-backends.txt", &plain(&status, at("2025-01-05T00:01:00Z")));
}

#[test]
fn status_after_failures_says_what_and_when_again() {
    let now = at("2025-01-05T00:01:00Z");
    let mut status = status();
    status.services.clear();
    status.reload.ok = false;
    status.reload.problems = vec!["sluice.yaml:3:5: error: unknown key lisen (did you mean listen?)".into()];
    status.reload.summary = "2 services with 8 backends as before".into();
    status.table.synced = false;
    status.table.error = Some("verify: table inet sluice is not what was committed: 1 difference".into());
    status.table.differences = vec![
        "+ add element inet sluice services4  # not in the kernel".into(),
        "+     203.0.113.10 . tcp . 80 : goto random4-4".into(),
    ];
    status.table.retry_at = Some(at("2025-01-05T00:01:08Z"));
    status.table.last_commit = None;
    assert_golden("status-failed.txt", &plain(&status, now));
    let coloured = render(&status, Look { now, colour: true, headers: true, rates: None, width: None });
    assert!(coloured.contains("\x1b[31mnot in sync: verify: table"));
}

#[test]
fn live_status_shows_rates_bytes_and_the_last_events() {
    let mut rates = Rates::default();
    let (mut status, start) = (status(), std::time::Instant::now());
    rates.look(&status, start);
    status.services[2].backends[1].connections_total += 25;
    status.services[2].backends[1].active = Some(12);
    (status.services[2].backends[1].bytes_in, status.services[2].backends[1].bytes_out) =
        (Some(1_500), Some(3 << 30));
    status.services[2].dropped = [("denied".to_owned(), 17)].into();
    status.host.conntrack_entries = Some(250_000);
    let event = |minute: u32, backend: Option<&str>, text: &str| Event {
        at: at(&format!("2025-01-05T00:{minute:02}:00Z")),
        kind: EventKind::Health,
        severity: Severity::Error,
        service: backend.map(|_| "web".into()),
        backend: backend.map(Into::into),
        text: text.into(),
    };
    status.events = (1..=6).map(|minute| event(minute, Some("web2"), "healthy again")).collect();
    status.events.push(event(7, Some("web2"), "unhealthy: run check: \x1b[2Jno\n, 3 of 3"));
    status.events.push(event(8, None, "kernel in sync again"));
    rates.look(&status, start + std::time::Duration::from_secs(2));
    let now = at("2025-01-05T00:09:00Z");
    assert_golden(
        "status-live.txt",
        &render_live(&status, Look { now, colour: false, headers: true, rates: Some(&rates), width: None }),
    );
}

#[test]
fn text_of_others_cannot_reach_the_terminal() {
    let mut status = status();
    let evil = "\x1b]0;evil\x07";
    status.reload.summary = evil.into();
    status.reload.problems = vec![evil.into()];
    status.table.differences = vec![evil.into()];
    (status.table.synced, status.table.error) = (false, Some(evil.into()));
    status.table.foreign_changes.last.as_mut().unwrap().process = evil.into();
    let probe = ProbeStatus {
        ok: Some(false),
        at: at("2025-01-05T00:00:48Z"),
        took_ms: 0.4,
        detail: evil.into(),
        count: 3,
        needed: 3,
    };
    status.services[2].backends[0].last_probe = Some(probe);
    let text = plain(&status, at("2025-01-05T00:01:00Z"));
    assert_eq!(text.matches("\\u{1b}]0;evil\\u{7}").count(), 6, "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn status_without_headers_is_the_same_but_for_the_titles_of_columns() {
    let (status, now) = (status(), at("2025-01-06T00:00:00Z"));
    let with = plain(&status, now);
    let without = render(&status, Look { now, colour: false, headers: false, rates: None, width: None });
    let words = |text: &str| -> Vec<Vec<String>> {
        let lines = text.lines().filter(|line| !line.starts_with("  BACKEND "));
        lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    assert!(with.contains("  BACKEND ") && !without.contains("BACKEND"), "{without}");
    assert_eq!(words(&with), words(&without));
}
