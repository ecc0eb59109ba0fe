//! Aliases: a name is asked for until its records are there, whichever server's answer ends amid a chain.

use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::upstream::{Response, Upstream};
use super::{Known, shown};
use crate::reply::LookupError;

/// Maximum number of aliases (CNAME) in a chain.
const MAX_ALIASES: usize = 16;

/// The records of a name, which may be an alias.
pub(super) async fn follow(upstream: &Upstream, name: Name, kind: RecordType) -> Result<Known, LookupError> {
    let asked = shown(&name);
    let (mut name, mut aliases, mut ttl) = (name, 0, u32::MAX);
    loop {
        let response = match upstream.query(&name, kind).await? {
            Response::Message(response) => response,
            Response::Nothing { is_name: false, .. } => return Ok(Known::NoName),
            Response::Nothing { ttl: negative, .. } => {
                let ttl = negative.map(|negative| Duration::from_secs(negative.min(ttl).into()));
                return Ok(Known::NoData(ttl));
            }
        };
        let before = aliases;
        let alias = |name: &Name| {
            response.answers.iter().find_map(|record| match &record.data {
                RData::CNAME(target) if record.name == *name => Some((target.0.clone(), record.ttl)),
                _ => None,
            })
        };
        while let Some((target, seconds)) = alias(&name) {
            (name, ttl, aliases) = (target, ttl.min(seconds), aliases + 1);
            if aliases > MAX_ALIASES {
                return Err(LookupError(format!("{asked} is an alias of more than {MAX_ALIASES} names")));
            }
        }
        let of_name = |record: &&_| {
            let record: &hickory_resolver::proto::rr::Record = record;
            record.record_type() == kind && record.name == name
        };
        let records: Vec<_> = response.answers.iter().filter(of_name).collect();
        if !records.is_empty() {
            let ttl = records.iter().map(|record| record.ttl).fold(ttl, u32::min);
            let data = records.into_iter().map(|record| record.data.clone()).collect();
            return Ok(Known::Records(data, Duration::from_secs(ttl.into())));
        }
        if response.response_code == ResponseCode::NXDomain {
            return Ok(Known::NoName);
        }
        if aliases == before {
            return Ok(Known::NoData(None));
        }
    }
}
