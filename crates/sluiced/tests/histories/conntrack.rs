//! A model of conntrack: the rules create flows, and the daemon's sweeper works on them.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use sluice_core::flows::flow_counts::FlowCounts;
use sluice_core::flows::flow_index::NatTuple;
use sluice_core::model::Protocol;
use sluice_core::pool::balance::Load;
use sluice_netlink::conntrack::{ConnectionState, Flow, Reset, SctpState, TcpState};
use sluice_nft::trace::{Ingress, Packet};
use sluiced::conntrack::cleaner::FlowTable;

use crate::history::History;

/// `IPS_DST_NAT` of the kernel.
const DST_NAT: u32 = 1 << 5;
/// `IPS_SEEN_REPLY`.
const SEEN_REPLY: u32 = 1 << 1;

/// Clones are the same table.
#[derive(Clone, Default)]
pub struct Conntrack(Rc<RefCell<Inner>>);

#[derive(Default)]
struct Inner {
    flows: Vec<Tracked>,
    deleted: Vec<Tracked>,
    reset: Vec<Tracked>,
    ids: u32,
    /// Those that were there when they were last counted for one who follows them.
    seen: Option<HashSet<u32>>,
}

/// A flow, and how it came to the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracked {
    pub flow: Flow,
    pub ingress: Ingress,
}

impl Tracked {
    /// Whether it is UDP or a connection that nobody answered yet.
    pub fn is_unfinished(&self) -> bool {
        !self.flow.protocol.has_connections() || self.flow.is_opening()
    }
}

impl Conntrack {
    /// Tracks a flow that goes to `backend`, unless there is one already.
    pub fn track(&self, packet: &Packet, backend: Option<SocketAddr>, opening: bool) {
        let mut inner = self.0.borrow_mut();
        let same = |known: &Tracked| {
            let Flow { protocol, client, to, .. } = known.flow;
            (protocol, client, to) == (packet.protocol, packet.source, packet.destination)
        };
        if inner.flows.iter().any(same) {
            return;
        }
        inner.ids += 1;
        let flow = Flow { id: inner.ids, ..flow(packet, backend, opening) };
        inner.flows.push(Tracked { flow, ingress: packet.ingress.clone() });
    }

    pub fn flows(&self) -> Vec<Tracked> {
        self.0.borrow().flows.clone()
    }

    /// Two numbers that differ after any flow began or ended.
    pub fn changes(&self) -> (u32, usize) {
        let inner = self.0.borrow();
        (inner.ids, inner.flows.len())
    }

    /// What was deleted, and what was reset, since this was last asked.
    pub fn take_ended(&self) -> (Vec<Tracked>, Vec<Tracked>) {
        let mut inner = self.0.borrow_mut();
        (std::mem::take(&mut inner.deleted), std::mem::take(&mut inner.reset))
    }

    pub fn flow_counts(&self) -> FlowCounts {
        let inner = self.0.borrow();
        count(&inner.flows, |_| false)
    }

    /// The same, and which flows are new since this was last asked.
    pub fn follow(&self) -> FlowCounts {
        let mut inner = self.0.borrow_mut();
        let now = inner.flows.iter().map(|known| known.flow.id).collect();
        let before = inner.seen.replace(now);
        count(&inner.flows, |id| before.as_ref().is_some_and(|before| !before.contains(&id)))
    }

    /// Another daemon counts.
    pub fn forget_counts(&self) {
        self.0.borrow_mut().seen = None;
    }

    /// Has so many connections of this kind live, from now on.
    pub fn load(&self, flow: &Flow, ingress: &Ingress, count: usize) {
        let mut inner = self.0.borrow_mut();
        let alike = |known: &Flow| {
            (known.protocol, known.to, known.backend) == (flow.protocol, flow.to, flow.backend)
        };
        let mut left = count;
        inner.flows.retain(|known| {
            let stays = !alike(&known.flow) || left > 0;
            left -= usize::from(stays && alike(&known.flow));
            stays
        });
        for _ in 0..left {
            inner.ids += 1;
            let id = inner.ids;
            let port = 50_000 + (id % 10_000) as u16;
            let client = SocketAddr::new(flow.client.ip(), port);
            let flow = Flow { client, back_to: client, id, ..*flow };
            inner.flows.push(Tracked { flow, ingress: ingress.clone() });
        }
    }

    fn end(&self, flows: &[Flow], reset: bool) -> usize {
        let mut inner = self.0.borrow_mut();
        let (ended, left): (Vec<_>, Vec<_>) =
            inner.flows.drain(..).partition(|known| flows.iter().any(|flow| flow.id == known.flow.id));
        let count = ended.len();
        inner.flows = left;
        if reset {
            inner.reset.extend(ended)
        } else {
            inner.deleted.extend(ended)
        }
        count
    }
}

/// A flow that goes to `backend`, or untranslated to where it was sent; `opening` if nobody has answered yet.
pub fn flow(packet: &Packet, backend: Option<SocketAddr>, opening: bool) -> Flow {
    let connection = match (packet.protocol, opening) {
        (Protocol::Tcp, true) => Some(ConnectionState::Tcp(TcpState::SynSent)),
        (Protocol::Tcp, false) => Some(ConnectionState::Tcp(TcpState::Established)),
        (Protocol::Sctp, true) => Some(ConnectionState::Sctp(SctpState::Closed)),
        (Protocol::Sctp, false) => Some(ConnectionState::Sctp(SctpState::Established)),
        (Protocol::Udp, _) => None,
    };
    let replied = if opening { 0 } else { SEEN_REPLY };
    Flow {
        protocol: packet.protocol,
        client: packet.source,
        to: packet.destination,
        backend: backend.unwrap_or(packet.destination),
        back_to: packet.source,
        status: replied | if backend.is_some() { DST_NAT } else { 0 },
        connection,
        id: 0,
        zone: 0,
        expires: 100,
        bytes: None,
    }
}

fn count(flows: &[Tracked], is_new: impl Fn(u32) -> bool) -> FlowCounts {
    let mut flow_counts = FlowCounts::default();
    for Tracked { flow, .. } in flows.iter().filter(|known| known.flow.is_translated()) {
        let way = NatTuple { protocol: flow.protocol, to: flow.to, backend: flow.backend };
        flow_counts.add(way, Load { active: flow.is_active().into(), opened: is_new(flow.id).into() });
    }
    flow_counts
}

impl FlowTable for Conntrack {
    fn each(&mut self, f: &mut dyn FnMut(Flow)) -> io::Result<()> {
        let flows = self.flows();
        flows.iter().map(|known| known.flow).for_each(f);
        Ok(())
    }

    fn delete(&mut self, flows: &[Flow]) -> io::Result<usize> {
        Ok(self.end(flows, false))
    }

    fn reset(&mut self, flows: &[Flow], _: Duration) -> io::Result<Reset> {
        Ok(Reset { ended: self.end(flows, true), challenge_error: None })
    }

    fn local(&mut self) -> HashSet<IpAddr> {
        History::local().into()
    }
}
