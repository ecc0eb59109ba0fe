//! [`Dns`]: asks DNS servers.
//!
//! A lookup is a few queries: for each name of the search list, along aliases (CNAME), and for the targets of SRV records.
//! Only a name that does not exist, or has no such records, leads to the next name of the search list: an error ends the
//! lookup, so that a server in trouble never makes another name's records the answer.

mod alias;
mod settings;
mod srv;
mod upstream;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RData, RecordType};
use sluice_core::model::{Answer, Found, HostName, Resolver};
use sluice_nft::Ip;
use tokio::sync::Semaphore;

use crate::reply::{LookupError, Reply};
use settings::Settings;
use upstream::Upstream;

/// Maximum number of queries at a time.
const AT_A_TIME: usize = 64;

/// Asks the servers of a resolver, or those of `/etc/resolv.conf`.
pub(crate) struct Dns {
    settings: Settings,
    permits: Arc<Semaphore>,
}

/// What servers know of a name.
enum Known {
    /// Records of the wanted type; the TTL is the least of theirs and of aliases.
    Records(Vec<RData>, Duration),
    /// The name has no records of this type.
    NoData(Option<Duration>),
    /// The name does not exist.
    NoName,
}

impl Dns {
    pub(crate) fn new(resolv_conf: PathBuf) -> Self {
        Dns { settings: Settings::new(resolv_conf), permits: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// The addresses of a host.
    pub(crate) async fn host(
        &self,
        resolver: &Arc<Resolver>,
        host: &HostName,
        ip: Ip,
    ) -> Result<Reply, LookupError> {
        let upstream = self.settings.upstream(resolver, &self.permits).await?;
        match search(&upstream, host, record_type(ip)).await? {
            Known::Records(records, ttl) => {
                let addresses: BTreeSet<_> = records.iter().filter_map(address).collect();
                let found = addresses.into_iter().map(|address| Found {
                    address,
                    port: None,
                    name: None,
                    weight: None,
                    backup: None,
                    max_connections: None,
                });
                Ok(Reply::new(Answer { found: found.collect() }, Some(ttl)))
            }
            Known::NoData(ttl) => Ok(Reply::new(Answer::default(), ttl)),
            Known::NoName => Err(no_name()),
        }
    }

    /// The targets of SRV records.
    pub(crate) async fn srv(
        &self,
        resolver: &Arc<Resolver>,
        name: &HostName,
        ip: Ip,
    ) -> Result<Reply, LookupError> {
        let upstream = self.settings.upstream(resolver, &self.permits).await?;
        match search(&upstream, name, RecordType::SRV).await? {
            Known::Records(records, ttl) => srv::resolve(&upstream, &records, ttl, ip).await,
            Known::NoData(ttl) => Ok(Reply::new(Answer::default(), ttl)),
            Known::NoName => Err(no_name()),
        }
    }
}

/// Tries the names of the search list.
async fn search(upstream: &Upstream, host: &HostName, kind: RecordType) -> Result<Known, LookupError> {
    let mut known = Known::NoName;
    for name in upstream.names(host)? {
        match alias::follow(upstream, name, kind).await? {
            records @ Known::Records(..) => return Ok(records),
            no_data @ Known::NoData(_) => known = no_data,
            Known::NoName => {}
        }
    }
    Ok(known)
}

fn no_name() -> LookupError {
    LookupError("the name does not exist (NXDOMAIN)".to_owned())
}

fn record_type(ip: Ip) -> RecordType {
    match ip {
        Ip::V4 => RecordType::A,
        Ip::V6 => RecordType::AAAA,
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

/// A name without the final dot, for messages.
fn shown(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(&text).to_owned()
}
