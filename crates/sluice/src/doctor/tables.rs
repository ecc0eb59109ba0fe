//! Reads the tables of other programs, with nft and iptables.

use std::collections::BTreeMap;

use serde_json::Value;

use super::rules::{RuleTable, from_iptables, from_nft, has_extensions};
use super::run::{parsed, run};

/// Chains of a lower priority see a packet before conntrack does.
pub(crate) const CONNTRACK: i64 = -200;

/// Tables of other programs that packets of services pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tables {
    /// Tables with chains at the forward hook, NAT chains, or chains before conntrack.
    pub(crate) others: Vec<RuleTable>,
    /// Handle of table inet sluice; `None`: it does not exist.
    pub(crate) own_handle: Option<u64>,
    /// Tables that could not be read, and why.
    pub(crate) unread: Vec<String>,
}

impl Tables {
    /// Reads them.
    pub(crate) fn read() -> Self {
        let mut tables = Tables::default();
        tables.legacy();
        if let Err(why) = tables.nft() {
            tables.unread.push(why);
        }
        tables
    }

    fn nft(&mut self) -> Result<(), String> {
        let listed = parsed("nft", &["-j", "list", "tables"])?;
        let handles: BTreeMap<(&str, &str), Option<u64>> = objects(&listed, "table")
            .filter_map(|it| Some(((it["family"].as_str()?, it["name"].as_str()?), it["handle"].as_u64())))
            .collect();
        self.own_handle = handles.get(&("inet", "sluice")).copied().flatten();
        let chains = parsed("nft", &["-j", "list", "chains"])?;
        for (family, table) in handles.keys().filter(|it| **it != ("inet", "sluice")) {
            let mut own =
                objects(&chains, "chain").filter(|it| it["family"] == *family && it["table"] == *table);
            if !["ip", "ip6", "inet"].contains(family) || !own.any(matters) {
                continue;
            }
            match self::table(family, table) {
                Ok(table) => self.others.extend(table),
                Err(why) => self.unread.push(why),
            }
        }
        Ok(())
    }

    /// Tables that the kernel keeps apart from those of nft.
    fn legacy(&mut self) {
        for (program, names) in
            [("iptables-legacy", "ip_tables_names"), ("ip6tables-legacy", "ip6_tables_names")]
        {
            let names = std::fs::read_to_string(format!("/proc/self/net/{names}")).unwrap_or_default();
            for table in names.lines().filter(|table| ["raw", "nat", "filter"].contains(table)) {
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
        Some("forward") => true,
        Some("prerouting" | "output") => chain["type"] == "nat" || is_early,
        _ => false,
    }
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
