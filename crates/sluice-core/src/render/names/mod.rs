//! Typed names of sets and chains: [`SetId`] and [`ChainId`].
//!
//! `Display` writes the name in the kernel, `parse` reads it. All names begin with a letter, consist of
//! characters that nft 1.0.6 reads as one word, and are no keywords of nft.

mod grammar;

use std::sync::Arc;

use sluice_nft::{Base, ChainName, Ip, SetName};

use self::grammar::{Word, literal, names, optional};
use super::affinity::Remembered;
use super::layout::MapShape;
use crate::model::{DropReason, Listener, Protocol, ServiceName, Source};

/// The identity of a frontend: one listener of one service for one IP version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrontendId {
    /// The service.
    pub service: ServiceName,
    /// One of its listeners.
    pub listener: Listener,
    /// IP version.
    pub ip: Ip,
}

/// Slot expressions without a counter, so that listeners can share a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PickBy {
    /// A random number.
    Random,
    /// A hash of the client's address.
    Hash,
    /// A hash of the client's address and port.
    HashWithPort,
    /// A hash of the client's address, in a Maglev table.
    Maglev,
    /// A hash of the client's address and port, in a Maglev table.
    MaglevWithPort,
}

/// Lists of clients in a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Allowed clients.
    Allow,
    /// Denied clients.
    Deny,
}

names! {
    /// A set or map of the table, independent of its size.
    SetId => SetName {
        /// The verdict map of exact listeners.
        Services(ip: Ip) = ["services" ip],
        /// The verdict map of exact listeners that adopt midstream connections.
        Adopted(ip: Ip) = ["adopted" ip],
        /// Exact TCP listeners that ignore midstream packets.
        Ignored(ip: Ip) = ["ignored" ip],
        /// The map from backends to the listener in whose name they answer.
        Answers(ip: Ip) = ["answers" ip],
        /// Backends whose answers are dropped until the client has sent.
        EarlyAnswers(source: (Source, Ip)) = ["early-" source],
        /// The verdict map after the guards of exact listeners.
        Guarded(ip: Ip) = ["guarded" ip],
        /// The verdict map after the lookup of known clients.
        UnknownClients(ip: Ip) = ["unknown-clients" ip],
        /// The verdict map of listeners with synproxy, before conntrack.
        Syns(ip: Ip) = ["syns" ip],
        /// Listeners with synproxy, after conntrack.
        Proxied(ip: Ip) = ["proxied" ip],
        /// Exact listeners that drop invalid packets.
        InvalidRequests(ip: Ip) = ["invalid-requests" ip],
        /// Backends whose invalid packets are dropped.
        InvalidReplies(ip: Ip) = ["invalid-replies" ip],
        /// The counter of invalid packets of one listener that is not exact.
        Invalid(frontend: FrontendId) = ["invalid/" frontend],
        /// Networks by interface.
        OnLink(ip: Ip) = ["on-link" ip],
        /// Pairs of the same interface.
        SameInterface = ["same-interface"],
        /// The map from clients to their backends.
        Clients(kind: Remembered, ip: Ip) = [kind ip],
        /// Translations of flows to a port, for affinity groups with this number and this timeout in seconds;
        /// `addresses`: the client map holds addresses without ports.
        Bound(ip: Ip, protocol: Protocol, port: u16, number: u32, timeout: u32, addresses: bool) =
            ["bound" ip "/" protocol "/" port "/" number "/" timeout "s" {"/address" addresses}],
        /// The verdict map from ports to the chains that fill client maps.
        Learn(protocol: Protocol) = ["learn-" protocol],
        /// The set that the constant postrouting rule of a source looks up.
        Source(source: (Source, Ip)) = [source],
        /// Backends of one listener that the constant rules cannot distinguish; `addresses`: the elements
        /// have no port.
        OwnSource(source: Source, frontend: FrontendId, addresses: bool) =
            [source "/" frontend {"/addresses" addresses}],
        /// Slots of all exact listeners with the same scheduler and slot count.
        Slots(by: PickBy, ip: Ip, slots: u32) = [by ip "-" slots],
        /// A map of stripes, for listeners with a pick chain of their own.
        Stripes(shape: MapShape, ip: Ip, number: u32) = [shape ip "-" number],
        /// Networks of clients of one prefix length or of all lengths, for exact listeners or for one other
        /// listener.
        Networks(access: Access, ip: Option<Ip>, length: Option<u8>, own: Option<FrontendId>) =
            [access ["" ip] ["-" length] ["/" own]],
        /// The counter of packets that a guard drops for a reason.
        Dropped(ip: Option<Ip>, reason: DropReason, own: Option<FrontendId>) = ["dropped" ["" ip] "-" reason ["/" own]],
        /// The dynamic set of a limit: for exact listeners, for one other listener, or for all listeners of a
        /// service.
        Limit(reason: DropReason, ip: Option<Ip>, limit: Arc<str>, own: Option<FrontendId>, all: Option<ServiceName>) =
            [reason ["" ip] "-" limit ["/" own] ["/" all]],
    }
}

names! {
    /// A chain of the table.
    ChainId => ChainName {
        /// The pick chain of one listener.
        Pick(frontend: FrontendId) = ["pick/" frontend],
        /// The pick chain of all exact listeners with the same scheduler and slot count.
        SharedPick(by: PickBy, ip: Ip, slots: u32) = [by ip "-" slots],
        /// A base chain.
        Base(base: Base) = [base],
        /// Distinguishes listeners that adopt midstream connections from those that ignore them.
        Midstream = ["midstream"],
        /// Translates or drops answers after translation.
        Answers = ["answers"],
        /// Drops answers before translation.
        EarlyAnswers = ["early-answers"],
        /// Answers SYNs.
        Handshake = ["handshake"],
        /// Drops invalid packets to listeners and from backends.
        Invalid = ["invalid"],
        /// Listeners whose flows the constant postrouting rules cannot distinguish.
        Source = ["source"],
        /// Drops packets whose slot is not found.
        Miss = ["miss"],
        /// Answers new flows without an eligible backend; `drop`: without an answer.
        NoBackend(drop: bool) = ["no-backend" {"-drop" drop}],
        /// The guard of all exact listeners with the same checks.
        SharedGuard(ip: Ip, checks: Vec<Arc<str>>) = ["guard" ip "/" checks],
        /// The guard of one listener.
        Guard(frontend: FrontendId) = ["guard/" frontend],
        /// The checks before the host answers a SYN.
        Syn(ip: Ip, checks: Option<Vec<Arc<str>>>) = ["syn" ip ["/" checks]],
        /// Drops invalid packets to one listener.
        OwnInvalid(frontend: FrontendId) = ["invalid/" frontend],
        /// The source of flows of one listener, by addresses of its backends alone or with their ports.
        OwnSource(source: Source, frontend: FrontendId, addresses: bool) =
            [source "/" frontend {"/addresses" addresses}],
        /// The lookup of known clients of the affinity groups with this number, in these maps.
        Affinity(ip: Ip, protocol: Protocol, number: u32, kinds: Vec<Remembered>) =
            ["affinity" ip "/" protocol "/" number kinds],
        /// Fills client maps from flows to a port.
        LearnPort(protocol: Protocol, port: u16) = ["learn/" protocol "/" port],
    }
}

/// Separates the name of a set from its size.
const SEPARATOR: char = '_';

impl SetId {
    /// The name of a set with a size other than the smallest.
    pub(super) fn sized(&self, size: u32) -> SetName {
        format!("{self}{SEPARATOR}{size}").into()
    }

    /// Parses a name, whatever the size in it; `None`: the name is foreign. Except for limits, which have no
    /// size in their names, no name without a size ends like a name with one.
    pub fn parse(name: &SetName) -> Option<Self> {
        let without_size = || {
            let (text, size) = name.as_str().rsplit_once(SEPARATOR)?;
            size.parse::<u32>().ok().and_then(|_| Self::read(text))
        };
        Self::read(name.as_str()).or_else(without_size)
    }

    /// The reason for which packets are dropped that an element of this set counts; `None`: it does not count
    /// dropped packets.
    pub fn reason(&self) -> Option<DropReason> {
        self.facts().0
    }

    /// Whether several frontends may have the same element.
    pub(super) fn has_common_elements(&self) -> bool {
        self.facts().1
    }

    /// Whether packets reach this verdict map only through another verdict map.
    pub(crate) fn is_behind_a_map(&self) -> bool {
        self.facts().2
    }

    fn facts(&self) -> (Option<DropReason>, bool, bool) {
        use SetId::*;
        match self {
            Adopted(_) | Guarded(_) | UnknownClients(_) => (None, false, true),
            Learn(_) | Source(_) | EarlyAnswers(_) | OnLink(_) | SameInterface => (None, true, false),
            InvalidReplies(_) => (Some(DropReason::Invalid), true, false),
            InvalidRequests(_) | Invalid(_) => (Some(DropReason::Invalid), false, false),
            Networks(Access::Deny, ..) => (Some(DropReason::Denied), false, false),
            Dropped(_, reason, _) => (Some(*reason), false, false),
            Services(_) | Ignored(_) | Answers(_) | Syns(_) | Proxied(_) | Clients(..) | Bound(..)
            | OwnSource(..) | Slots(..) | Stripes(..) | Networks(..) | Limit(..) => (None, false, false),
        }
    }
}

impl Access {
    pub(super) fn word(self) -> &'static str {
        match self {
            Access::Allow => "allow",
            Access::Deny => "deny",
        }
    }
}

impl ChainId {
    /// Parses a name; `None`: the name is foreign.
    pub fn parse(name: &ChainName) -> Option<Self> {
        Self::read(name.as_str())
    }

    /// The listener of the chain, if no other leads to it and its destination is not yet translated.
    pub fn listener(&self) -> Option<&FrontendId> {
        self.facts().0
    }

    /// Whether packets traverse the chain after translation of their destination. For base chains, this
    /// follows from the hook.
    pub(crate) fn is_behind_translation(&self) -> bool {
        self.facts().1
    }

    fn facts(&self) -> (Option<&FrontendId>, bool) {
        use ChainId::*;
        match self {
            Pick(frontend) | Guard(frontend) => (Some(frontend), false),
            Source | OwnSource(..) | LearnPort(..) | Handshake | Answers => (None, true),
            Base(_) | Midstream | EarlyAnswers | Invalid | OwnInvalid(_) | Syn(..) | SharedPick(..)
            | SharedGuard(..) | Affinity(..) | Miss | NoBackend(_) => (None, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DropReason;

    #[test]
    fn names_of_sets_are_read_back_whatever_their_size() {
        let words = "services4 invalid/web/tcp/2001-db8--1/80 client-addresses6 bound4/tcp/443/80/600s/address learn-udp \
            snat6/2001-db8--1..2001-db8--8 preserve4 snat/10.0.2.1/web/tcp/any4/any/addresses same-interface ports4-7 \
            masquerade/web_1/tcp/any6/80-90 hash-port4-2 maglev6-1021 deny4 allow-24/web/tcp/any4/80 clients4 \
            answers6 early-preserve4 early-snat-keep4/10.0.2.1..10.0.2.8 dropped6-not-allowed dropped-rate/client-rate/tcp/any4/80 rate4-10-second-5 rate-10-second-5/dropped-rate \
            client-rate4-10-second-5-9/web_4096 client-connections-9-9/web/tcp/any4/80";
        for text in words.split_whitespace() {
            let id = SetId::parse(&text.into()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(id.to_string(), text);
            if !matches!(id, SetId::Limit(..)) {
                assert_eq!(SetId::parse(&id.sized(4096)), Some(id));
            }
        }
        for foreign in "services services5 services4/1 web slots4 deny4-x services4_big".split(' ') {
            assert_eq!(SetId::parse(&foreign.into()), None, "{foreign}");
        }
    }

    #[test]
    fn names_of_chains_are_read_back() {
        let words = "prerouting guard syn syn4 syn6/deny-24 learn learn/tcp/80 no-backend-drop pick/web/tcp/any4/80 source \
            guard/web/udp/203.0.113.10/any guard4/deny-32/rate-1-day-2 invalid invalid/web/tcp/any6/80 random4-3 \
            auto/web/tcp/any4/80 affinity4/tcp/65616/both answers early-answers";
        for text in words.split_whitespace() {
            assert_eq!(ChainId::parse(&text.into()).map(|id| id.to_string()).as_deref(), Some(text));
        }
        for foreign in "preroutings pick/web affinity4/tcp guard4 learn/tcp/x".split(' ') {
            assert_eq!(ChainId::parse(&foreign.into()), None, "{foreign}");
        }
    }

    #[test]
    fn reason_follows_from_the_kind_of_a_set_and_not_from_names_of_services() {
        for (set, reason) in [
            ("deny4", Some(DropReason::Denied)),
            ("deny-24/client-rate/tcp/any4/80", Some(DropReason::Denied)),
            ("dropped4-client-rate", Some(DropReason::ClientRate)),
            ("dropped-rate/client-rate/tcp/any4/80", Some(DropReason::Rate)),
            ("invalid-requests4", Some(DropReason::Invalid)),
            ("rate4-10-second-5/dropped-rate", None),
            ("allow4-24", None),
        ] {
            assert_eq!(SetId::parse(&set.into()).and_then(|id| id.reason()), reason, "{set}");
        }
    }
}
