//! Real connections through a running `sluiced`, in network namespaces. Needs root; `make test` runs it.
//!
//! One module per subject, one lab per test: tests share nothing and leave nothing behind.

#![forbid(unsafe_code)]

mod access;
mod accounting;
mod affinity;
mod announce;
mod answers;
mod commands;
mod conflicts;
mod connections;
mod control;
mod crash;
mod crowd;
mod descriptors;
mod doctor;
mod empty;
mod exclusion;
mod explain;
mod failures;
mod flows;
mod forwarding;
mod guard;
mod hairpin;
mod hanging;
mod health;
mod hostile;
mod http;
mod icmp;
mod interfaces;
mod iptables;
mod ipvs;
mod launch;
mod lifecycle;
mod listeners;
mod load;
mod local;
mod log;
mod maglev;
mod manual;
mod member;
mod midstream;
mod migration;
mod neighbours;
mod on_deny;
mod overrides;
mod ownership;
mod planning;
mod programs;
mod ready;
mod reload;
mod repair;
mod replaced;
mod sctp;
mod shares;
mod showing;
mod slow_disk;
mod source;
mod startup;
mod state;
mod storm;
mod synproxy;
mod terminal;
mod totals;
mod unprivileged;
mod vrf;

/// All four backends of a lab, IPv4.
const FOUR: &str = "[10.0.2.11:8080, 10.0.2.12:8080, 10.0.2.13:8080, 10.0.2.14:8080]";
/// All four backends of a lab, IPv6.
const FOUR6: &str = r#"["[fd00:2::11]:8080", "[fd00:2::12]:8080", "[fd00:2::13]:8080", "[fd00:2::14]:8080"]"#;

/// One service `web` on 203.0.113.10:80 with all four backends.
fn web() -> String {
    format!("services: {{web: {{listen: 203.0.113.10:80, backends: {FOUR}}}}}")
}
