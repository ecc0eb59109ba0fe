//! Chains of other tables that drop what passes through. A packet that we accept they still see.

use std::collections::BTreeSet;
use std::io::{self, Seek, Write};
use std::net::IpAddr;
use std::process::Command;

use serde_json::Value;
use sluice_nft::Ip;

/// A base chain of another table at the forward hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dropping {
    /// Where: `table inet filter, chain forward`.
    pub(crate) chain: String,
    /// Packets of which IP version it sees; `None`: of both.
    pub(crate) version: Option<Ip>,
    /// Whether no rule of it can accept a translated packet.
    pub(crate) is_certain: bool,
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
                        found.extend(drops(chain["policy"] == "drop", &rules).map(|is_certain| Dropping {
                            chain: format!("table {family} {table}, chain {name}"),
                            version: match family {
                                "ip" => Some(Ip::V4),
                                "ip6" => Some(Ip::V6),
                                _ => None,
                            },
                            is_certain,
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
            Ok(rules) => found.extend(iptables_drop(&rules).map(|is_certain| Dropping {
                chain: format!("{program}, chain FORWARD"),
                version: Some(if program.starts_with("ip6") { Ip::V6 } else { Ip::V4 }),
                is_certain,
                accept: format!("{program} -I FORWARD -m conntrack --ctstate DNAT -j ACCEPT"),
            })),
            Err(why) => blind.push(why),
        }
    }
    (found, blind)
}

/// Whether a chain of iptables, as it prints it, drops a translated packet: `Some(true)` if no rule can accept it,
/// `Some(false)` if that depends on rules that were not looked into, `None` if it does not drop.
fn iptables_drop(rules: &str) -> Option<bool> {
    let mut is_certain = true;
    for rule in rules.lines().filter(|line| line.starts_with("-A ")) {
        if rule.contains("--ctstate DNAT ") && rule.ends_with("-j ACCEPT") || rule == "-A FORWARD -j ACCEPT" {
            return None;
        }
        if rule == "-A FORWARD -j DROP" || rule.starts_with("-A FORWARD -j REJECT") {
            return Some(is_certain);
        }
        // New flows get past neither of these.
        let harmless = ["-j DROP", "-j REJECT", "-j LOG", "ESTABLISHED -j ACCEPT", "RELATED -j ACCEPT"];
        is_certain &= harmless.iter().any(|end| rule.contains(end));
    }
    rules.lines().any(|rule| rule == "-P FORWARD DROP").then_some(is_certain)
}

fn parsed(program: &str, arguments: &[&str]) -> Result<Value, String> {
    let text = run(program, arguments)?;
    serde_json::from_str(&text).map_err(|error| format!("{program}: {error}"))
}

fn listed<'a>(listing: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let objects = listing["nftables"].as_array().into_iter().flatten();
    objects.map(move |object| &object[kind]).filter(|object| !object.is_null())
}

/// The same of a chain of these rules in nft's JSON.
fn drops(by_policy: bool, rules: &[Value]) -> Option<bool> {
    let mut is_certain = true;
    for rule in rules.iter().filter_map(Value::as_array) {
        let mut matches = rule.iter().filter_map(|statement| statement.get("match"));
        let ends = |verdict: &str| rule.iter().any(|statement| statement.get(verdict).is_some());
        let of_ours = |test: &Value| {
            test["left"]["ct"]["key"] == "status"
                && test["right"].to_string().contains("dnat")
                && test["op"] != "!="
        };
        let of_known_flows =
            |test: &Value| test["left"]["ct"]["key"] == "state" && !test["right"].to_string().contains("new");
        // Matches of iptables, of which JSON shows only the name.
        let is_plain = rule.iter().all(|statement| statement.get("xt").is_none());
        if ends("accept") && is_plain && matches.clone().all(of_ours) {
            return None;
        }
        if (ends("drop") || ends("reject")) && is_plain && matches.clone().next().is_none() {
            return Some(is_certain);
        }
        let may_accept = ["accept", "jump", "goto", "vmap"].iter().any(|verdict| ends(verdict));
        is_certain &= !may_accept || matches.any(of_known_flows);
    }
    by_policy.then_some(is_certain)
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
        let jump = json!([{"jump": {"target": "others"}}]);
        let port = json!([{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}}, {"accept": null}]);
        assert_eq!(drops(true, &[]), Some(true));
        assert_eq!(drops(false, &[]), None);
        assert_eq!(drops(true, std::slice::from_ref(&established)), Some(true));
        assert_eq!(drops(true, &[established.clone(), dnat.clone()]), None);
        assert_eq!(drops(true, &[other]), Some(false), "it accepts some");
        assert_eq!(drops(false, &[established, drop.clone()]), Some(true));
        assert_eq!(drops(false, &[drop.clone(), dnat.clone()]), Some(true));
        assert_eq!(drops(false, &[dnat, drop.clone()]), None);
        assert_eq!(drops(true, &[jump]), Some(false));
        assert_eq!(drops(false, &[port, drop]), Some(false));
    }

    #[test]
    fn chain_of_iptables_drops_unless_translated_flows_are_accepted_before() {
        let accept = "-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT\n";
        for drop in
            ["-P FORWARD DROP\n", "-A FORWARD -j DROP\n", "-A FORWARD -j REJECT --reject-with icmp-x\n"]
        {
            assert_eq!(iptables_drop(drop), Some(true));
            let established = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n";
            assert_eq!(iptables_drop(&format!("{established}{drop}")), Some(true));
            for some in ["-A FORWARD -s 10.0.0.0/8 -j ACCEPT\n", "-A FORWARD -j ufw-user-forward\n"] {
                assert_eq!(iptables_drop(&format!("{some}{drop}")), Some(false));
            }
            assert_eq!(iptables_drop(&format!("{accept}{drop}")), None);
        }
        assert_eq!(iptables_drop("-P FORWARD ACCEPT\n-A FORWARD -s 10.0.0.0/8 -j DROP\n"), None);
    }
}
