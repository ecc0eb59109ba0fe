//! The daemon's state as a person reads it.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};
use sluice_api::{
    Admin, BackendStatus, ForeignChange, Health, Override, ProbeStatus, SOURCE_PORTS_SCARCE, ServiceState,
    ServiceStatus, Status, Timestamp, number,
};

/// Renders a state as of `now`; `colour` adds ANSI colours.
pub(crate) fn render(status: &Status, now: Timestamp, colour: bool) -> String {
    let mut text = String::new();
    for service in &status.services {
        text += &heading(service, colour);
        text += &backends(&service.backends, now);
        text += &reasons(&service.backends, now);
        text += &overrides(&service.backends, now);
        text += &dropped(service);
        text += &ports_run_out(&service.backends);
        text.push('\n');
    }
    text += &summary(status, now, colour);
    text
}

fn heading(service: &ServiceStatus, colour: bool) -> String {
    let (state, paint) = match service.state {
        ServiceState::Up => ("up", Paint::Good),
        ServiceState::Empty => ("empty", Paint::Bad),
        ServiceState::Disabled => ("disabled", Paint::Dim),
    };
    let state = paint.on(state, colour);
    format!("{}: {state}, {} on {}\n", service.name, service.scheduler, service.listeners.join(", "))
}

fn backends(backends: &[BackendStatus], now: Timestamp) -> String {
    if backends.is_empty() {
        return "  no backends\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["BACKEND", "ADDRESS", "STATE", "SINCE", "WEIGHT", "SHARE", "CONNECTIONS", "ACTIVE"]);
    for backend in backends {
        table.add_row([
            backend.name.clone(),
            backend.address.clone(),
            state(backend),
            age(now, backend.since),
            backend.weight.to_string(),
            format!("{:.1} %", 100.0 * backend.share),
            backend.connections_total.to_string(),
            backend.active.map_or("-".to_owned(), |active| active.to_string()),
        ]);
    }
    for column in table.column_iter_mut() {
        if column.index > 3 {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let before = if column.index == 0 { 2 } else { 0 };
        column.set_padding((before, 2));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Why backends do not serve, a line each.
fn reasons(backends: &[BackendStatus], now: Timestamp) -> String {
    let told = backends.iter().filter_map(|backend| {
        let probe = backend.last_probe.as_ref().filter(|probe| probe.ok != Some(true))?;
        let ProbeStatus { at, detail, count, needed, .. } = probe;
        let (name, ago) = (&backend.name, age(now, *at));
        Some(match probe.ok {
            None => format!("  {name}: {detail} (no probe could be made), {ago} ago\n"),
            Some(_) => format!("  {name}: {detail}, {count} of {needed}, {ago} ago\n"),
        })
    });
    told.collect()
}

/// What operators say of backends, a line each.
fn overrides(backends: &[BackendStatus], now: Timestamp) -> String {
    let told = backends.iter().filter_map(|backend| {
        let Override { admin, weight, uid, since } = backend.overridden.as_ref()?;
        let admin = admin.map(|admin| admin.as_str().to_owned());
        let said: Vec<_> = admin.into_iter().chain(weight.map(|weight| format!("weight {weight}"))).collect();
        let (name, ago) = (&backend.name, age(now, *since));
        Some(format!("  {name}: {} by uid {uid}, {ago} ago (override)\n", said.join(", ")))
    });
    told.collect()
}

/// What its guard dropped, on one line.
fn dropped(service: &ServiceStatus) -> String {
    let told: Vec<_> = service.dropped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    if told.is_empty() { String::new() } else { format!("  dropped: {}\n", told.join(", ")) }
}

/// Backends that the balancer soon has no source ports for, a line each.
fn ports_run_out(backends: &[BackendStatus]) -> String {
    let told = backends.iter().filter_map(|backend| {
        let used = backend.source_ports.filter(|used| *used >= SOURCE_PORTS_SCARCE)?;
        let percent = 100.0 * used;
        Some(format!(
            "  {}: {percent:.0} % of source ports in use: give `source` a range of addresses\n",
            backend.name
        ))
    });
    told.collect()
}

/// A word or two: what keeps it from taking new connections, or else its health.
fn state(backend: &BackendStatus) -> String {
    let spare = if backend.backup && backend.share == 0.0 { " backup" } else { "" };
    let word = match (backend.admin, backend.health, backend.eligible) {
        (Admin::Disabled, ..) => "disabled",
        (Admin::Drain, ..) if backend.active == Some(0) => "drained",
        (Admin::Drain, ..) => {
            return backend.active.map_or("drain".into(), |left| format!("drain, {left} left"));
        }
        (Admin::Enabled, Health::Unhealthy, _) => "unhealthy",
        (Admin::Enabled, ..) if backend.full => "full",
        (Admin::Enabled, Health::Healthy, true) => "healthy",
        (Admin::Enabled, Health::Unknown, true) => "eligible",
        (Admin::Enabled, _, false) => "not eligible",
    };
    format!("{word}{spare}")
}

fn summary(status: &Status, now: Timestamp, colour: bool) -> String {
    let Status { reload, table, daemon, .. } = status;
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| {
        writeln!(text, "{args}").expect("writing to a string does not fail");
    };
    let changed = table.last_commit.map_or("not changed since the start".to_owned(), |commit| {
        format!("changed {} ago", age(now, commit))
    });
    let synced = match (table.synced, &table.error) {
        (true, _) => Paint::Good.on("in sync", colour),
        (false, None) => Paint::Bad.on("not in sync", colour),
        (false, Some(error)) => Paint::Bad.on(&format!("not in sync: {error}"), colour),
    };
    let flags = match table.flags.is_empty() {
        true => String::new(),
        false => format!(" ({})", table.flags.join(", ")),
    };
    line(format_args!(
        "kernel  {synced}; table {}{flags}, {changed}: {}, {}, {}, {}",
        table.name,
        number(table.services, "service"),
        number(table.sets, "set"),
        number(table.chains, "chain"),
        number(table.elements, "element")
    ));
    let others = &table.foreign_changes;
    if let Some(last) = &others.last {
        let (ago, total) = (age(now, last.at), others.total);
        let ForeignChange { process, pid, .. } = last;
        line(format_args!("        changed by others: {total}, last {ago} ago by {process} (pid {pid})"));
    }
    for difference in &table.differences {
        line(format_args!("        {difference}"));
    }
    if let Some(at) = table.retry_at {
        line(format_args!("        next attempt in {}", age(at, now)));
    }
    let taken = match reload.ok {
        true => Paint::Good.on("taken", colour),
        false => Paint::Bad.on("failed", colour),
    };
    line(format_args!(
        "config  {}, read {} ago: {taken}, {}",
        daemon.config.display(),
        age(now, reload.at),
        reload.summary
    ));
    for problem in reload.problems.iter().chain(&reload.warnings) {
        line(format_args!("        {problem}"));
    }
    line(format_args!(
        "daemon  sluiced {}, pid {}, started {} ago",
        daemon.version,
        daemon.pid,
        age(now, daemon.started)
    ));
    text
}

/// Time from `then` to `now` in its two largest units; 0 s when the clock was set back.
fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// Colours by meaning.
#[derive(Clone, Copy)]
enum Paint {
    Good,
    Bad,
    Dim,
}

impl Paint {
    fn on(self, text: &str, colour: bool) -> String {
        let code = match self {
            Paint::Good => 32,
            Paint::Bad => 31,
            Paint::Dim => 2,
        };
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sluice_api::{DaemonStatus, ForeignChanges, HostStatus, ReloadStatus, TableStatus};

    use super::*;
    use crate::golden::assert_golden;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn backend(name: &str, address: &str, weight: u16, share: f64) -> BackendStatus {
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

    fn service(name: &str, listeners: &[&str], state: ServiceState) -> ServiceStatus {
        ServiceStatus {
            name: name.into(),
            listeners: listeners.iter().map(ToString::to_string).collect(),
            scheduler: "round-robin".into(),
            state,
            dropped: Default::default(),
            backends: vec![],
        }
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
                    last: Some(ForeignChange {
                        at: at("2025-01-04T23:59:59Z"),
                        process: "nft".into(),
                        pid: 815,
                    }),
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
            },
        }
    }

    #[test]
    fn status_of_all_services_is_aligned() {
        assert_golden("status.txt", &render(&status(), at("2025-01-05T00:01:00Z"), false));
    }

    #[test]
    fn status_of_backends_that_do_not_serve_says_why() {
        let names = ["sick", "leaving", "left", "gone", "busy", "heavy", "spare"];
        let mut backends: Vec<_> = names.iter().map(|name| backend(name, "10.0.2.11:8080", 1, 0.0)).collect();
        let said =
            |admin, weight| Some(Override { admin, weight, uid: 1000, since: at("2025-01-05T00:00:00Z") });
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
        assert_golden("status-backends.txt", &render(&status, at("2025-01-05T00:01:00Z"), false));
    }

    #[test]
    fn status_after_failures_says_what_and_when_again() {
        let now = at("2025-01-05T00:01:00Z");
        let mut status = status();
        status.services.clear();
        status.reload.ok = false;
        status.reload.problems =
            vec!["sluice.yaml:3:5: error: unknown key lisen (did you mean listen?)".into()];
        status.reload.summary = "2 services with 8 backends as before".into();
        status.table.synced = false;
        status.table.error = Some("verify: table inet sluice is not what was committed: 1 difference".into());
        status.table.differences = vec![
            "+ add element inet sluice services4  # not in the kernel".into(),
            "+     203.0.113.10 . tcp . 80 : goto random4-4".into(),
        ];
        status.table.retry_at = Some(at("2025-01-05T00:01:08Z"));
        status.table.last_commit = None;
        assert_golden("status-failed.txt", &render(&status, now, false));
        assert!(render(&status, now, true).contains("\x1b[31mnot in sync: verify: table"));
    }

    #[test]
    fn age_of_a_clock_set_back_is_zero() {
        let (early, late) = (at("2025-01-01T00:00:00Z"), at("2025-01-01T00:00:01Z"));
        assert_eq!(age(early, late), "0s");
    }
}
