//! SRV records (RFC 2782): the lowest priority serves, the others are backups.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::try_join_all;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData};
use sluice_core::model::{Answer, BackendPort, Found};
use sluice_nft::Ip;

use super::upstream::Upstream;
use super::{Known, address, alias, record_type, shown};
use crate::MAX_FOUND;
use crate::reply::{LookupError, Reply};

/// Largest weight that a backend gets.
const MAX_WEIGHT: u32 = 256;

/// Priority and weight of an address and port.
type Ranks = BTreeMap<(IpAddr, u16), (u16, u16)>;

/// Resolves the targets of records with this TTL.
pub(super) async fn resolve(
    upstream: &Upstream,
    records: &[RData],
    mut ttl: Duration,
    ip: Ip,
) -> Result<Reply, LookupError> {
    let records: Vec<&SRV> = records.iter().filter_map(with_target).collect();
    if let Some(record) = records.iter().find(|record| record.port == 0) {
        return Err(LookupError(format!("the record of {} has port 0", shown(&record.target))));
    }
    let targets: BTreeSet<&Name> = records.iter().map(|record| &record.target).collect();
    let resolved = targets.into_iter().map(async |target| {
        let known = alias::follow(upstream, target.clone(), record_type(ip)).await?;
        match known {
            Known::Records(data, ttl) => {
                Ok((target, data.iter().filter_map(address).collect::<Vec<_>>(), Some(ttl)))
            }
            Known::NoData(ttl) => Ok((target, vec![], ttl)),
            Known::NoName => {
                Err(LookupError(format!("the target {} does not exist (NXDOMAIN)", shown(target))))
            }
        }
    });
    let mut addresses = BTreeMap::new();
    for (target, found, valid) in try_join_all(resolved).await? {
        ttl = valid.map_or(ttl, |valid| ttl.min(valid));
        addresses.insert(target, found);
    }
    let mut ranks = Ranks::new();
    for record in &records {
        for address in &addresses[&record.target] {
            // Of two records for one address the better one counts.
            let rank = (record.priority, record.weight);
            let better = |known: &mut (u16, u16)| match known.0.cmp(&rank.0) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => known.1 = known.1.max(rank.1),
                std::cmp::Ordering::Greater => *known = rank,
            };
            ranks.entry((*address, record.port)).and_modify(better).or_insert(rank);
            if ranks.len() > MAX_FOUND {
                return Err(LookupError(format!("more than {MAX_FOUND} backends")));
            }
        }
    }
    Ok(Reply::new(Answer { found: rank(&ranks, lowest(&records)) }, Some(ttl)))
}

/// A target of `.` says that the service is not available here.
fn with_target(data: &RData) -> Option<&SRV> {
    match data {
        RData::SRV(srv) if !srv.target.is_root() => Some(srv),
        _ => None,
    }
}

/// The priority that serves: of all records, so that backups stay backups while the others have no address.
fn lowest(records: &[&SRV]) -> u16 {
    records.iter().map(|record| record.priority).min().unwrap_or(0)
}

/// Backends with their weights, scaled among those of the lowest priority, and among backups.
fn rank(ranks: &Ranks, lowest: u16) -> Vec<Found> {
    let largest = |is_backup| {
        let weights = ranks.values().filter(|(priority, _)| (*priority > lowest) == is_backup);
        weights.map(|(_, weight)| u32::from(*weight)).max().unwrap_or(0)
    };
    let largest = [largest(false), largest(true)];
    let found = ranks.iter().map(|((address, port), (priority, weight))| {
        let is_backup = *priority > lowest;
        Found {
            address: *address,
            port: Some(BackendPort::One(*port)),
            name: None,
            weight: Some(scale(*weight, largest[usize::from(is_backup)])),
            backup: Some(is_backup),
            max_connections: None,
        }
    });
    found.collect()
}

/// A weight from 1 to 256. Those that fit already stay; a weight of 0 is a very small chance.
fn scale(weight: u16, largest: u32) -> u16 {
    let weight = u32::from(weight);
    let scaled = if largest <= MAX_WEIGHT { weight } else { (weight * MAX_WEIGHT + largest / 2) / largest };
    scaled.clamp(1, MAX_WEIGHT) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_scaled_into_those_of_backends() {
        let scaled = |weights: &[u16]| -> Vec<u16> {
            let largest = weights.iter().copied().max().unwrap().into();
            weights.iter().map(|weight| scale(*weight, largest)).collect()
        };
        assert_eq!(scaled(&[0, 0]), [1, 1]);
        assert_eq!(scaled(&[0, 10, 256]), [1, 10, 256]);
        assert_eq!(scaled(&[0, 1, 32_768, 65_535]), [1, 1, 128, 256]);
        assert_eq!(scaled(&[100, 300]), [85, 256]);
    }

    #[test]
    fn lowest_priority_serves_and_others_are_backups() {
        let ranks = Ranks::from([
            (([10, 0, 0, 1].into(), 80), (10, 5)),
            (([10, 0, 0, 2].into(), 80), (20, 1_000)),
            (([10, 0, 0, 3].into(), 80), (30, 500)),
        ]);
        let found = rank(&ranks, 10);
        let shown: Vec<_> =
            found.iter().map(|found| (found.weight.unwrap(), found.backup.unwrap())).collect();
        assert_eq!(shown, [(5, false), (256, true), (128, true)]);
        assert!(rank(&ranks, 1).iter().all(|found| found.backup == Some(true)));
    }
}
