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

/// Those that drop whatever no rule before accepts; an error says what could not be looked at.
pub(super) fn dropping() -> Result<Vec<Dropping>, String> {
    let mut found = Vec::new();
    let chains = run("nft", &["-j", "list", "chains"])?;
    let chains: Value = serde_json::from_str(&chains).map_err(|error| format!("nft: {error}"))?;
    for chain in listed(&chains, "chain").filter(|chain| chain["hook"] == "forward") {
        let [Some(family), Some(table), Some(name)] =
            ["family", "table", "name"].map(|key| chain[key].as_str())
        else {
            continue;
        };
        if !["ip", "ip6", "inet"].contains(&family) || (family, table) == ("inet", "sluice") {
            continue;
        }
        let rules = run("nft", &["-j", "list", "chain", family, table, name])?;
        let rules: Value = serde_json::from_str(&rules).map_err(|error| format!("nft: {error}"))?;
        let rules: Vec<_> = listed(&rules, "rule").map(|rule| rule["expr"].clone()).collect();
        if drops(chain["policy"] == "drop", &rules) {
            found.push(Dropping {
                chain: format!("table {family} {table}, chain {name}"),
                accept: format!("nft insert rule {family} {table} {name} ct status dnat accept"),
            });
        }
    }
    for program in ["iptables-legacy", "ip6tables-legacy"] {
        let names = if program.starts_with("ip6") { "ip6_tables_names" } else { "ip_tables_names" };
        let tables = std::fs::read_to_string(format!("/proc/self/net/{names}")).unwrap_or_default();
        if tables.lines().any(|table| table == "filter") {
            let rules = run(program, &["-S", "FORWARD"])?;
            let accepts =
                rules.lines().any(|rule| rule.contains("--ctstate DNAT") && rule.ends_with("-j ACCEPT"));
            if rules.lines().any(|rule| rule == "-P FORWARD DROP") && !accepts {
                found.push(Dropping {
                    chain: format!("{program}, chain FORWARD"),
                    accept: format!("{program} -I FORWARD -m conntrack --ctstate DNAT -j ACCEPT"),
                });
            }
        }
    }
    Ok(found)
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
        // iptables-nft writes its own matches as what JSON does not show.
        let is_plain = rule.iter().all(|statement| statement.get("xt").is_none());
        if ends("accept") && is_plain && matches.clone().all(of_ours) {
            return false;
        }
        if (ends("drop") || ends("reject")) && is_plain && matches.next().is_none() {
            return true;
        }
    }
    by_policy && !rules.iter().any(|rule| rule.to_string().contains("ctstate DNAT"))
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
}
