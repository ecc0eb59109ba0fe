//! The tuple of a flow, by which services and backends are found.

use sluice_core::flows::flow_index::NatTuple;
use sluice_netlink::conntrack::Flow;

pub(super) fn nat_tuple(flow: &Flow) -> NatTuple {
    NatTuple { protocol: flow.protocol, to: flow.to, backend: flow.backend }
}
