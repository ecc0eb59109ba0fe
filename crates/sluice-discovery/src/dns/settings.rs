//! [`Settings`]: the servers and the search list in force. `/etc/resolv.conf` is read again after a change.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::rr::Name;
use hickory_resolver::system_conf::parse_resolv_conf;
use sluice_core::model::Resolver;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::upstream::Upstream;
use crate::reply::LookupError;

/// Time after which `/etc/resolv.conf` is read again.
const REFRESH: Duration = Duration::from_secs(5);

pub(super) struct Settings {
    resolv_conf: PathBuf,
    current: Mutex<Option<Current>>,
}

struct Current {
    resolver: Arc<Resolver>,
    /// The text of `/etc/resolv.conf`; `None`: it could not be read.
    text: Option<String>,
    read: Instant,
    upstream: Arc<Upstream>,
}

impl Settings {
    pub(super) fn new(resolv_conf: PathBuf) -> Self {
        Settings { resolv_conf, current: Mutex::new(None) }
    }

    /// The servers to ask by these settings.
    pub(super) async fn upstream(
        &self,
        resolver: &Arc<Resolver>,
        permits: &Arc<Semaphore>,
    ) -> Result<Arc<Upstream>, LookupError> {
        let mut current = self.current.lock().await;
        let same = |current: &&mut Current| current.resolver == *resolver;
        if let Some(current) = current.as_mut().filter(same) {
            if current.read.elapsed() < REFRESH {
                return Ok(current.upstream.clone());
            }
            current.read = Instant::now();
            // A file that is away, or half written, is about to be replaced.
            match tokio::fs::read_to_string(&self.resolv_conf).await {
                Ok(text) if current.text.as_ref() != Some(&text) => {
                    if let Ok(upstream) = upstream(resolver, Some(&text), permits) {
                        (current.text, current.upstream) = (Some(text), Arc::new(upstream));
                    }
                }
                _ => {}
            }
            return Ok(current.upstream.clone());
        }
        let path = self.resolv_conf.display();
        let text = match tokio::fs::read_to_string(&self.resolv_conf).await {
            Ok(text) => Some(text),
            Err(_) if !resolver.servers.is_empty() => None,
            Err(error) => return Err(LookupError(format!("cannot read {path}: {error}"))),
        };
        let upstream = upstream(resolver, text.as_deref(), permits)
            .map_err(|LookupError(error)| LookupError(format!("cannot use {path}: {error}")))?;
        let upstream = Arc::new(upstream);
        let resolver = resolver.clone();
        *current = Some(Current { resolver, text, read: Instant::now(), upstream: upstream.clone() });
        Ok(upstream)
    }
}

fn upstream(
    resolver: &Resolver,
    text: Option<&str>,
    permits: &Arc<Semaphore>,
) -> Result<Upstream, LookupError> {
    let (servers, search, ndots) = match text {
        Some(text) => parse(text)?,
        None => (vec![], vec![], 1),
    };
    let servers = if resolver.servers.is_empty() { servers } else { resolver.servers.clone() };
    Upstream::new(servers, resolver.timeout, search, ndots, permits.clone())
}

/// The servers, the search list and `ndots`.
fn parse(text: &str) -> Result<(Vec<SocketAddr>, Vec<Name>, usize), LookupError> {
    // Without a server it is the one on this host (resolv.conf(5)).
    let with_default = || parse_resolv_conf(format!("{text}\nnameserver 127.0.0.1\n"));
    let parsed = parse_resolv_conf(text).or_else(|_| with_default());
    let (config, options) = parsed.map_err(|error| LookupError(error.to_string()))?;
    let servers = config.name_servers().iter().map(|server| SocketAddr::new(server.ip, 53)).collect();
    let search = match config.search() {
        [] => config.domain().cloned().into_iter().collect(),
        search => search.to_vec(),
    };
    Ok((servers, search, options.ndots))
}
