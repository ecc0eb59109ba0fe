//! Names of our chains and sets. All begin with a letter and hold only what nft 1.0.6 reads as one
//! word; none is a keyword of nft.

use std::net::IpAddr;

use sluice_nft::{ChainName, Ip, SetName};

use super::affinity::Remembered;
use super::entry::Entry;
use crate::model::{Address, HashOn, OnEmpty, Ports, Protocol, Reason, Scheduler, Source};

/// The verdict map of exact listeners.
pub(crate) fn services(ip: Ip) -> SetName {
    format!("services{}", ip.digit()).into()
}

/// The verdict map of exact listeners that adopt connections which conntrack does not know.
pub(super) fn adopted(ip: Ip) -> SetName {
    format!("adopted{}", ip.digit()).into()
}

/// Exact listeners that do not.
pub(super) fn ignored(ip: Ip) -> SetName {
    format!("ignored{}", ip.digit()).into()
}

/// Where packets of such connections are told apart.
pub(crate) fn midstream() -> ChainName {
    "midstream".into()
}

/// The verdict map behind the guards of exact listeners.
pub(super) fn guarded(ip: Ip) -> SetName {
    format!("guarded{}", ip.digit()).into()
}

/// The verdict map behind the one that remembers clients.
pub(super) fn unknown_clients(ip: Ip) -> SetName {
    format!("unknown-clients{}", ip.digit()).into()
}

/// A map that remembers clients.
pub(super) fn clients(ip: Ip, kind: Remembered) -> SetName {
    match kind {
        Remembered::AddressAndPort => format!("clients{}", ip.digit()),
        Remembered::Address => format!("client-addresses{}", ip.digit()),
    }
    .into()
}

/// Where clients of the affinity groups of this number are looked up: `affinity4/tcp/80`.
pub(super) fn affinity(ip: Ip, protocol: Protocol, number: u32, kinds: &[Remembered]) -> ChainName {
    let suffix = match kinds {
        [Remembered::Address] => "/address",
        [_] => "",
        _ => "/both",
    };
    format!("affinity{}/{protocol}/{number}{suffix}", ip.digit()).into()
}

/// The number of the affinity groups that a chain looks clients up for.
pub(super) fn affinity_number(chain: &ChainName) -> Option<u32> {
    let mut parts = chain.as_str().split('/');
    let (kind, _protocol) = (parts.next()?, parts.next()?);
    ["affinity4", "affinity6"].contains(&kind).then(|| parts.next())??.parse().ok()
}

/// Which chain learns of flows to a port.
pub(super) fn learn(protocol: Protocol) -> SetName {
    format!("learn-{protocol}").into()
}

/// Where flows to a port are learnt.
pub(super) fn learn_port(protocol: Protocol, port: u16) -> ChainName {
    format!("learn/{protocol}/{port}").into()
}

/// Translations that are learnt, of flows to a port, for affinity groups of a number, for so many seconds.
pub(super) fn bound(
    ip: Ip,
    protocol: Protocol,
    port: u16,
    number: u32,
    timeout: u32,
    kind: Remembered,
) -> SetName {
    let suffix = if kind == Remembered::Address { "/address" } else { "" };
    format!("bound{}/{protocol}/{port}/{number}/{timeout}s{suffix}", ip.digit()).into()
}

/// Where SYNs to listeners go that the host answers itself.
pub(crate) fn syns(ip: Ip) -> SetName {
    format!("syns{}", ip.digit()).into()
}

/// Listeners whose handshakes the host answers.
pub(super) fn proxied(ip: Ip) -> SetName {
    format!("proxied{}", ip.digit()).into()
}

/// Where it answers them.
pub(super) fn handshake() -> ChainName {
    "handshake".into()
}

/// Invalid packets to exact listeners.
pub(super) fn invalid_requests(ip: Ip) -> SetName {
    format!("invalid-requests{}", ip.digit()).into()
}

/// Invalid packets of backends.
pub(super) fn invalid_replies(ip: Ip) -> SetName {
    format!("invalid-replies{}", ip.digit()).into()
}

/// Where invalid packets go.
pub(super) fn invalid() -> ChainName {
    "invalid".into()
}

/// Where those to one listener go that is not exact.
pub(super) fn private_invalid(entry: &Entry<'_>) -> ChainName {
    format!("invalid/{}", path(entry)).into()
}

/// Whether rules look into a set that are not of one listener.
pub(crate) fn is_constant(set: &SetName) -> bool {
    const KINDS: [&str; 9] = [
        "masquerade",
        "auto",
        "preserve",
        "snat",
        "bound",
        "invalid-requests",
        "invalid-replies",
        "proxied",
        "ignored",
    ];
    KINDS.iter().any(|kind| set.as_str().strip_prefix(kind).is_some_and(|rest| rest.starts_with(['4', '6'])))
}

/// What of postrouting a constant rule gives this source: `masquerade4`, `snat4/10.0.2.1`.
pub(crate) fn source_of(source: Source, ip: Ip) -> SetName {
    match source {
        Source::Masquerade | Source::Auto | Source::Preserve => format!("{source}{}", ip.digit()),
        Source::Addresses(..) => format!("snat{}/{}", ip.digit(), word(source)),
    }
    .into()
}

/// Whether it is one of those sets, whatever its size.
pub(crate) fn is_source(set: &SetName) -> bool {
    ["masquerade", "auto", "preserve", "snat"]
        .iter()
        .any(|kind| set.as_str().strip_prefix(kind).is_some_and(|rest| rest.starts_with(['4', '6'])))
}

/// Networks by the interface that leads there.
pub(super) fn on_link(ip: Ip) -> SetName {
    format!("on-link{}", ip.digit()).into()
}

/// Each interface beside itself.
pub(super) fn same_interface() -> SetName {
    "same-interface".into()
}

/// A source without what nft takes for something else.
fn word(source: Source) -> String {
    source.to_string().replace('-', "..").replace(':', "-")
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
    let source = match entry.service.source {
        source @ Source::Addresses(..) => format!("snat/{}", word(source)),
        source => source.to_string(),
    };
    format!("{source}/{}{kind}", path(entry))
}

/// Guard of one listener that cannot share: `guard/web/tcp/any4/80`.
pub(super) fn private_guard(entry: &Entry<'_>) -> ChainName {
    format!("guard/{}", path(entry)).into()
}

/// First part of the names of sets of clients that are denied.
pub(super) const DENY: &str = "deny";

/// First part of the names of sets that count packets which a guard drops for another reason.
pub(super) const DROPPED: &str = "dropped";

/// Why packets end here that an element of this set counts: `deny4-24`, `dropped4-client-rate`,
/// `dropped-client-rate/web/tcp/any4/80`. `None`: it does not count what is dropped.
pub(crate) fn reason_of(set: &SetName) -> Option<Reason> {
    // Behind the first slash are names that somebody else has chosen.
    let kind = set.as_str().split('/').next()?;
    // The IP version, prefix lengths and sizes are all that may follow a word.
    let is = |text: &str, word: &str| {
        text.strip_prefix(word).is_some_and(|rest| !rest.contains(|c: char| c.is_ascii_alphabetic()))
    };
    if is(kind, DENY) {
        return Some(Reason::Denied);
    }
    if ["invalid", "invalid-requests", "invalid-replies"].iter().any(|word| is(kind, word)) {
        return Some(Reason::Invalid);
    }
    let counted =
        kind.strip_prefix(DROPPED)?.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix('-')?;
    Reason::ALL.into_iter().find(|reason| is(counted, reason.as_str()))
}

/// What tells the sets and chains of one listener from those of others: `web/tcp/any4/80`.
pub(super) fn path(entry: &Entry<'_>) -> String {
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

/// The listener that a chain of its own belongs to, which [`path`] put into its name: `pick/web/tcp/any4/80`.
pub(crate) fn listener_of(chain: &ChainName) -> Option<(Protocol, Ip, Address, Ports)> {
    let path = ["pick/", "guard/"].iter().find_map(|kind| chain.as_str().strip_prefix(kind))?;
    let mut words = path.rsplit('/');
    let (ports, address, protocol) = (words.next()?, words.next()?, words.next()?);
    let protocol = Protocol::from_name(protocol)?;
    let (ip, address) = match address {
        "any4" => (Ip::V4, Address::Any),
        "any6" => (Ip::V6, Address::Any),
        address => {
            let address: IpAddr = address.replace('-', ":").parse().ok()?;
            (Ip::of(address), Address::Exact(address))
        }
    };
    let ports = match ports.split_once('-') {
        _ if ports == "any" => Ports::ALL,
        Some((first, last)) => Ports { first: first.parse().ok()?, last: last.parse().ok()? },
        None => Ports::single(ports.parse().ok()?),
    };
    Some((protocol, ip, address, ports))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_is_told_by_the_kind_of_a_set_and_not_by_names_of_services() {
        for (set, reason) in [
            ("deny4", Some(Reason::Denied)),
            ("deny6-64-4096", Some(Reason::Denied)),
            ("deny-24/client-rate/tcp/any4/80", Some(Reason::Denied)),
            ("dropped4-client-rate", Some(Reason::ClientRate)),
            ("dropped4-client-connections-4096", Some(Reason::ClientConnections)),
            ("dropped-rate/client-rate/tcp/any4/80", Some(Reason::Rate)),
            ("dropped-clients-full/denied/tcp/any4/80", Some(Reason::ClientsFull)),
            ("dropped6-not-allowed", Some(Reason::NotAllowed)),
            ("invalid-requests4", Some(Reason::Invalid)),
            ("invalid/web/tcp/any4/80", Some(Reason::Invalid)),
            ("rate4-10-second-5/dropped-rate", None),
            ("allow4-24", None),
            ("services4", None),
        ] {
            assert_eq!(reason_of(&set.into()), reason, "{set}");
        }
    }
}
