//! [`FlowCounts`]: numbers of flows by NAT tuple, and their attribution to backends. The count task of the
//! daemon fills it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::AddAssign;

use crate::flows::flow_index::{FlowIndex, NatTuple};
use crate::model::{BackendName, ServiceName, Services};
use crate::pool::balance::Load;
use crate::render::Frontend;

/// Numbers of translated flows by NAT tuple.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts(HashMap<NatTuple, Load>);

/// Loads of backends; backends without flows are omitted.
pub type Loads<'a> = HashMap<(&'a ServiceName, &'a BackendName), Load>;

impl FlowCounts {
    /// Adds flows.
    pub fn add(&mut self, tuple: NatTuple, load: Load) {
        *self.0.entry(tuple).or_default() += load;
    }

    /// Loads of the backends of the selected services. All services are needed to find other listeners that
    /// match a flow.
    ///
    /// Exact listeners are looked up one by one, because usually few services are selected; only other
    /// listeners need a pass over all flows.
    pub fn by_backend<'a>(&self, all: &'a Services, is_selected: impl Fn(&ServiceName) -> bool) -> Loads<'a> {
        let mut loads = Loads::new();
        let mut add = |name, backend, load: Load| {
            if load != Load::default() {
                *loads.entry((name, backend)).or_default() += load;
            }
        };
        let selected = all.iter().filter(|(name, _)| is_selected(name));
        let frontends: Vec<_> = selected.flat_map(|(name, service)| Frontend::of(name, service)).collect();
        for (frontend, (address, port)) in frontends.iter().filter_map(|of| Some((of, of.exact()?))) {
            for backend in frontend.members() {
                let behind = backend.port.translate(frontend.listener.ports, port);
                let tuple = NatTuple {
                    protocol: frontend.listener.protocol,
                    to: SocketAddr::new(address, port),
                    backend: SocketAddr::new(backend.address, behind),
                };
                add(frontend.name, &backend.name, self.0.get(&tuple).copied().unwrap_or_default());
            }
        }
        if frontends.iter().any(|frontend| frontend.exact().is_none()) {
            let index = FlowIndex::of(all);
            let is_exact = |tuple: &NatTuple| index.exact.contains_key(&(tuple.protocol, tuple.to));
            for (tuple, load) in self.0.iter().filter(|(tuple, _)| !is_exact(tuple)) {
                let of = index.backends(tuple).filter(|(name, _)| is_selected(name));
                of.for_each(|(name, backend)| add(name, backend, *load));
            }
        }
        loads
    }
}

impl AddAssign for Load {
    fn add_assign(&mut self, other: Load) {
        self.active += other.active;
        self.opened += other.opened;
    }
}
