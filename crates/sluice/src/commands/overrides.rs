//! `sluice overrides`: what operators changed at run time.

use std::process::ExitCode;

use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;
use sluice_api::{Override, Status, Timestamp};
use sluiced::fatal::Fatal;

use crate::options::Common;
use crate::status_text::overridden;
use crate::text::{age, safe, user};
use crate::{daemon, output};

/// List the overrides of backends: what was changed, by whom, when and why
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct OverridesCommand {
    /// Do not print the titles of columns
    #[arg(long, conflicts_with = "json")]
    no_headers: bool,

    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice overrides
  sluice overrides --json | jq -r '.[].backend'

JSON: [{ \"service\": name, \"backend\": name, \"admin\": drain, disabled or null, \"weight\": number or null, \
\"uid\": number, \"since\": time, \"reason\": text or null }]";

/// The override of one backend.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    service: String,
    backend: String,
    #[serde(flatten)]
    said: Override,
}

impl OverridesCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let socket = common.socket()?;
        let status = daemon::ask("overrides", &socket, async |client| client.status().await)?;
        let listed = listed(&status);
        match self.json {
            true => output::print_json(&listed)?,
            false => output::print(&text(&listed, Timestamp::now(), !self.no_headers))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn listed(status: &Status) -> Vec<Listed> {
    let of = |service: &sluice_api::ServiceStatus| {
        let (name, backends) = (service.name.clone(), service.backends.clone());
        backends.into_iter().filter_map(move |backend| {
            Some(Listed { service: name.clone(), backend: backend.name, said: backend.overridden? })
        })
    };
    status.services.iter().flat_map(of).collect()
}

fn text(listed: &[Listed], now: Timestamp, headers: bool) -> String {
    if listed.is_empty() {
        return "no overrides\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if headers {
        table.set_header(["SERVICE/BACKEND", "OVERRIDE", "BY", "AGE", "REASON"]);
    }
    for Listed { service, backend, said } in listed {
        table.add_row([
            format!("{service}/{backend}"),
            overridden(said),
            user(said.uid),
            age(now, said.since),
            said.reason.as_deref().map(safe).unwrap_or_default().into_owned(),
        ]);
    }
    table.lines().map(|line| line.trim().to_owned() + "\n").collect()
}

#[cfg(test)]
pub(crate) fn examples() -> Vec<serde_json::Value> {
    tests::some().iter().map(|it| serde_json::to_value(it).unwrap()).collect()
}

#[cfg(test)]
mod tests {
    use sluice_api::Admin;

    use super::*;
    use crate::golden::assert_golden;
    use crate::status_text::tests::{at, status};

    pub(super) fn some() -> Vec<Listed> {
        let mut status = status();
        let said = |admin, weight: Option<u16>| Override {
            admin,
            weight,
            uid: 0,
            since: at("2025-01-05T00:00:00Z"),
            reason: weight.map(|_| "kernel update".to_owned()),
        };
        let mut backends = status.services.iter_mut().flat_map(|service| &mut service.backends);
        for said in
            [said(Some(Admin::Drain), None), said(Some(Admin::Disabled), Some(3)), said(None, Some(7))]
        {
            backends.next().unwrap().overridden = Some(said);
        }
        listed(&status)
    }

    #[test]
    fn overrides_are_listed_as_reviewed() {
        let now = at("2025-01-06T00:00:00Z");
        assert_golden("overrides.txt", &text(&some(), now, true));
        assert_eq!(text(&[], now, true), "no overrides\n");
        assert!(!text(&some(), now, false).contains("REASON"));
    }
}
