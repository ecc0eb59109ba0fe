//! Reads routes with `ip`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Seek, Write};
use std::net::IpAddr;
use std::process::Command;

use serde_json::Value;
use sluice_nft::Ip;

use super::run::parsed;

/// What the routing tables say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Routes {
    /// Interfaces of default routes in the main table.
    pub(crate) default: BTreeMap<Ip, BTreeSet<String>>,
    /// Interfaces of each default route in any table, without those of VRFs. Interfaces of one route are one uplink.
    pub(crate) uplinks: BTreeMap<Ip, BTreeSet<BTreeSet<String>>>,
    /// Whether a rule picks a table by packet mark.
    pub(crate) by_mark: BTreeMap<Ip, bool>,
    /// Addresses to which no packet can be sent.
    pub(crate) unreachable: BTreeSet<IpAddr>,
    /// Those of them with a route that ends here: blackhole, unreachable or prohibit.
    pub(crate) sinks: BTreeSet<IpAddr>,
    /// Addresses with a local route.
    pub(crate) local: BTreeSet<IpAddr>,
    /// What could not be read, and why.
    pub(crate) unread: Vec<String>,
}

impl Routes {
    /// Reads them, and looks up these addresses; `of_vrfs` are interfaces that belong to a VRF.
    pub(crate) fn read(addresses: &[IpAddr], of_vrfs: &BTreeSet<String>) -> Self {
        let mut routes = Routes::default();
        for (ip, family) in [(Ip::V4, "-4"), (Ip::V6, "-6")] {
            let main = routes.ask(&[family, "-json", "route", "show", "default"]);
            routes.default.insert(ip, array(&main).flat_map(devices).collect());
            let all = routes.ask(&[family, "-json", "route", "show", "table", "all", "default"]);
            let uplinks = array(&all).map(devices).map(|mut devices| {
                devices.retain(|device| !of_vrfs.contains(device));
                devices
            });
            routes.uplinks.insert(ip, uplinks.filter(|devices| !devices.is_empty()).collect());
            let rules = routes.ask(&[family, "-json", "rule", "show"]);
            let mut marked = array(&rules).filter(|rule| !rule["fwmark"].is_null());
            routes.by_mark.insert(ip, marked.any(|rule| rule["not"].is_null()));
        }
        if let Err(error) = routes.look_up(addresses) {
            routes.unread.push(format!("ip -batch: {error}"));
        }
        routes
    }

    fn look_up(&mut self, addresses: &[IpAddr]) -> io::Result<()> {
        let questions: String = addresses.iter().map(|address| format!("route get {address}\n")).collect();
        let mut asked = tempfile::tempfile()?;
        asked.write_all(questions.as_bytes()).and_then(|()| asked.rewind())?;
        let answer = Command::new("ip").args(["-force", "-batch", "-"]).stdin(asked).output()?;
        let (told, failed) =
            (String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
        let mut why = "";
        for line in failed.lines() {
            let number =
                line.strip_prefix("Command failed -:").and_then(|number| number.parse::<usize>().ok());
            let Some(number) = number else {
                why = line;
                continue;
            };
            let Some(address) = number.checked_sub(1).and_then(|index| addresses.get(index)) else {
                continue;
            };
            self.unreachable.insert(*address);
            // Without any route the error is ENETUNREACH.
            if !why.ends_with("Network is unreachable") {
                self.sinks.insert(*address);
            }
        }
        let local = told.lines().filter_map(|line| line.strip_prefix("local "));
        self.local = local.filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect();
        Ok(())
    }

    fn ask(&mut self, arguments: &[&str]) -> Value {
        parsed("ip", arguments).unwrap_or_else(|why| {
            self.unread.push(why);
            Value::Null
        })
    }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The interfaces of a route; several with next hops.
fn devices(route: &Value) -> BTreeSet<String> {
    let hops = array(&route["nexthops"]).chain([route]);
    hops.filter_map(|hop| hop["dev"].as_str()).map(str::to_owned).collect()
}
