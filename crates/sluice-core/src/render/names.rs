//! Names of our chains and sets. All begin with a letter and hold only what nft 1.0.6 reads as one
//! word; none is a keyword of nft.

use sluice_nft::{ChainName, Ip, SetName};

use super::entry::Entry;
use crate::model::{Address, HashOn, OnEmpty, Ports, Scheduler};

/// The verdict map of exact listeners.
pub(super) fn services(ip: Ip) -> SetName {
    format!("services{}", ip.digit()).into()
}

/// What postrouting masquerades by the constant rule.
pub(super) fn masquerade(ip: Ip) -> SetName {
    format!("masquerade{}", ip.digit()).into()
}

/// Whether it is that set, whatever its size.
pub(crate) fn is_masquerade(set: &SetName) -> bool {
    set.as_str().strip_prefix("masquerade").is_some_and(|rest| rest.starts_with(['4', '6']))
}

/// Where new flows of a service go that has no backend for them.
pub(super) fn no_backend(on_empty: OnEmpty) -> ChainName {
    match on_empty {
        OnEmpty::Reject | OnEmpty::UseAll => "no-backend",
        OnEmpty::Drop => "no-backend-drop",
    }
    .into()
}

/// Where packets of any pick chain go whose slot is not found.
pub(super) fn miss() -> ChainName {
    "miss".into()
}

/// Where postrouting looks for flows that the constant rule can't tell apart.
pub(crate) fn source() -> ChainName {
    "source".into()
}

/// Chain and map shared by all exact listeners of one scheduler with one number of slots.
pub(super) fn shared_pick(scheduler: Scheduler, ip: Ip, slots: usize) -> String {
    let kind = match scheduler {
        Scheduler::Maglev(HashOn::Address, _) => "maglev",
        Scheduler::Maglev(HashOn::AddressAndPort, _) => "maglev-port",
        Scheduler::RoundRobin | Scheduler::LeastConnections => "round-robin",
        Scheduler::Random => "random",
        Scheduler::SourceHash(HashOn::Address) => "hash",
        Scheduler::SourceHash(HashOn::AddressAndPort) => "hash-port",
    };
    format!("{kind}{}-{slots}", ip.digit())
}

/// Prefix of the chains that belong to one listener.
const PRIVATE: &str = "pick/";

/// Whether it is the pick chain of one listener.
pub(crate) fn is_private(chain: &ChainName) -> bool {
    chain.as_str().starts_with(PRIVATE)
}

/// Chain of one listener that cannot share: `pick/web/tcp/203.0.113.10/80`.
pub(super) fn private_pick(entry: &Entry<'_>) -> ChainName {
    format!("{PRIVATE}{}", path(entry)).into()
}

/// Chain and set of one listener at postrouting: `masquerade/web/tcp/any4/80`, `preserve/...`. What
/// differs in declaration differs in name, so that both can stand beside each other during a change.
pub(super) fn private_source(entry: &Entry<'_>, one_port: bool) -> String {
    let kind = if one_port { "" } else { "/addresses" };
    format!("{}/{}{kind}", entry.service.source.as_str(), path(entry))
}

fn path(entry: &Entry<'_>) -> String {
    let address = match entry.listener.address {
        Address::Any => format!("any{}", entry.ip.digit()),
        Address::Exact(address) => address.to_string().replace(':', "-"),
    };
    let ports = match entry.listener.ports {
        Ports::ALL => "any".to_owned(),
        ports => ports.to_string(),
    };
    format!("{}/{}/{address}/{ports}", entry.name, entry.listener.protocol)
}
