//! Tables as iptables lists them with `-S`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use sluice_core::model::Ports;

use super::{BaseChain, Condition, Hook, Rule, RuleTable, Verdict, Which, Writer};

/// Matches that are fully described by options that are known.
const KNOWN: [&str; 7] = ["tcp", "udp", "sctp", "multiport", "comment", "conntrack", "state"];

/// A table from `PROGRAM -t TABLE -S`.
pub(crate) fn from_iptables(
    program: &'static str,
    table: &str,
    handle: Option<u64>,
    rules: &str,
) -> RuleTable {
    let (mut bases, mut chains) = (vec![], BTreeMap::<String, Vec<Rule>>::new());
    for line in rules.lines() {
        let words = words(line);
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["-P", name, policy] => {
                chains.entry(name.to_owned()).or_default();
                bases.extend(Hook::from_name(name).map(|hook| BaseChain {
                    name: name.to_owned(),
                    hook,
                    priority: priority(table),
                    is_nat: table == "nat",
                    policy: if policy == "DROP" { Verdict::Drop } else { Verdict::Accept },
                }));
            }
            ["-N", name] => {
                chains.entry(name.to_owned()).or_default();
            }
            ["-A", name, ref rest @ ..] => {
                let rule = rule(rest);
                chains.entry(name.to_owned()).or_default().extend(rule);
            }
            _ => {}
        }
    }
    let writer = Writer::Iptables { program, table: table.to_owned() };
    RuleTable { writer, handle, bases, chains }
}

/// Priority of the chains at prerouting, output and forward.
fn priority(table: &str) -> i64 {
    match table {
        "raw" => -300,
        "mangle" => -150,
        "nat" => -100,
        _ => 0,
    }
}

/// Words; those in quotes may contain spaces.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (vec![], String::new(), false);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => word.extend(rest.next()),
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// A rule; `None`: it has no verdict.
fn rule(words: &[&str]) -> Option<Rule> {
    let (mut conditions, mut verdict) = (vec![], None);
    let (mut rest, mut negated) = (words.iter(), false);
    while let Some(&option) = rest.next() {
        if option == "!" {
            negated = true;
            continue;
        }
        if ["-j", "-g"].contains(&option) {
            verdict = self::verdict(option, rest.next()?, rest.as_slice());
            break;
        }
        let condition = match option {
            "-m" => (!KNOWN.contains(rest.next()?)).then_some(Condition::Other),
            "--comment" => {
                rest.next();
                None
            }
            _ if option.starts_with('-') => Some(condition(option, rest.as_slice().first().copied())),
            // The value of an option.
            _ => None,
        };
        if let Some(condition) = condition {
            let negated = std::mem::take(&mut negated);
            conditions.push(if negated { Condition::Not(condition.into()) } else { condition });
        }
    }
    verdict.map(|verdict| Rule { conditions, verdict })
}

fn verdict(option: &str, target: &str, options: &[&str]) -> Option<Verdict> {
    match target {
        _ if option == "-g" => Some(Verdict::Goto(target.to_owned())),
        "ACCEPT" => Some(Verdict::Accept),
        "DROP" | "REJECT" => Some(Verdict::Drop),
        "RETURN" => Some(Verdict::Return),
        "DNAT" | "REDIRECT" => Some(Verdict::Translate),
        "NOTRACK" => Some(Verdict::Untrack),
        "CT" => options.contains(&"--notrack").then_some(Verdict::Untrack),
        // An extension is a chain that does not exist.
        _ => Some(Verdict::Jump(target.to_owned())),
    }
}

fn condition(option: &str, value: Option<&str>) -> Condition {
    let one_of = |which, ports: &str| {
        let ports: Option<Vec<_>> =
            ports.split(',').map(|part| Some(Condition::Ports(which, self::ports(part)?))).collect();
        ports.map(Condition::Any)
    };
    let known = value.and_then(|value| match option {
        "-d" => addresses(Which::Destination, value),
        "-s" => addresses(Which::Source, value),
        "-p" if ["all", "0"].contains(&value) => Some(Condition::All(vec![])),
        "-p" => Some(Condition::Protocol(value.to_owned())),
        "--dport" | "--dports" => one_of(Which::Destination, value),
        "--sport" | "--sports" => one_of(Which::Source, value),
        "--ctorigdst" => addresses(Which::Original, value),
        "--ctorigdstport" => one_of(Which::Original, value),
        "--ctdir" => Some(if value == "ORIGINAL" { Condition::All(vec![]) } else { Condition::Any(vec![]) }),
        "--ctstate" | "--state" => Some(Condition::Any(value.split(',').filter_map(state).collect())),
        _ => None,
    });
    known.unwrap_or(Condition::Other)
}

/// The first packet of a flow has no other state.
fn state(name: &str) -> Option<Condition> {
    match name {
        "NEW" => Some(Condition::New),
        "DNAT" => Some(Condition::Translated),
        _ => None,
    }
}

fn addresses(which: Which, text: &str) -> Option<Condition> {
    let network = match text.split_once('/') {
        None => IpNet::from(text.parse::<IpAddr>().ok()?),
        Some((address, mask)) => match mask.parse::<u8>() {
            Ok(length) => IpNet::new(address.parse().ok()?, length).ok()?,
            Err(_) => IpNet::with_netmask(address.parse().ok()?, mask.parse().ok()?).ok()?,
        },
    };
    Some(Condition::Addresses(which, network.network(), network.broadcast()))
}

fn ports(text: &str) -> Option<Ports> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    Some(Ports { first: first.parse().ok()?, last: last.parse().ok()? })
}
