//! States for the page to show.

use sluice_api::{
    Admin, AnnounceStatus, BackendStatus, ConfigStatus, DaemonStatus, Event, EventKind, FollowerStatus,
    ForeignChange, ForeignChanges, Health, HostStatus, NodeStatus, Override, ProbeStatus, QuorumStatus,
    ReloadStatus, ServiceState, ServiceStatus, Severity, StateStatus, Status, TableStatus, Timestamp,
};

/// So many seconds ago.
pub fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second() - seconds).expect("a time of our age")
}

/// A healthy backend.
pub fn backend(name: &str, address: &str, share: f64) -> BackendStatus {
    BackendStatus {
        name: name.into(),
        address: address.into(),
        health: Health::Healthy,
        admin: Admin::Enabled,
        eligible: true,
        weight: 1,
        share,
        connections_total: 1000,
        active: Some(12),
        bytes_in: None,
        bytes_out: None,
        source_ports: None,
        max_connections: None,
        full: false,
        backup: false,
        since: ago(3725),
        last_probe: Some(ProbeStatus {
            ok: Some(true),
            at: ago(1),
            took_ms: 0.4,
            detail: format!("connect {address}: connected"),
            count: 2,
            needed: 2,
        }),
        overridden: None,
    }
}

/// The same, found to be down.
pub fn unhealthy(mut backend: BackendStatus, detail: &str) -> BackendStatus {
    (backend.health, backend.eligible, backend.share) = (Health::Unhealthy, false, 0.0);
    (backend.since, backend.active) = (ago(42), Some(0));
    backend.last_probe = Some(ProbeStatus {
        ok: Some(false),
        at: ago(2),
        took_ms: 0.2,
        detail: detail.into(),
        count: 3,
        needed: 3,
    });
    backend
}

/// The same, with this said of it.
pub fn told(mut backend: BackendStatus, admin: Option<Admin>, weight: Option<u16>) -> BackendStatus {
    backend.overridden = Some(Override { admin, weight, uid: 1000, since: ago(75), reason: None });
    if let Some(admin) = admin {
        (backend.admin, backend.eligible, backend.share) = (admin, admin == Admin::Enabled, 0.0);
    }
    backend.weight = weight.unwrap_or(backend.weight);
    backend
}

/// A service that serves.
pub fn service(name: &str, listeners: &[&str], backends: Vec<BackendStatus>) -> ServiceStatus {
    ServiceStatus {
        name: name.into(),
        listeners: listeners.iter().map(ToString::to_string).collect(),
        scheduler: "round-robin".into(),
        state: ServiceState::Up,
        ready: true,
        not_ready: None,
        quorum: QuorumStatus { up: 1, down: 1, met: true },
        last_hook: None,
        dropped: Default::default(),
        backends,
    }
}

/// Something that happened.
pub fn event(seconds: i64, severity: Severity, about: Option<(&str, &str)>, text: &str) -> Event {
    Event {
        at: ago(seconds),
        kind: if about.is_some() { EventKind::Health } else { EventKind::Reload },
        severity,
        service: about.map(|(service, _)| service.into()),
        backend: about.map(|(_, backend)| backend.into()),
        text: text.into(),
    }
}

/// A daemon in good order with these services.
pub fn status(services: Vec<ServiceStatus>) -> Status {
    Status {
        table: TableStatus {
            name: "inet sluice".into(),
            present: true,
            flags: vec!["owner".into(), "persist".into()],
            synced: true,
            services: services.len(),
            sets: 3,
            chains: 6,
            elements: 24,
            last_commit: Some(ago(42)),
            rounds: 7,
            ..TableStatus::default()
        },
        services,
        reload: ReloadStatus {
            invalid: false,
            at: ago(500),
            ok: true,
            problems: vec![],
            warnings: vec![],
            summary: "4 added, 0 changed, 0 removed in the kernel (2 steps, 1 ms)".into(),
            generation: 2,
        },
        host: HostStatus { conntrack_entries: Some(3812), conntrack_max: Some(262_144) },
        events: vec![],
        daemon: DaemonStatus {
            version: "0.1.0".into(),
            pid: 4711,
            started: ago(90_000),
            config: "/etc/sluice/sluice.yaml".into(),
            socket: "/run/sluice/sluice.sock".into(),
            http_error: None,
        },
        state: StateStatus { directory: "/run/sluice".into(), problems: vec![] },
        followers: vec![FollowerStatus { name: "addresses".into(), error: None, since: ago(90_000) }],
        node: NodeStatus::default(),
        config: ConfigStatus { digest: "0123456789ab".into() },
        announce: AnnounceStatus::default(),
    }
}

/// Three services with something of everything.
pub fn three() -> Status {
    let web = |n: u8| backend(&format!("web{n}"), &format!("10.0.2.1{n}:8080"), 0.5);
    let counted = |mut backend: BackendStatus, bytes: u64, ports: f64| {
        (backend.bytes_in, backend.bytes_out) = (Some(bytes), Some(17 * bytes));
        backend.source_ports = Some(ports);
        backend
    };
    let mut full = counted(web(2), 91_230_000, 0.84);
    (full.max_connections, full.active, full.full) = (Some(500), Some(500), true);
    let spare = BackendStatus { backup: true, share: 0.0, active: Some(0), ..web(5) };
    let mut http = service(
        "web",
        &["203.0.113.10:80/tcp", "[2001:db8::10]:80/tcp"],
        vec![
            counted(web(1), 1_203_400_000, 0.12),
            full,
            unhealthy(counted(web(3), 12_000, 0.0), "connect 10.0.2.13:8080: connection refused"),
            told(counted(web(4), 640_000, 0.01), Some(Admin::Drain), None),
            spare,
        ],
    );
    http.scheduler = "least-connections".into();
    http.dropped = [("client-rate".into(), 1204), ("denied".into(), 3)].into();
    let name = |n: u8| backend(&format!("10.0.3.{n}:53"), &format!("10.0.3.{n}:53"), 0.25);
    let heavy = BackendStatus { share: 0.75, ..told(name(2), None, Some(3)) };
    let dns = service("dns", &["203.0.113.10:53/udp", "203.0.113.10:53/tcp"], vec![name(1), heavy]);
    let refused = |n: u8| {
        let backend = backend(&format!("m{n}"), &format!("10.0.4.{n}:25"), 0.0);
        unhealthy(backend, "connect: no route to host")
    };
    let mut mail = service("mail", &["203.0.113.10:25/tcp"], vec![refused(1), refused(2)]);
    mail.state = ServiceState::Empty;

    let mut status = status(vec![dns, mail, http]);
    status.table.foreign_changes = ForeignChanges {
        total: 2,
        last: Some(ForeignChange { at: ago(61), process: "nft".into(), pid: 815 }),
    };
    let refused = "unhealthy: connect 10.0.2.13:8080: connection refused, 3 of 3";
    status.events = vec![
        event(3000, Severity::Info, None, "4 added, 0 changed, 0 removed in the kernel (2 steps, 1 ms)"),
        event(120, Severity::Warning, Some(("web", "web3")), refused),
        event(90, Severity::Error, Some(("mail", "m1")), "unhealthy: connect: no route to host, 3 of 3"),
        event(75, Severity::Info, Some(("web", "web4")), "drain by uid 1000"),
    ];
    status
}

/// Very many services with four backends each, one backend of every hundredth down.
pub fn many(count: usize) -> Status {
    let one = |n: usize| {
        let backend = |b: usize| {
            let address = format!("10.{}.{}.{b}:8080", 16 + n / 250, n % 250);
            let backend = backend(&format!("b{b}"), &address, 0.25);
            match (n % 100, b) {
                (7, 2) => unhealthy(backend, &format!("connect {address}: connection refused")),
                _ => backend,
            }
        };
        let listener = format!("203.0.{}.{}:80/tcp", 113 + n / 250, n % 250);
        service(&format!("shop-{n:04}"), &[&listener], (1..=4).map(backend).collect())
    };
    status((0..count).map(one).collect())
}
