//! Tables as nft lists them in JSON.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;
use sluice_core::model::Ports;
use sluice_nft::Ip;

use super::{BaseChain, Condition, Hook, Rule, RuleTable, Verdict, Which, Writer};

/// Elements of sets and maps, by name.
type Sets<'a> = BTreeMap<&'a str, &'a Value>;

/// A table from `nft -j list table`; `None`: it is none.
pub(crate) fn from_nft(listing: &Value) -> Option<RuleTable> {
    let table = objects(listing, "table").next()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let writer = Writer::Nft { family: text(&table["family"])?, table: text(&table["name"])? };
    let sets: Sets<'_> = ["set", "map"]
        .into_iter()
        .flat_map(|kind| objects(listing, kind))
        .filter_map(|set| Some((set["name"].as_str()?, &set["elem"])))
        .collect();
    let mut chains: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
    for rule in objects(listing, "rule") {
        let rules = rule["expr"].as_array().map(|expr| rules(expr, &sets)).unwrap_or_default();
        chains.entry(text(&rule["chain"])?).or_default().extend(rules);
    }
    let bases = objects(listing, "chain").filter_map(base_chain).collect();
    Some(RuleTable { writer, handle: table["handle"].as_u64(), bases, chains })
}

/// Whether a rule uses an extension of iptables, of which JSON shows only the name.
pub(crate) fn has_extensions(listing: &Value) -> bool {
    let mut statements = objects(listing, "rule").flat_map(|rule| rule["expr"].as_array()).flatten();
    statements.any(|statement| statement.get("xt").is_some())
}

fn objects<'a>(listing: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let objects = listing["nftables"].as_array().into_iter().flatten();
    objects.filter_map(move |object| object.get(kind))
}

fn base_chain(chain: &Value) -> Option<BaseChain> {
    Some(BaseChain {
        name: chain["name"].as_str()?.to_owned(),
        hook: Hook::from_name(chain["hook"].as_str()?)?,
        priority: chain["prio"].as_i64()?,
        is_nat: chain["type"] == "nat",
        policy: if chain["policy"] == "drop" { Verdict::Drop } else { Verdict::Accept },
    })
}

/// The rules with a verdict that one of nft's is equal to: a verdict map is one for each element.
fn rules(statements: &[Value], sets: &Sets<'_>) -> Vec<Rule> {
    let (mut rules, mut conditions) = (vec![], vec![]);
    for statement in statements {
        let Some((kind, content)) = statement.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        match kind.as_str() {
            "match" => {
                let condition = is_in(&content["left"], &content["right"], sets);
                conditions.extend(implied(&content["left"]));
                conditions.push(match content["op"].as_str() {
                    Some("==" | "in") => condition,
                    Some("!=") => Condition::Not(condition.into()),
                    _ => Condition::Other,
                });
            }
            "limit" | "xt" | "quota" | "ct count" => conditions.push(Condition::Other),
            "vmap" => {
                for (key, value) in elements(&content["data"], sets) {
                    let Some(verdict) = verdict(value) else { continue };
                    let mut conditions = conditions.clone();
                    conditions.extend(implied(&content["key"]));
                    conditions.push(is_in(&content["key"], key, sets));
                    rules.push(Rule { conditions, verdict });
                }
            }
            "dnat" | "redirect" => {
                conditions.extend(content["family"].as_str().and_then(version).map(Condition::Version));
                let map = &content["addr"]["map"];
                if !map.is_null() {
                    conditions.extend(implied(&map["key"]));
                    let keys = elements(&map["data"], sets).into_iter();
                    conditions
                        .push(Condition::Any(keys.map(|(key, _)| is_in(&map["key"], key, sets)).collect()));
                }
                rules.push(Rule { conditions: conditions.clone(), verdict: Verdict::Translate });
            }
            _ => {
                let verdict = verdict(statement);
                rules.extend(verdict.map(|verdict| Rule { conditions: conditions.clone(), verdict }));
            }
        }
    }
    rules
}

fn verdict(statement: &Value) -> Option<Verdict> {
    let (kind, content) = statement.as_object()?.iter().next()?;
    let target = || content["target"].as_str().map(str::to_owned);
    match kind.as_str() {
        "accept" => Some(Verdict::Accept),
        "drop" | "reject" => Some(Verdict::Drop),
        "return" => Some(Verdict::Return),
        "notrack" => Some(Verdict::Untrack),
        "jump" => target().map(Verdict::Jump),
        "goto" => target().map(Verdict::Goto),
        _ => None,
    }
}

/// Keys and values of a map, named or not.
fn elements<'a>(data: &'a Value, sets: &Sets<'a>) -> Vec<(&'a Value, &'a Value)> {
    let data = named(data, sets).unwrap_or(&data["set"]);
    let pairs = data.as_array().into_iter().flatten().filter_map(Value::as_array);
    pairs.filter_map(|pair| Some((pair.first()?, pair.get(1)?))).collect()
}

/// Elements of the set to which a value refers by name.
fn named<'a>(value: &Value, sets: &Sets<'a>) -> Option<&'a Value> {
    sets.get(value.as_str()?.strip_prefix('@')?).copied()
}

/// The condition that an expression has this value, or one of these.
fn is_in(left: &Value, right: &Value, sets: &Sets<'_>) -> Condition {
    let any = |values: &Value| {
        let values = values.as_array().into_iter().flatten();
        Condition::Any(values.map(|value| is_in(left, value, sets)).collect())
    };
    if let Some(elements) = named(right, sets) {
        return any(elements);
    }
    if !right["set"].is_null() {
        return any(&right["set"]);
    }
    if right.is_array() {
        return any(right);
    }
    if !right["elem"].is_null() {
        return is_in(left, &right["elem"]["val"], sets);
    }
    if let (Some(fields), Some(values)) = (left["concat"].as_array(), right["concat"].as_array()) {
        let each = fields.iter().zip(values).map(|(field, value)| is_in(field, value, sets));
        return Condition::All(each.collect());
    }
    is(left, right).unwrap_or(Condition::Other)
}

/// The condition that an expression has this value; `None`: it is not one that is known.
fn is(left: &Value, right: &Value) -> Option<Condition> {
    let (meta, ct, payload) = (&left["meta"]["key"], &left["ct"], &left["payload"]);
    if *meta == "l4proto" {
        return protocol(right).map(Condition::Protocol);
    }
    if *meta == "nfproto" || *meta == "protocol" {
        return version(right.as_str()?).map(Condition::Version);
    }
    if ct["key"] == "state" {
        return Some(if *right == "new" { Condition::New } else { Condition::Any(vec![]) });
    }
    if (ct["key"] == "status" || left["&"][0]["ct"]["key"] == "status") && *right == "dnat" {
        return Some(Condition::Translated);
    }
    if ct["key"] == "direction" {
        return Some(if *right == "original" { Condition::All(vec![]) } else { Condition::Any(vec![]) });
    }
    if ct["dir"] == "original" {
        return match ct["key"].as_str()? {
            "ip daddr" | "ip6 daddr" => {
                let (first, last) = addresses(right)?;
                Some(Condition::Addresses(Which::Original, first, last))
            }
            "proto-dst" => Some(Condition::Ports(Which::Original, ports(right)?)),
            _ => None,
        };
    }
    let which = match payload["field"].as_str()? {
        "saddr" | "sport" => Which::Source,
        "daddr" | "dport" => Which::Destination,
        "protocol" | "nexthdr" => return protocol(right).map(Condition::Protocol),
        _ => return None,
    };
    match payload["protocol"].as_str()? {
        "ip" | "ip6" => {
            let (first, last) = addresses(right)?;
            Some(Condition::Addresses(which, first, last))
        }
        _ => Some(Condition::Ports(which, ports(right)?)),
    }
}

/// What a packet has if it has these fields at all.
fn implied(left: &Value) -> Vec<Condition> {
    if let Some(fields) = left["concat"].as_array() {
        return fields.iter().flat_map(implied).collect();
    }
    let header = left["payload"]["protocol"].as_str().filter(|header| *header != "th");
    let condition = |header: &str| match version(header) {
        Some(ip) => Condition::Version(ip),
        None => Condition::Protocol(header.to_owned()),
    };
    header.map(condition).into_iter().collect()
}

fn version(name: &str) -> Option<Ip> {
    match name {
        "ip" | "ipv4" => Some(Ip::V4),
        "ip6" | "ipv6" => Some(Ip::V6),
        _ => None,
    }
}

/// A protocol by name; nft prints numbers of unknown ones.
fn protocol(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|number| number.to_string()))
}

fn ports(value: &Value) -> Option<Ports> {
    let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    let (first, last) = match value["range"].as_array() {
        Some(range) => (port(range.first()?)?, port(range.get(1)?)?),
        None => (port(value)?, port(value)?),
    };
    Some(Ports { first, last })
}

fn addresses(value: &Value) -> Option<(IpAddr, IpAddr)> {
    let address = |value: &Value| value.as_str()?.parse().ok();
    if let Some(range) = value["range"].as_array() {
        return Some((address(range.first()?)?, address(range.get(1)?)?));
    }
    if let Some(length) = value["prefix"]["len"].as_u64() {
        let network = IpNet::new(address(&value["prefix"]["addr"])?, u8::try_from(length).ok()?).ok()?;
        return Some((network.network(), network.broadcast()));
    }
    address(value).map(|address| (address, address))
}
