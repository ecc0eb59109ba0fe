//! `sluice status`: services, backends, and the table in the kernel.

mod conflicts;

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use sluice_api::{Client, Health, ServiceState, ServiceStatus, Timestamp};
use sluiced::fatal::{Exit, Fatal};

use crate::doctor::Conflict;
use crate::options::Common;
use crate::status_text::Look;
use crate::text::safe;
use crate::watch::shell::{self, Form};
use crate::{daemon, output, status_text};

/// Show services, backends and the state of the kernel
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct StatusCommand {
    /// Only this service
    #[arg(value_name = "SERVICE")]
    service: Option<String>,

    /// Refresh every second, with new connections per second and recent events, until Ctrl-C
    #[arg(short, long)]
    watch: bool,

    /// Only what is wrong: services that are not ready, and backends that are down or overridden
    #[arg(long)]
    problems: bool,

    /// Print nothing if all is well, and otherwise what is wrong; the exit code is 3 then
    #[arg(long, conflicts_with_all = ["watch", "problems", "json"])]
    check: bool,

    /// Do not print the titles of columns
    #[arg(long, conflicts_with_all = ["watch", "check", "json"])]
    no_headers: bool,

    /// Print the daemon's response as JSON; with --watch one object per line
    #[arg(long)]
    json: bool,
}

/// The daemon's response, and what only this command knows.
#[derive(Serialize)]
struct StatusReport<'a> {
    #[serde(flatten)]
    status: &'a sluice_api::Status,
    conflicts: Option<Vec<Conflict>>,
}

const AFTER_HELP: &str = "\
Examples:
  sluice status
  sluice status web
  sluice status --watch web
  sluice status --problems
  sluice status --no-headers web | grep drain
  sluice status --check || echo 'see above'
  sluice status --json | jq '.services[].backends[] | {name, connections_total}'

A service is up, has no backends (no backend is eligible: new connections are refused), or is disabled. A backend is \
eligible if it gets new connections. A service is ready if the kernel is in sync and its quorum is met.

--check exits with 3 unless the kernel is in sync, the last reload succeeded, and every enabled service is ready and has a \
backend that gets new connections.

Tables of other programs that translate the same connections are shown with which of both wins, except with --watch and \
--check. Reading them needs CAP_NET_ADMIN.

JSON: docs/cli-json.md has all keys. To a file or pipe, --watch prints one block per second, separated by blank lines.";

impl StatusCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let socket = common.socket()?;
        if self.watch {
            let form = Form::of(self.json);
            shell::run(&Client::new(&socket), form, common.colour(), |status| {
                Ok(self.of_problems(self.of_service(status)?))
            })?;
            return Ok(ExitCode::SUCCESS);
        }
        let status = daemon::ask("status", &socket, async |client| client.status().await)?;
        let status = self.of_service(status)?;
        if self.check {
            let wrong = wrong(&status);
            wrong.iter().try_for_each(|line| output::print(&format!("{line}\n")))?;
            return Ok(ExitCode::from(if wrong.is_empty() { 0 } else { 3 }));
        }
        let conflicts = conflicts::of(&status);
        let status = self.of_problems(status);
        if self.json {
            output::print_json(&StatusReport { status: &status, conflicts })?;
        } else {
            let (now, colour) = (Timestamp::now(), common.colour());
            let look = Look { now, colour, headers: !self.no_headers, rates: None, width: None };
            let conflicts = conflicts::text(&conflicts.unwrap_or_default(), colour);
            output::print(&(status_text::render(&status, look) + &conflicts))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// With SERVICE, that one only.
    fn of_service(&self, mut status: sluice_api::Status) -> Result<sluice_api::Status, Fatal> {
        if let Some(name) = &self.service {
            select(&mut status, name)?;
        }
        Ok(status)
    }

    /// With `--problems`, these only.
    fn of_problems(&self, mut status: sluice_api::Status) -> sluice_api::Status {
        if self.problems {
            leave_problems(&mut status);
        }
        status
    }
}

/// Why the kernel does not serve all that the file asks for, one line each.
fn wrong(status: &sluice_api::Status) -> Vec<String> {
    let mut wrong = vec![];
    if !status.table.synced {
        wrong.push(format!(
            "not in sync: {}",
            safe(status.table.error.as_deref().unwrap_or("no reason known"))
        ));
    }
    if !status.reload.ok {
        wrong.push(format!("the last reload failed: {}", safe(&status.reload.problems.join("; "))));
    }
    let empty = status.services.iter().filter(|service| service.state == ServiceState::Empty);
    wrong.extend(empty.map(|service| format!("{}: no backend gets new connections", service.name)));
    // A service that is empty, or not in sync like all others, is named above.
    let not_ready = status.services.iter().filter(|service| service.state == ServiceState::Up);
    let reasons = not_ready.filter_map(|service| Some((service, service.not_ready.as_ref()?)));
    let reasons = reasons.filter(|_| status.table.synced);
    wrong.extend(reasons.map(|(service, why)| format!("{}: not ready: {}", service.name, safe(why))));
    wrong
}

/// Leaves out services and backends with which all is well.
fn leave_problems(status: &mut sluice_api::Status) {
    status.services.retain(|service| service.state != ServiceState::Disabled);
    for service in &mut status.services {
        service.backends.retain(|backend| {
            backend.health == Health::Unhealthy || backend.overridden.is_some() || backend.full
        });
    }
    let is_wrong = |service: &ServiceStatus| service.state == ServiceState::Empty || !service.ready;
    status.services.retain(|service| is_wrong(service) || !service.backends.is_empty());
}

/// Leaves only the service of that name.
fn select(status: &mut sluice_api::Status, name: &str) -> Result<(), Fatal> {
    let known = status.services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>().join(", ");
    status.services.retain(|service| service.name == name);
    if status.services.is_empty() {
        let hint = if known.is_empty() { "there are none".to_owned() } else { format!("there are: {known}") };
        return Err(Fatal::new(Exit::Runtime, format!("status: no service {name}"), hint));
    }
    Ok(())
}

/// Conflicts with everything in them.
#[cfg(test)]
pub(crate) fn conflict_examples() -> Vec<serde_json::Value> {
    let conflict = |winner| Conflict {
        service: "web".into(),
        listeners: vec!["203.0.113.10:80/tcp".into()],
        chain: "table ip other, chain arrive".into(),
        winner,
        why: "w".into(),
    };
    ["sluice", "other", "unknown"].map(|winner| serde_json::to_value(conflict(winner)).unwrap()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_golden;
    use crate::status_text::tests::status;

    #[test]
    fn status_of_one_service_in_json_leaves_out_the_others_only() {
        let mut one = status();
        select(&mut one, "dns").unwrap();
        assert_golden("status-dns.json", &(serde_json::to_string_pretty(&one).unwrap() + "\n"));
    }

    #[test]
    fn check_tells_what_is_wrong_and_nothing_else() {
        let mut status = status();
        (status.table.synced, status.table.error) = (false, Some("a reason".to_owned()));
        (status.reload.ok, status.reload.problems) = (false, vec!["one".to_owned(), "two".to_owned()]);
        let lines = wrong(&status);
        assert_eq!(lines[..2], ["not in sync: a reason", "the last reload failed: one; two"]);
        (status.table.synced, status.reload.ok) = (true, true);
        status.services.retain(|service| service.state != ServiceState::Empty);
        assert_eq!(wrong(&status), [""; 0]);
        status.services[0].state = ServiceState::Empty;
        assert_eq!(wrong(&status), [format!("{}: no backend gets new connections", status.services[0].name)]);
        (status.services[0].state, status.services[0].not_ready) =
            (ServiceState::Up, Some("a reason".into()));
        assert_eq!(wrong(&status), [format!("{}: not ready: a reason", status.services[0].name)]);
    }

    #[test]
    fn problems_are_services_without_backends_and_backends_that_are_not_as_in_the_file() {
        let mut status = status();
        leave_problems(&mut status);
        for service in &status.services {
            assert!(service.state == ServiceState::Empty || !service.backends.is_empty());
            for backend in &service.backends {
                let is_wrong = backend.health == Health::Unhealthy || backend.overridden.is_some();
                assert!(is_wrong || backend.full, "{backend:?}");
            }
        }
        assert!(!status.services.is_empty());
    }

    #[test]
    fn status_of_an_unknown_service_names_the_known_ones() {
        let fatal = select(&mut status(), "www").unwrap_err();
        assert_eq!(fatal.to_string(), "status: no service www (there are: dns, old, web)");
        assert_eq!(fatal.exit(), Exit::Runtime);
    }
}
