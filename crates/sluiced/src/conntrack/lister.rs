//! [`ConnectionLister`]: a thread that lists live flows, so that no task waits for the dump of a large conntrack.
//!
//! The thread owns a conntrack socket. A dump of conntrack has no order and may have a million entries. The first ones in the
//! order of service, backend and client are kept, up to the requested limit; the others are only counted.

use std::cmp::Ordering;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use ipnet::IpNet;
use sluice_api::{Connection, Connections, ConnectionsQuery, ErrorReply};
use sluice_core::flows::flow_index::FlowIndex;
use sluice_core::model::{BackendName, ServiceName, Services};
use sluice_netlink::conntrack::{Conntrack, Flow};
use sluice_netlink::memory;
use tokio::sync::oneshot;
use tracing::warn;

use crate::conntrack::dump;
use crate::conntrack::smallest::SmallestK;
use crate::conntrack::tuple::nat_tuple;
use crate::host::threads;
use crate::lookup;

/// Limit of a list without `limit`.
const DEFAULT_LIMIT: usize = 1000;

/// Maximum `limit`.
const MAX_LIMIT: usize = 100_000;

/// Limit above which free memory is returned to the system after the list.
const LARGE: usize = 10_000;

/// A handle of the thread. Clones are the same thread; it ends with the last handle.
#[derive(Clone, Debug)]
pub struct ConnectionLister(Sender<ListRequest>);

/// A request for a list.
#[derive(Debug)]
pub struct ListRequest {
    /// The services in force.
    pub services: Arc<Services>,
    /// The flows to list.
    pub query: ListQuery,
    /// Receives the list. The receiver may be dropped.
    pub answer: oneshot::Sender<io::Result<Connections>>,
}

/// A selection of flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Flows of this service; `None`: of all services.
    pub service: Option<ServiceName>,
    /// Flows of this backend of the service; `None`: of all its backends.
    pub backend: Option<BackendName>,
    /// Flows of clients in this network; `None`: of all clients.
    pub client: Option<IpNet>,
    /// Flows in this state, in lower or upper case; `None`: in any state.
    pub state: Option<String>,
    /// Maximum number of listed flows.
    pub limit: usize,
}

/// The error of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListError {
    /// The query is invalid.
    Bad(ErrorReply),
    /// The service or backend does not exist.
    Unknown(ErrorReply),
    /// Conntrack could not be read.
    Failed(ErrorReply),
}

impl ConnectionLister {
    /// Starts the thread in the network namespace of the caller.
    pub fn start() -> Self {
        let (sender, requests) = channel();
        let started = Conntrack::open()
            .and_then(|conntrack| threads::start_yielding("list flows", move || serve(conntrack, &requests)));
        if let Err(error) = started {
            warn!("open conntrack: {error} (flows are not listed)");
        }
        ConnectionLister(sender)
    }

    /// A handle that sends requests to this channel instead of a thread.
    pub fn to(requests: Sender<ListRequest>) -> Self {
        ConnectionLister(requests)
    }

    /// Lists the current flows.
    pub(crate) async fn list(
        &self,
        query: &ConnectionsQuery,
        services: Arc<Services>,
    ) -> Result<Connections, ListError> {
        let query = ListQuery::parse(query, &services)?;
        let (answer, receiver) = oneshot::channel();
        // Without a thread, the answer channel is closed.
        let _ = self.0.send(ListRequest { services, query, answer });
        let failed = |error: String, hint: &str| {
            ListError::Failed(ErrorReply { error: format!("list flows: {error}"), hint: hint.to_owned() })
        };
        match receiver.await {
            Ok(listed) => listed.map_err(|error| failed(error.to_string(), "try again")),
            Err(_) => Err(failed("conntrack could not be opened".to_owned(), "see the log of sluiced")),
        }
    }
}

impl ListQuery {
    fn parse(query: &ConnectionsQuery, services: &Services) -> Result<Self, ListError> {
        let bad = |error: String, hint: &str| ListError::Bad(ErrorReply { error, hint: hint.to_owned() });
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
        if limit > MAX_LIMIT {
            return Err(bad(format!("limit is at most {MAX_LIMIT}"), "name a service to see fewer"));
        }
        let network = |text: &String| {
            let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| {
                bad(format!("invalid client `{}`", text.escape_debug()), "write an address or a network")
            })
        };
        let client = query.client.as_ref().map(network).transpose()?;
        if let Some(state) = &query.state
            && !Flow::states().iter().any(|known| known.eq_ignore_ascii_case(state))
        {
            let hint = format!("write one of {}", Flow::states().join(", "));
            return Err(bad(format!("unknown state `{}`", state.escape_debug()), &hint));
        }
        let all = ListQuery { service: None, backend: None, client, state: query.state.clone(), limit };
        let Some(service) = &query.service else {
            return match query.backend {
                Some(_) => Err(bad("backend without service".to_owned(), "write service=web&backend=web1")),
                None => Ok(all),
            };
        };
        let found = lookup::service(services, service).map_err(ListError::Unknown)?;
        let backend = query.backend.as_ref().map(|backend| lookup::backend(found, backend));
        let backend = backend.transpose().map_err(ListError::Unknown)?;
        let backend = backend.map(|backend| backend.name.clone());
        Ok(ListQuery { service: Some(found.0.clone()), backend, ..all })
    }

    fn matches(&self, flow: &Flow) -> bool {
        self.client.is_none_or(|network| network.contains(&flow.client.ip()))
            && self.state.as_ref().is_none_or(|state| state.eq_ignore_ascii_case(flow.state()))
    }

    fn includes(&self, service: &ServiceName, backend: &BackendName) -> bool {
        self.service.as_ref().is_none_or(|name| name == service)
            && self.backend.as_ref().is_none_or(|name| name == backend)
    }
}

fn serve(mut conntrack: Conntrack, requests: &Receiver<ListRequest>) {
    for ListRequest { services, query, answer } in requests {
        // A dropped request costs no dump.
        if !answer.is_closed() {
            let _ = answer.send(list(&mut conntrack, &services, &query));
            drop(services);
            if query.limit > LARGE {
                memory::give_back();
            }
        }
    }
}

fn list(conntrack: &mut Conntrack, services: &Services, query: &ListQuery) -> io::Result<Connections> {
    let index = FlowIndex::of(services);
    let mut found = SmallestK::new(query.limit);
    dump::each_translated(conntrack, |flow| {
        if !query.matches(&flow) {
            return;
        }
        let of =
            index.backends(&nat_tuple(&flow)).filter(|(service, backend)| query.includes(service, backend));
        of.for_each(|(service, backend)| found.add(OwnedFlow { service, backend, flow }));
    })?;
    let total = found.total();
    let connections = found.into_sorted().into_iter().map(Connection::from).collect();
    Ok(Connections { total, connections })
}

/// A flow of a service.
struct OwnedFlow<'a> {
    service: &'a ServiceName,
    backend: &'a BackendName,
    flow: Flow,
}

impl OwnedFlow<'_> {
    fn key(&self) -> impl Ord {
        let OwnedFlow { service, backend, flow } = self;
        (*service, *backend, flow.client, flow.to, flow.protocol, flow.zone, flow.id)
    }
}

impl Ord for OwnedFlow<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for OwnedFlow<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for OwnedFlow<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for OwnedFlow<'_> {}

impl From<OwnedFlow<'_>> for Connection {
    fn from(OwnedFlow { service, backend, flow }: OwnedFlow<'_>) -> Self {
        Connection {
            service: service.to_string(),
            backend: backend.to_string(),
            protocol: flow.protocol.to_string(),
            client: flow.client,
            listener: flow.to,
            source: flow.back_to,
            address: flow.backend,
            state: flow.state().to_owned(),
            expires: flow.expires,
            bytes_in: flow.bytes.map(|bytes| bytes.incoming),
            bytes_out: flow.bytes.map(|bytes| bytes.outgoing),
        }
    }
}
