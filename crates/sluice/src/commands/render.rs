//! `sluice render`: prints the ruleset of a configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, ValueEnum};
use serde::Serialize;
use sluice_core::model::{Config, EffectiveServices};
use sluice_core::pool;
use sluice_core::render::owner::Owner;
use sluice_core::render::{Rendered, SetId};
use sluice_nft::{Ip, Key, Set, SetType, Table};
use sluiced::fatal::{Exit, Fatal};

use crate::commands::usage_error;
use crate::options::Common;
use crate::progress::Progress;
use crate::{config, iptables, kernel, output};

/// Print the ruleset of a configuration
///
/// The ruleset is that of a first start: backups, and backends that wait for their first probe, get no connections.
/// Reads the file, and the networks of this host for `source: auto` and `preserve`. Needs no privileges.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RenderCommand {
    /// Configuration file
    file: Option<PathBuf>,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: RenderFormat,

    /// IP version of the iptables format [default: ip]
    #[arg(long, value_enum)]
    family: Option<Family>,

    /// As --format json
    #[arg(long, conflicts_with_all = ["format", "family"])]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum RenderFormat {
    /// nft syntax, for `nft -f` if the table does not exist yet
    #[default]
    Nft,
    /// iptables rules with the statistic module, for `iptables-restore --noflush`
    Iptables,
    /// Structure of the table, and the service and backend of each element
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Family {
    /// IPv4, for iptables-restore
    Ip,
    /// IPv6, for ip6tables-restore
    Ip6,
}

const AFTER_HELP: &str = "\
Examples:
  sluice render sluice.yaml
  sluice render sluice.yaml | nft -c -f -
  sluice render --format iptables sluice.yaml
  sluice render --format iptables --family ip6 sluice.yaml | ip6tables-restore --noflush
  sluice render --json | jq -r '.sets[].elements[] | select(.service == \"web\") | .element'

JSON: { \"table\": name, \"sets\": [set], \"chains\": [chain] }, its leaves in nft syntax
  set: { \"name\", \"kind\": map or set, \"typeof\", \"elements\": [element] }
  element: { \"element\", \"service\", \"listener\", \"backend\": name or null }
  chain: { \"name\", \"base\": hook or null, \"rules\": [rule] }";

impl RenderCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        if self.family.is_some() && !matches!(self.format, RenderFormat::Iptables) {
            let what =
                "--family requires --format iptables: the other formats have both IP versions in one table";
            usage_error::<Self>("sluice render", ErrorKind::ArgumentConflict, what);
        }
        let Config { services, .. } = config::load(common.config(self.file.as_ref()))?.config;
        let networks = kernel::networks()?;
        let at_start = pool::at_start(&services);
        let effective = || EffectiveServices::new(&services, &at_start).with_networks(&networks);
        let rendered = || {
            let _progress = Progress::of("render: rendering");
            sluice_core::render::render(effective(), None)
        };
        match if self.json { RenderFormat::Json } else { self.format } {
            RenderFormat::Nft => output::print(&rendered().table.to_string())?,
            RenderFormat::Json => output::print_json(&RulesetJson::of(&rendered()))?,
            RenderFormat::Iptables => {
                let ip = match self.family {
                    None | Some(Family::Ip) => Ip::V4,
                    Some(Family::Ip6) => Ip::V6,
                };
                let text = iptables::render(effective(), ip).map_err(|error| {
                    Fatal::new(Exit::Runtime, error, "use --format nft, which supports all features")
                })?;
                output::print(&text)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The table as JSON: names and structure as keys, leaves in nft syntax.
#[derive(Serialize)]
struct RulesetJson {
    table: &'static str,
    sets: Vec<SetJson>,
    chains: Vec<ChainJson>,
}

#[derive(Serialize)]
struct SetJson {
    name: String,
    kind: &'static str,
    r#typeof: String,
    elements: Vec<ElementJson>,
}

#[derive(Serialize)]
struct ElementJson {
    element: String,
    service: Option<String>,
    listener: Option<String>,
    backend: Option<String>,
}

#[derive(Serialize)]
struct ChainJson {
    name: String,
    base: Option<String>,
    rules: Vec<String>,
}

impl RulesetJson {
    fn of(rendered: &Rendered) -> Self {
        let (table, owners) = (&rendered.table, rendered.program.fragments.owners());
        let owners = |name| SetId::parse(name).and_then(|id| owners.get(&id));
        let sets = table.sets.iter().map(|(name, set)| SetJson {
            name: name.to_string(),
            kind: set.keyword(),
            r#typeof: declared(set),
            elements: elements(set, owners(name)),
        });
        let chains = table.chains.iter().map(|(name, chain)| ChainJson {
            name: name.to_string(),
            base: chain.base.map(|base| base.to_string()),
            rules: chain.rules.iter().map(ToString::to_string).collect(),
        });
        RulesetJson { table: Table::NAME, sets: sets.collect(), chains: chains.collect() }
    }
}

fn elements(set: &Set, owners: Option<&BTreeMap<Key, Owner<'_>>>) -> Vec<ElementJson> {
    let element = |(key, element): (_, &sluice_nft::Element)| {
        let owner = owners.and_then(|owners| owners.get(key));
        ElementJson {
            element: set.element(key, &element.data).to_string(),
            service: owner.map(|owner| owner.frontend.service.to_string()),
            listener: owner.map(|owner| owner.frontend.listener.to_string()),
            backend: owner.and_then(|owner| owner.backend).map(ToString::to_string),
        }
    };
    set.elements.iter().map(element).collect()
}

/// The text after `typeof` in the declaration.
fn declared(set: &Set) -> String {
    let concatenated =
        |parts: &[sluice_nft::Operand]| parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" . ");
    let key = concatenated(&set.key);
    match &set.data {
        SetType::Set => key,
        SetType::Map(data) => format!("{key} : {}", concatenated(data)),
        SetType::Verdicts => format!("{key} : verdict"),
    }
}

/// A ruleset with everything in it.
#[cfg(test)]
pub(crate) fn examples() -> Vec<serde_json::Value> {
    let element = |name: Option<&str>| {
        let name = || name.map(str::to_owned);
        ElementJson { element: "0 : 1".into(), service: name(), listener: name(), backend: name() }
    };
    let set = |kind| SetJson {
        name: "slots4".into(),
        kind,
        r#typeof: "numgen inc mod 4 : ip daddr".into(),
        elements: vec![element(None), element(Some("web"))],
    };
    let chain = |base: Option<&str>| ChainJson {
        name: "prerouting".into(),
        base: base.map(Into::into),
        rules: vec!["drop".into()],
    };
    let ruleset = RulesetJson {
        table: Table::NAME,
        sets: vec![set("map"), set("set")],
        chains: vec![chain(None), chain(Some("type nat hook prerouting priority dstnat"))],
    };
    vec![serde_json::to_value(ruleset).unwrap()]
}
