//! A thread that lists live flows, so that nobody else waits for a large conntrack.
//!
//! Conntrack tells of its entries in no order, and there may be a million. Those that come first by service, backend
//! and client are kept, as many as were asked for; the others are only counted.

use std::cmp::Ordering;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use ipnet::IpNet;
use sluice_api::{Connection, Connections, ConnectionsQuery, ErrorReply};
use sluice_core::model::{Address, Backend, BackendName, Service, ServiceName, Services};
use sluice_core::owners::Owners;
use sluice_core::way::Way;
use sluice_netlink::conntrack::{Conntrack, Filter, Flow};
use sluice_netlink::memory;
use sluice_nft::Ip;
use tokio::sync::oneshot;
use tracing::warn;

use crate::conntrack::first::First;
use crate::host::threads;
use crate::names;

/// Most connections that are listed unless somebody says how many.
const LIMIT: usize = 1000;

/// Most that anybody may ask for.
const MAX_LIMIT: usize = 100_000;

/// Beyond so many, memory is given back afterwards.
const LARGE: usize = 10_000;

/// Who lists flows.
#[derive(Clone, Debug)]
pub struct Listing(Sender<Question>);

/// Somebody wants a list.
#[derive(Debug)]
pub struct Question {
    /// Whose flows there may be.
    pub services: Arc<Services>,
    /// Those that are wanted.
    pub wanted: Wanted,
    /// Who waits; may be gone.
    pub answer: oneshot::Sender<io::Result<Connections>>,
}

/// Which flows, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of this service; `None`: of all.
    pub service: Option<ServiceName>,
    /// Of this backend of it; `None`: of all its backends.
    pub backend: Option<BackendName>,
    /// Of clients in this network; `None`: of all.
    pub client: Option<IpNet>,
    /// In this state, whatever the case of its letters; `None`: in any.
    pub state: Option<String>,
    /// Most that are listed.
    pub limit: usize,
}

/// Why there is no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unlisted {
    /// The question makes no sense.
    Bad(ErrorReply),
    /// There is no such service or backend.
    Unknown(ErrorReply),
    /// Conntrack does not say.
    Failed(ErrorReply),
}

impl Listing {
    /// Starts the thread in the network namespace of the caller. It ends with the last handle.
    pub fn start() -> Self {
        let (sender, questions) = channel();
        let started = Conntrack::open()
            .and_then(|conntrack| threads::start("list flows", move || serve(conntrack, &questions)));
        if let Err(error) = started {
            warn!("open conntrack: {error} (flows are not listed)");
        }
        Listing(sender)
    }

    /// Hands all questions to somebody else.
    pub fn to(listener: Sender<Question>) -> Self {
        Listing(listener)
    }

    /// Flows as of now.
    pub(crate) async fn list(
        &self,
        query: &ConnectionsQuery,
        services: Arc<Services>,
    ) -> Result<Connections, Unlisted> {
        let wanted = Wanted::of(query, &services)?;
        let (answer, receiver) = oneshot::channel();
        // Where nobody listens the answer never comes, which is told by its channel.
        let _ = self.0.send(Question { services, wanted, answer });
        let failed = |error: String, hint: &str| {
            Unlisted::Failed(ErrorReply { error: format!("list flows: {error}"), hint: hint.to_owned() })
        };
        match receiver.await {
            Ok(listed) => listed.map_err(|error| failed(error.to_string(), "try again")),
            Err(_) => Err(failed("conntrack could not be opened".to_owned(), "see the log of sluiced")),
        }
    }
}

impl Wanted {
    fn of(query: &ConnectionsQuery, services: &Services) -> Result<Self, Unlisted> {
        let bad = |error: String, hint: &str| Unlisted::Bad(ErrorReply { error, hint: hint.to_owned() });
        let limit = query.limit.unwrap_or(LIMIT);
        if limit > MAX_LIMIT {
            return Err(bad(format!("limit is at most {MAX_LIMIT}"), "name a service to see fewer"));
        }
        let network = |text: &String| {
            let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| bad(format!("invalid client {text:?}"), "write an address or a network"))
        };
        let client = query.client.as_ref().map(network).transpose()?;
        let all = Wanted { service: None, backend: None, client, state: query.state.clone(), limit };
        let Some(service) = &query.service else {
            return match query.backend {
                Some(_) => Err(bad("backend without service".to_owned(), "say service=web&backend=web1")),
                None => Ok(all),
            };
        };
        let found = names::service(services, service).map_err(Unlisted::Unknown)?;
        let backend = query.backend.as_ref().map(|backend| names::backend(found, backend));
        let backend = backend.transpose().map_err(Unlisted::Unknown)?;
        let backend = backend.map(|backend| backend.name.clone());
        Ok(Wanted { service: Some(found.0.clone()), backend, ..all })
    }

    fn fits(&self, flow: &Flow) -> bool {
        self.client.is_none_or(|network| network.contains(&flow.client.ip()))
            && self.state.as_ref().is_none_or(|state| state.eq_ignore_ascii_case(flow.state()))
    }

    fn is_of(&self, service: &ServiceName, backend: &BackendName) -> bool {
        self.service.as_ref().is_none_or(|wanted| wanted == service)
            && self.backend.as_ref().is_none_or(|wanted| wanted == backend)
    }
}

fn serve(mut conntrack: Conntrack, questions: &Receiver<Question>) {
    for Question { services, wanted, answer } in questions {
        // Who does not wait any more costs nothing.
        if !answer.is_closed() {
            let _ = answer.send(list(&mut conntrack, &services, &wanted));
            drop(services);
            if wanted.limit > LARGE {
                memory::give_back();
            }
        }
    }
}

fn list(conntrack: &mut Conntrack, services: &Services, wanted: &Wanted) -> io::Result<Connections> {
    let owners = Owners::of(services);
    let mut found = First::new(wanted.limit);
    for filter in filters(services, wanted) {
        conntrack.each(&filter, |flow| {
            if !wanted.fits(&flow) {
                return;
            }
            let way = Way { protocol: flow.protocol, to: flow.to, backend: flow.backend };
            let of = owners.backends(&way).filter(|(service, backend)| wanted.is_of(service, backend));
            of.for_each(|(service, backend)| found.add(Found { service, backend, flow }));
        })?;
    }
    let total = found.total();
    let connections = found.into_sorted().into_iter().map(Connection::from).collect();
    Ok(Connections { total, connections })
}

/// What the kernel can tell apart, so that it does not tell of a million flows for the sake of a few.
fn filters(services: &Services, wanted: &Wanted) -> Vec<Filter> {
    let Some(service) = wanted.service.as_ref().and_then(|name| services.get(name)) else {
        return Ip::ALL.map(|ip| Filter { translated: true, ..Filter::all(ip) }).into();
    };
    let is_it = |backend: &Backend| wanted.backend.as_ref().is_none_or(|name| *name == backend.name);
    let filter = |ip| filter(service, ip, service.backends.iter().filter(|backend| is_it(backend)));
    Ip::ALL.into_iter().filter_map(filter).collect()
}

/// What all flows of an IP version through a service to some of its backends have in common. `None`: there are none.
fn filter<'a>(service: &Service, ip: Ip, backends: impl Iterator<Item = &'a Backend>) -> Option<Filter> {
    let listeners = || service.listeners.iter().filter(|listener| service.takes(listener, ip));
    let address = |listener: &_| match listener {
        Address::Any => None,
        Address::Exact(address) => Some(*address),
    };
    let backends = backends.map(|backend| backend.address).filter(|address| Ip::of(*address) == ip);
    let protocol = same(listeners().map(|listener| Some(listener.protocol)))?;
    Some(Filter {
        protocol,
        to: same(listeners().map(|listener| address(&listener.address)))?,
        to_port: same(listeners().map(|listener| listener.ports.as_single()))?,
        backend: same(backends.map(Some))?,
        translated: true,
        ..Filter::all(ip)
    })
}

/// What all are, if they are the same; `None`: there are none.
fn same<T: PartialEq>(mut all: impl Iterator<Item = Option<T>>) -> Option<Option<T>> {
    let first = all.next()?;
    Some(if all.all(|other| other == first) { first } else { None })
}

/// A flow of ours.
struct Found<'a> {
    service: &'a ServiceName,
    backend: &'a BackendName,
    flow: Flow,
}

impl Found<'_> {
    fn key(&self) -> impl Ord {
        let Found { service, backend, flow } = self;
        (*service, *backend, flow.client, flow.to, flow.protocol, flow.zone, flow.id)
    }
}

impl Ord for Found<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Found<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Found<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Found<'_> {}

impl From<Found<'_>> for Connection {
    fn from(Found { service, backend, flow }: Found<'_>) -> Self {
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
