//! Rules of other tables that drop, translate or hide the packets of services. A packet that sluice accepts, other tables
//! still see.

use std::collections::BTreeSet;

use sluice_core::model::Config;

use super::findings::{Findings, names};
use super::flows::{Flow, Flows};
use super::precedence::{OWN, Order, order, translates};
use super::rules::{BaseChain, Hook, RuleTable, Verdict};
use super::tables::{CONNTRACK, Tables};
use super::{Facts, Severity};

/// Evaluations of rules for one chain; with very many rules, packets of at least some flows are evaluated.
const WORK: usize = 20_000_000;
const AT_LEAST: usize = 2_000;

/// Whose packets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    /// Other hosts.
    Others,
    /// This host: the service works for all others.
    Own,
}

impl Clients {
    fn severity(self, severity: Severity) -> Severity {
        match (self, severity) {
            (Clients::Own, Severity::Error) => Severity::Warning,
            (Clients::Own, Severity::Warning) => Severity::Note,
            (_, severity) => severity,
        }
    }
}

impl Findings {
    pub(super) fn conflicts(&mut self, config: &Config, facts: &Facts) {
        let flows = Flows::of(config);
        for table in &facts.tables.others {
            let mut left_out = None;
            let mut some = |flows: &'_ Vec<Flow>| {
                let count = most(table).min(flows.len());
                if count < flows.len() {
                    left_out = Some((count, flows.len()));
                }
                count
            };
            for base in &table.bases {
                let is_early = base.priority < CONNTRACK;
                match base.hook {
                    Hook::Forward => {
                        let count = some(&flows.forwarded);
                        self.dropping(table, base, &flows.forwarded[..count], Clients::Others);
                    }
                    Hook::Prerouting if base.is_nat => {
                        let count = some(&flows.arriving);
                        let flows = &flows.arriving[..count];
                        self.translating(&facts.tables, table, base, flows, Clients::Others);
                    }
                    Hook::Prerouting if is_early => {
                        let (arriving, answers) = (some(&flows.arriving), some(&flows.answers));
                        self.untracking(
                            table,
                            base,
                            &flows.arriving[..arriving],
                            "packets to",
                            Clients::Others,
                        );
                        self.untracking(
                            table,
                            base,
                            &flows.answers[..answers],
                            "answers of",
                            Clients::Others,
                        );
                    }
                    Hook::Output if base.is_nat => {
                        let count = some(&flows.local);
                        let flows = &flows.local[..count];
                        self.translating(&facts.tables, table, base, flows, Clients::Own);
                    }
                    Hook::Output => {
                        if is_early {
                            let count = some(&flows.local);
                            self.untracking(
                                table,
                                base,
                                &flows.local[..count],
                                "packets of this host to",
                                Clients::Own,
                            );
                        }
                        // The NAT chain of sluice is between them.
                        let flows = if base.priority < OWN { &flows.local } else { &flows.local_translated };
                        let count = some(flows);
                        self.dropping(table, base, &flows[..count], Clients::Own);
                    }
                    Hook::Prerouting => {}
                }
            }
            if let Some((count, all)) = left_out {
                let what = format!(
                    "{} has so many rules that they were evaluated for the first {count} of {all} listeners or backends only",
                    table.title()
                );
                self.add(Severity::Note, what, None);
            }
        }
    }

    fn dropping(&mut self, table: &RuleTable, base: &BaseChain, flows: &[Flow], clients: Clients) {
        let seen = flows.iter().filter(|flow| sees(table, flow)).count();
        let (mut lost, mut doubtful) = (BTreeSet::new(), false);
        for flow in flows {
            let verdicts = table.verdicts(base, &flow.packet);
            if let Some((Verdict::Drop, true)) = verdicts.last() {
                match verdicts.iter().any(|(verdict, _)| **verdict == Verdict::Accept) {
                    true => doubtful = true,
                    false => drop(lost.insert(&flow.name)),
                }
            }
        }
        let chain = table.name(&base.name);
        let lost: Vec<_> = lost.into_iter().collect();
        let command = match clients {
            Clients::Own if base.priority < OWN => table.listing(&base.name),
            _ => table.accept(&base.name),
        };
        let which = match lost.len() == seen {
            true => "a backend".to_owned(),
            false => names(&lost),
        };
        let (certain, possible) = match clients {
            Clients::Others => (
                format!("{chain} drops forwarded packets: no packet reaches {which}"),
                format!(
                    "{chain} drops forwarded packets: packets reach a backend only if one of its rules accepts them"
                ),
            ),
            Clients::Own => (
                format!("{chain} drops packets of this host: no connection of this host reaches {which}"),
                format!(
                    "{chain} drops packets of this host: its connections reach a backend only if one of its rules accepts them"
                ),
            ),
        };
        if !lost.is_empty() {
            self.add(clients.severity(Severity::Error), certain, Some(command));
        } else if doubtful {
            self.add(clients.severity(Severity::Warning), possible, Some(command));
        }
    }

    fn translating(
        &mut self,
        tables: &Tables,
        table: &RuleTable,
        base: &BaseChain,
        flows: &[Flow],
        clients: Clients,
    ) {
        let translated: BTreeSet<_> = flows
            .iter()
            .filter(|flow| translates(table, base, &flow.packet))
            .map(|flow| &flow.name)
            .collect();
        if translated.is_empty() {
            return;
        }
        let which = names(&translated.into_iter().collect::<Vec<_>>());
        let (order, says) = order(tables, table, base);
        let severity = match order {
            Order::OtherFirst => Severity::Error,
            Order::OwnFirst { for_good: true } => Severity::Note,
            Order::OwnFirst { .. } | Order::Unknown => Severity::Warning,
        };
        let of = match clients {
            Clients::Others => "",
            Clients::Own => "connections of this host to ",
        };
        let what = format!("{} also translates {of}{which}: {says}", table.name(&base.name));
        self.add(clients.severity(severity), what, Some(table.listing(&base.name)));
    }

    fn untracking(
        &mut self,
        table: &RuleTable,
        base: &BaseChain,
        flows: &[Flow],
        which: &str,
        clients: Clients,
    ) {
        let (mut hidden, mut is_certain) = (BTreeSet::new(), false);
        for flow in flows {
            let verdicts = table.verdicts(base, &flow.packet);
            if let Some((_, certain)) = verdicts.iter().find(|(verdict, _)| **verdict == Verdict::Untrack) {
                hidden.insert(&flow.name);
                is_certain |= certain;
            }
        }
        if hidden.is_empty() {
            return;
        }
        let (severity, may) = match is_certain {
            true => (Severity::Error, "hides"),
            false => (Severity::Warning, "may hide"),
        };
        let what = format!(
            "{} {may} {which} {} from conntrack (notrack): they are not translated",
            table.name(&base.name),
            names(&hidden.into_iter().collect::<Vec<_>>())
        );
        self.add(clients.severity(severity), what, Some(table.listing(&base.name)));
    }
}

/// Maximum number of flows that are evaluated for one chain of a table.
fn most(table: &RuleTable) -> usize {
    let rules: usize = table.chains.values().map(Vec::len).sum();
    AT_LEAST.max(WORK / rules.max(1))
}

fn sees(table: &RuleTable, flow: &Flow) -> bool {
    table.version().is_none_or(|version| version == flow.packet.ip)
}

#[cfg(test)]
mod tests {
    use sluice_api::Timestamp;
    use sluice_config::{SourceFile, parse};

    use super::*;
    use crate::doctor::findings;
    use crate::doctor::rules::from_iptables;

    #[test]
    fn table_with_very_many_rules_is_evaluated_for_some_backends_and_a_note_says_so() {
        let listeners: String = (1..=AT_LEAST + 1).map(|port| format!("'203.0.113.10:{port}', ")).collect();
        let text = format!("services: {{web: {{listen: [{listeners}], backends: [10.0.2.11]}}}}");
        let file = SourceFile { path: "sluice.yaml".into(), text };
        let config = parse(file, |_| unreachable!("no includes")).expect("it is valid").config;
        let about = |rules: usize| {
            // No packet meets them.
            let rules = "-A never -p tcp -j ACCEPT\n".repeat(rules);
            let rules = format!("-P FORWARD DROP\n-N never\n{rules}");
            let mut facts = Facts::default();
            facts.tables.others.push(from_iptables("iptables-nft", "filter", None, &rules));
            let found = findings(&config, &facts, Timestamp::now()).into_iter();
            found.map(|it| it.finding).filter(|text| text.contains("iptables-nft")).collect::<Vec<_>>()
        };
        let drops = "iptables-nft, chain FORWARD drops forwarded packets: no packet reaches web/10.0.2.11";
        assert_eq!(about(1000), [drops]);
        let note = "iptables-nft, table filter has so many rules that they were evaluated for the first 2000 of 2001 listeners or \
                    backends only";
        assert_eq!(about(WORK / AT_LEAST + 1), [drops, note]);
    }
}
