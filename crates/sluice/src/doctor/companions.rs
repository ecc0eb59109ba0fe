//! Findings about the daemon itself, and about programs that work together with it.

use sluice_api::{FollowerStatus, Timestamp};

use super::findings::Findings;
use super::{Facts, Severity};
use crate::text::age;

impl Findings {
    /// What the daemon says about itself.
    pub(super) fn daemon(&mut self, facts: &Facts, now: Timestamp) {
        if let Some(first) = facts.state.problems.first() {
            let what = format!(
                "{} is not writable: a restart of sluiced loses overrides and health: {first}",
                facts.state.directory
            );
            self.add(Severity::Warning, what, Some(format!("ls -ld {}", facts.state.directory)));
        }
        for FollowerStatus { name, error, since } in &facts.followers {
            let Some(error) = error else { continue };
            let what = format!(
                "sluiced has not noticed changes of {name} for {}, and finds them at a refresh only: {error}",
                age(now, *since)
            );
            self.add(Severity::Warning, what, Some("journalctl -u sluiced".to_owned()));
        }
    }

    pub(super) fn units(&mut self, facts: &Facts) {
        for unit in &facts.stopped_units {
            let what = match unit.as_str() {
                "keepalived.service" => "this host does not take over addresses",
                _ => "connections do not survive a move of the addresses to this host",
            };
            let what = format!("{unit} is enabled and does not run: {what}");
            self.add(Severity::Note, what, Some(format!("systemctl status {unit}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use sluice_api::StateStatus;

    use super::*;

    #[test]
    fn state_that_is_not_saved_and_changes_that_are_not_noticed_are_found() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (since, now) = (at("2025-01-05T00:00:00Z"), at("2025-01-05T00:01:00Z"));
        let follower = |name: &str, error: Option<&str>| FollowerStatus {
            name: name.to_owned(),
            error: error.map(str::to_owned),
            since,
        };
        let facts = Facts {
            state: StateStatus { directory: "/run/sluice".into(), problems: vec!["write a: full".into()] },
            followers: vec![follower("addresses", None), follower("ruleset", Some("Too many open files"))],
            ..Facts::default()
        };
        let mut findings = Findings(vec![]);
        findings.daemon(&facts, now);
        let texts: Vec<_> = findings.0.iter().map(|finding| finding.finding.as_str()).collect();
        assert_eq!(
            texts,
            [
                "/run/sluice is not writable: a restart of sluiced loses overrides and health: write a: full",
                "sluiced has not noticed changes of ruleset for 1m 0s, and finds them at a refresh only: Too many open files"
            ]
        );
        assert!(findings.0.iter().all(|finding| finding.severity == Severity::Warning));
    }
}
