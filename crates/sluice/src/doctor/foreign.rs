//! Chains of other tables that drop what passes through. A packet that we accept they still see.

use std::collections::BTreeSet;
use std::io::{self, Seek, Write};
use std::net::IpAddr;
use std::process::Command;

use serde_json::Value;

/// A base chain of somebody else at the forward hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dropping {
    /// Where: `table inet filter, chain forward`.
    pub(crate) chain: String,
    /// The command that lets translated flows pass.
    pub(crate) accept: String,
}

/// Those that drop whatever no rule before accepts, and what could not be looked at.
pub(super) fn dropping() -> (Vec<Dropping>, Vec<String>) {
    let (mut found, mut blind) = (vec![], vec![]);
    let mut programs = vec![];
    for (program, names) in [("iptables-legacy", "ip_tables_names"), ("ip6tables-legacy", "ip6_tables_names")]
    {
        let tables = std::fs::read_to_string(format!("/proc/self/net/{names}")).unwrap_or_default();
        programs.extend(tables.lines().any(|table| table == "filter").then_some(program));
    }
    let chains = parsed("nft", &["-j", "list", "chains"]).map_err(|why| blind.push(why)).unwrap_or_default();
    for chain in listed(&chains, "chain").filter(|chain| chain["hook"] == "forward") {
        match ["family", "table", "name"].map(|key| chain[key].as_str()) {
            [Some("inet"), Some("sluice"), _] => {}
            // What nft writes there, iptables cannot read.
            [Some("ip"), Some("filter"), Some("FORWARD")] => programs.push("iptables-nft"),
            [Some("ip6"), Some("filter"), Some("FORWARD")] => programs.push("ip6tables-nft"),
            [Some(family @ ("ip" | "ip6" | "inet")), Some(table), Some(name)] => {
                match parsed("nft", &["-j", "list", "chain", family, table, name]) {
                    Ok(rules) => {
                        let rules: Vec<_> = listed(&rules, "rule").map(|rule| rule["expr"].clone()).collect();
                        found.extend(drops(chain["policy"] == "drop", &rules).then(|| Dropping {
                            chain: format!("table {family} {table}, chain {name}"),
                            accept: format!("nft insert rule {family} {table} {name} ct status dnat accept"),
                        }));
                    }
                    Err(why) => blind.push(why),
                }
            }
            _ => {}
        }
    }
    for program in programs {
        match run(program, &["-S", "FORWARD"]) {
            Ok(rules) => found.extend(iptables_drop(&rules).then(|| Dropping {
                chain: format!("{program}, chain FORWARD"),
                accept: format!("{program} -I FORWARD -m conntrack --ctstate DNAT -j ACCEPT"),
            })),
            Err(why) => blind.push(why),
        }
    }
    (found, blind)
}

/// Whether a chain of iptables, as it prints it, drops a translated packet that no rule of it knows.
fn iptables_drop(rules: &str) -> bool {
    for rule in rules.lines().filter(|line| line.starts_with("-A ")) {
        if rule.contains("--ctstate DNAT ") && rule.ends_with("-j ACCEPT") || rule == "-A FORWARD -j ACCEPT" {
            return false;
        }
        if rule == "-A FORWARD -j DROP" || rule.starts_with("-A FORWARD -j REJECT") {
            return true;
        }
    }
    rules.lines().any(|rule| rule == "-P FORWARD DROP")
}

fn parsed(program: &str, arguments: &[&str]) -> Result<Value, String> {
    let text = run(program, arguments)?;
    serde_json::from_str(&text).map_err(|error| format!("{program}: {error}"))
}

fn listed<'a>(listing: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let objects = listing["nftables"].as_array().into_iter().flatten();
    objects.map(move |object| &object[kind]).filter(|object| !object.is_null())
}

/// Whether a chain of these rules drops a translated packet that no rule of it knows.
fn drops(by_policy: bool, rules: &[Value]) -> bool {
    for rule in rules.iter().filter_map(Value::as_array) {
        let mut matches = rule.iter().filter_map(|statement| statement.get("match"));
        let ends = |verdict: &str| rule.iter().any(|statement| statement.get(verdict).is_some());
        let of_ours = |test: &Value| {
            test["left"]["ct"]["key"] == "status"
                && test["right"].to_string().contains("dnat")
                && test["op"] != "!="
        };
        // Matches of iptables, of which JSON shows only the name.
        let is_plain = rule.iter().all(|statement| statement.get("xt").is_none());
        if ends("accept") && is_plain && matches.clone().all(of_ours) {
            return false;
        }
        if (ends("drop") || ends("reject")) && is_plain && matches.next().is_none() {
            return true;
        }
    }
    by_policy
}

/// Those of some addresses that no route leads to.
pub(super) fn unreachable(addresses: &[IpAddr]) -> Result<BTreeSet<IpAddr>, String> {
    let failed = |error: io::Error| format!("ip -batch: {error}");
    let questions: String = addresses.iter().map(|address| format!("route get {address}\n")).collect();
    let mut asked = tempfile::tempfile().map_err(failed)?;
    asked.write_all(questions.as_bytes()).and_then(|()| asked.rewind()).map_err(failed)?;
    let answer = Command::new("ip").args(["-force", "-batch", "-"]).stdin(asked).output().map_err(failed)?;
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    let lines = said.lines().filter_map(|line| line.strip_prefix("Command failed -:")?.parse::<usize>().ok());
    Ok(lines.filter_map(|line| addresses.get(line.checked_sub(1)?).copied()).collect())
}

/// What a program prints; an error says what was run and why that failed.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let command = || format!("{program} {}", arguments.join(" "));
    match Command::new(program).args(arguments).output() {
        Ok(done) if done.status.success() => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr);
            Err(format!("{}: {}", command(), said.lines().next().unwrap_or("it failed")))
        }
        Err(error) => Err(format!("{}: {error}", command())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn chain_drops_unless_translated_flows_are_accepted_before() {
        let established = json!([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established"]}}, {"accept": null}]);
        let dnat = json!([{"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}, {"accept": null}]);
        let other = json!([{"match": {"op": "!=", "left": {"ct": {"key": "status"}}, "right": "dnat"}}, {"accept": null}]);
        let drop = json!([{"counter": null}, {"drop": null}]);
        assert!(drops(true, &[]));
        assert!(!drops(false, &[]));
        assert!(drops(true, std::slice::from_ref(&established)));
        assert!(!drops(true, &[established.clone(), dnat.clone()]));
        assert!(drops(true, &[other]));
        assert!(drops(false, &[established, drop.clone()]));
        assert!(drops(false, &[drop.clone(), dnat.clone()]));
        assert!(!drops(false, &[dnat, drop]));
    }

    #[test]
    fn chain_of_iptables_drops_unless_translated_flows_are_accepted_before() {
        let accept = "-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT\n";
        for drop in
            ["-P FORWARD DROP\n", "-A FORWARD -j DROP\n", "-A FORWARD -j REJECT --reject-with icmp-x\n"]
        {
            assert!(iptables_drop(drop));
            assert!(iptables_drop(&format!("{drop}-A FORWARD -s 10.0.0.0/8 -j ACCEPT\n")));
            assert!(!iptables_drop(&format!("{accept}{drop}")));
        }
        assert!(!iptables_drop("-P FORWARD ACCEPT\n-A FORWARD -s 10.0.0.0/8 -j DROP\n"));
    }
}
