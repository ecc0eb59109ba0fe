//! Reads the tables of other programs, with nft and iptables.

use std::collections::BTreeSet;

use serde_json::Value;

use super::rules::{RuleTable, from_iptables, from_nft, has_extensions};
use super::run::{parsed, run};

/// Chains of a lower priority see a packet before conntrack does.
pub(crate) const CONNTRACK: i64 = -200;

/// Tables of other programs that packets of services pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tables {
    /// Tables with chains at the forward or output hook, NAT chains, or chains before conntrack.
    pub(crate) others: Vec<RuleTable>,
    /// Handle of table inet sluice; `None`: it does not exist.
    pub(crate) own_handle: Option<u64>,
    /// Tables that could not be read, and why.
    pub(crate) unread: Vec<String>,
}

impl Tables {
    /// Reads all of them.
    pub(crate) fn read() -> Self {
        Self::read_where(matters, &["raw", "nat", "filter"])
    }

    /// Reads those with NAT chains. Cheap if there are none.
    pub(crate) fn read_nat() -> Self {
        Self::read_where(is_nat, &["nat"])
    }

    /// Reads tables with a base chain that `matters`, and these ones of iptables-legacy.
    fn read_where(matters: fn(&Value) -> bool, legacy: &[&str]) -> Self {
        let mut tables = Tables::default();
        tables.legacy(legacy);
        if let Err(why) = tables.nft(matters) {
            tables.unread.push(why);
        }
        tables
    }

    fn nft(&mut self, matters: fn(&Value) -> bool) -> Result<(), String> {
        let chains = parsed("nft", &["-j", "list", "chains"])?;
        let other = objects(&chains, "chain").filter(|chain| matters(chain));
        let other = other.filter_map(|chain| Some((chain["family"].as_str()?, chain["table"].as_str()?)));
        let is_other = |it: &(&str, &str)| ["ip", "ip6", "inet"].contains(&it.0) && *it != ("inet", "sluice");
        let names: BTreeSet<_> = other.filter(is_other).collect();
        if names.is_empty() && self.others.is_empty() {
            return Ok(());
        }
        let listed = parsed("nft", &["-j", "list", "tables"])?;
        let own = objects(&listed, "table").find(|it| it["family"] == "inet" && it["name"] == "sluice");
        self.own_handle = own.and_then(|table| table["handle"].as_u64());
        for (family, table) in names {
            match self::table(family, table) {
                Ok(table) => self.others.extend(table),
                Err(why) => self.unread.push(why),
            }
        }
        Ok(())
    }

    /// Tables that the kernel keeps apart from those of nft.
    fn legacy(&mut self, names_to_read: &[&str]) {
        for (program, names) in
            [("iptables-legacy", "ip_tables_names"), ("ip6tables-legacy", "ip6_tables_names")]
        {
            let names = std::fs::read_to_string(format!("/proc/self/net/{names}")).unwrap_or_default();
            for table in names.lines().filter(|table| names_to_read.contains(table)) {
                match run(program, &["-t", table, "-S"]) {
                    Ok(rules) => self.others.push(from_iptables(program, table, None, &rules)),
                    Err(why) => self.unread.push(why),
                }
            }
        }
    }
}

/// Whether packets of services pass a chain where that matters.
fn matters(chain: &Value) -> bool {
    let is_early = chain["prio"].as_i64().is_some_and(|priority| priority < CONNTRACK);
    match chain["hook"].as_str() {
        Some("forward" | "output") => true,
        Some("prerouting") => is_nat(chain) || is_early,
        _ => false,
    }
}

/// Whether it is a chain that translates destinations.
fn is_nat(chain: &Value) -> bool {
    chain["type"] == "nat" && matches!(chain["hook"].as_str(), Some("prerouting" | "output"))
}

fn table(family: &str, table: &str) -> Result<Option<RuleTable>, String> {
    let listing = parsed("nft", &["-j", "list", "table", family, table])?;
    let program = match family {
        "ip" => "iptables-nft",
        "ip6" => "ip6tables-nft",
        _ => return Ok(from_nft(&listing)),
    };
    // iptables uses these names, and nft may, too. iptables cannot read what only nft knows, and nft prints matches of
    // iptables without their values.
    let names = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
    let mut hooked = objects(&listing, "chain").filter(|chain| !chain["hook"].is_null());
    let is_iptables = hooked.all(|chain| chain["name"].as_str().is_some_and(|name| names.contains(&name)));
    if !["raw", "nat", "filter"].contains(&table) || !is_iptables {
        return Ok(from_nft(&listing));
    }
    match run(program, &["-t", table, "-S"]) {
        Ok(rules) => {
            let handle = objects(&listing, "table").find_map(|it| it["handle"].as_u64());
            Ok(Some(from_iptables(program, table, handle, &rules)))
        }
        Err(why) if has_extensions(&listing) => Err(why),
        Err(_) => Ok(from_nft(&listing)),
    }
}

fn objects<'a>(listing: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let objects = listing["nftables"].as_array().into_iter().flatten();
    objects.map(move |object| &object[kind]).filter(|object| !object.is_null())
}
