//! The keys `source` and `source_ports`.

use sluice_core::model::{Address, Backend, Listener, Source, SourcePorts};
use sluice_nft::Ip;

use super::Elements;
use crate::problem::Fault;
use crate::read::Given;
use crate::yaml_path::Here;

/// The source with its ports; `source_ports` from `defaults` has no effect on sources without an address.
pub(super) fn source(source: Given<Source>, ports: Given<SourcePorts>) -> Source {
    match source.unwrap_or_default() {
        Source::Addresses(first, last, default) => Source::Addresses(first, last, ports.unwrap_or(default)),
        source @ (Source::Masquerade | Source::Auto | Source::Preserve) => source,
    }
}

/// Refuses `source_ports: keep` without an address, which every node would have.
pub(super) fn check_ports(here: &Here<'_>, ports: &Given<SourcePorts>, source: &Given<Source>) {
    let source = match source {
        Given::Bad => return,
        Given::Absent => Source::default(),
        Given::Good(source) => *source,
    };
    let reason = match source {
        Source::Addresses(..) => return,
        Source::Masquerade => "the balancer's own address differs from node to node",
        Source::Auto | Source::Preserve => "clients keep their address and port",
    };
    if let Given::Good(SourcePorts::Keep) = ports {
        here.key("source_ports").error_at_key(Fault::new(
            format!("`source_ports: keep` cannot be used with `source: {source}`: {reason}"),
            "write an address that moves between the nodes as `source`, or remove `source_ports`",
        ));
    }
}

/// Checks that the source address has the IP version of all flows.
pub(super) fn check_version(
    here: &Here<'_>,
    listeners: &Elements<Listener>,
    backends: &Elements<Backend>,
    source: Source,
) {
    let Source::Addresses(first, ..) = source else { return };
    let ip = Ip::of(first);
    let listener = listeners
        .iter()
        .find(|listener| matches!(listener.address, Address::Exact(address) if Ip::of(address) != ip));
    let backend = backends.iter().find(|backend| Ip::of(backend.address) != ip);
    let other = listener.map(ToString::to_string).or_else(|| Some(backend?.name.to_string()));
    if let Some(other) = other {
        here.key("source").error(Fault::new(
            format!("source {source} and {other} have different IP versions"),
            "define one service per version",
        ));
    }
}
