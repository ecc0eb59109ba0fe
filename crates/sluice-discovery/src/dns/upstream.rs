//! [`Upstream`]: the DNS servers of one setting, and the search list.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use sluice_core::model::HostName;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::reply::LookupError;

/// DNS servers, of which the one that answered last is asked first, and the search list.
pub(super) struct Upstream {
    servers: Vec<Server>,
    preferred: AtomicUsize,
    timeout: Duration,
    search: Vec<Name>,
    ndots: usize,
    permits: Arc<Semaphore>,
}

struct Server {
    address: SocketAddr,
    /// Of this server alone.
    pool: NameServerPool<TokioRuntimeProvider>,
}

/// What a server says.
pub(super) enum Response {
    /// Records, perhaps only aliases.
    Message(Box<DnsResponse>),
    /// No such records; `is_name`: but the name exists.
    Nothing { is_name: bool, ttl: Option<u32> },
}

impl Upstream {
    pub(super) fn new(
        addresses: Vec<SocketAddr>,
        timeout: Duration,
        search: Vec<Name>,
        ndots: usize,
        permits: Arc<Semaphore>,
    ) -> Result<Self, LookupError> {
        let servers = addresses.into_iter().map(|address| Server::new(address, timeout));
        let servers = servers.collect::<Result<_, _>>()?;
        Ok(Upstream { servers, preferred: AtomicUsize::new(0), timeout, search, ndots, permits })
    }

    /// The names to try for a name of the file, as resolv.conf(5) describes for `search` and `ndots`.
    pub(super) fn names(&self, host: &HostName) -> Result<Vec<Name>, LookupError> {
        let invalid = |error| LookupError(format!("invalid name {host}: {error}"));
        let mut name = Name::from_ascii(host.as_str()).map_err(invalid)?;
        if name.is_fqdn() {
            return Ok(vec![name]);
        }
        let dots = host.as_str().matches('.').count();
        // A name that is too long with a domain of the list does not exist there.
        let mut names: Vec<_> =
            self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
        names.iter_mut().for_each(|name| name.set_fqdn(true));
        name.set_fqdn(true);
        names.retain(|searched| *searched != name);
        names.insert(if dots >= self.ndots { 0 } else { names.len() }, name);
        Ok(names)
    }

    /// Asks one server after the other, until one has an answer.
    pub(super) async fn query(&self, name: &Name, kind: RecordType) -> Result<Response, LookupError> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut errors = Vec::with_capacity(self.servers.len());
        for step in 0..self.servers.len() {
            let index = (first + step) % self.servers.len();
            let server = &self.servers[index];
            let _permit = self.permits.acquire().await;
            match timeout(self.timeout, server.query(name, kind)).await.unwrap_or(Err(NetError::Timeout)) {
                Ok(response) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(response);
                }
                Err(error) => errors.push(format!("{}: {}", server.address, self.describe(&error))),
            }
        }
        Err(LookupError(format!("no answer for {}: {}", super::shown(name), errors.join("; "))))
    }

    fn describe(&self, error: &NetError) -> String {
        match error {
            NetError::Timeout => format!("timeout ({:?})", self.timeout),
            NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => "SERVFAIL".to_owned(),
            NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => "REFUSED".to_owned(),
            NetError::Dns(DnsError::ResponseCode(code)) => code.to_string(),
            NetError::Io(error) => error.to_string(),
            NetError::Proto(error) => format!("invalid answer: {error}"),
            error => error.to_string(),
        }
    }
}

impl Server {
    fn new(address: SocketAddr, timeout: Duration) -> Result<Self, LookupError> {
        let mut config = NameServerConfig::udp(address.ip());
        config.connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].into();
        config.connections.iter_mut().for_each(|connection| connection.port = address.port());
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.num_concurrent_reqs = 1;
        options.max_active_requests = super::AT_A_TIME * 2;
        // The kernel's choice costs one system call; the answer must match the random ID, too.
        options.os_port_selection = true;
        let tls = TlsConfig::new().map_err(|error| LookupError(error.to_string()))?;
        let context = Arc::new(PoolContext::new(options, tls));
        let pool = NameServerPool::from_config([config], context, TokioRuntimeProvider::default());
        Ok(Server { address, pool })
    }

    async fn query(&self, name: &Name, kind: RecordType) -> Result<Response, NetError> {
        let response = match self.send(name, kind, true).await {
            // Servers without EDNS say so (RFC 6891, section 7).
            Err(NetError::Dns(DnsError::ResponseCode(ResponseCode::FormErr | ResponseCode::NotImp))) => {
                self.send(name, kind, false).await
            }
            response => response,
        };
        match response {
            Ok(response) if response.truncation => Err(NetError::Truncated),
            Ok(response) => Ok(Response::Message(Box::new(response))),
            Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords {
                response_code, negative_ttl, ..
            }))) => match response_code {
                ResponseCode::NoError => Ok(Response::Nothing { is_name: true, ttl: negative_ttl }),
                ResponseCode::NXDomain => Ok(Response::Nothing { is_name: false, ttl: negative_ttl }),
                code => Err(DnsError::ResponseCode(code).into()),
            },
            Err(error) => Err(error),
        }
    }

    async fn send(&self, name: &Name, kind: RecordType, edns: bool) -> Result<DnsResponse, NetError> {
        let mut options = DnsRequestOptions::default();
        options.use_edns = edns;
        options.recursion_desired = true;
        self.pool.lookup(Query::query(name.clone(), kind), options).first_answer().await
    }
}
