//! [`Order::changes`]: the difference between claimed addresses and those of the host. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sluice_core::model::InterfaceName;
use sluice_netlink::HostAddress;

use super::claims::Claim;

/// The claims on the addresses of all announced services. Other addresses of ours are withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) interface: InterfaceName,
    pub(crate) claims: BTreeMap<IpAddr, Claim>,
}

/// Who put an address on the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Presence {
    /// Somebody else, so it is left alone.
    Foreign,
    /// A sluice daemon.
    Announced,
}

/// What to do, and what is there before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) add: Vec<IpAddr>,
    /// Interfaces and addresses; all are ours.
    pub(super) delete: Vec<(String, IpAddr)>,
    /// Addresses of announced services that the interface has.
    pub(super) present: BTreeMap<IpAddr, Presence>,
}

impl Order {
    /// The changes to the listed addresses of this host. Addresses that others added are never deleted, and count as present.
    pub(super) fn changes(&self, listed: &[HostAddress]) -> Changes {
        let mut changes = Changes::default();
        for HostAddress { interface, address, is_ours } in listed {
            let claim = self.claims.get(address).filter(|_| interface == self.interface.as_str());
            let stays = !is_ours || matches!(claim, Some(Claim::Keep | Claim::Announce));
            if !stays {
                changes.delete.push((interface.clone(), *address));
            } else if claim.is_some() {
                let presence = if *is_ours { Presence::Announced } else { Presence::Foreign };
                let strongest = changes.present.entry(*address).or_insert(presence);
                *strongest = presence.max(*strongest);
            }
        }
        let wanted = self.claims.iter().filter(|(_, claim)| **claim == Claim::Announce);
        let missing = wanted.map(|(address, _)| *address).filter(|it| !changes.present.contains_key(it));
        changes.add = missing.collect();
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    fn order(claims: &[(u8, Claim)]) -> Order {
        let claims = claims.iter().map(|(last, claim)| (address(*last), *claim)).collect();
        Order { interface: InterfaceName::new("lo").unwrap(), claims }
    }

    fn listed(all: &[(&str, u8, bool)]) -> Vec<HostAddress> {
        let each = all.iter().map(|(interface, last, is_ours)| HostAddress {
            interface: (*interface).to_owned(),
            address: address(*last),
            is_ours: *is_ours,
        });
        each.collect()
    }

    #[test]
    fn claimed_addresses_are_added_kept_and_deleted() {
        use Claim::{Announce, Keep, Withdraw};
        let there = listed(&[("lo", 1, true), ("lo", 2, true), ("lo", 3, true), ("lo", 6, true)]);
        let changes =
            order(&[(1, Announce), (2, Keep), (4, Announce), (5, Keep), (6, Withdraw)]).changes(&there);
        assert_eq!(changes.add, [address(4)]);
        assert_eq!(changes.delete, [3, 6].map(|last| ("lo".to_owned(), address(last))));
        assert_eq!(changes.present.into_keys().collect::<Vec<_>>(), [address(1), address(2)]);
    }

    #[test]
    fn address_of_somebody_else_counts_as_present_and_is_never_deleted() {
        let there = listed(&[("lo", 1, false), ("lo", 2, false), ("lo", 3, false), ("eth0", 1, false)]);
        let changes = order(&[(1, Claim::Announce), (2, Claim::Withdraw)]).changes(&there);
        let present = [(address(1), Presence::Foreign), (address(2), Presence::Foreign)].into();
        assert_eq!(changes, Changes { present, ..Changes::default() });
        // Two prefixes of one address.
        let changes = order(&[(1, Claim::Announce)]).changes(&listed(&[("lo", 1, true), ("lo", 1, false)]));
        assert_eq!(changes.present, [(address(1), Presence::Announced)].into());
    }

    #[test]
    fn address_on_the_interface_of_an_earlier_file_moves() {
        let changes = order(&[(1, Claim::Announce)]).changes(&listed(&[("dummy0", 1, true)]));
        assert_eq!(
            (changes.add, changes.delete),
            (vec![address(1)], vec![("dummy0".to_owned(), address(1))])
        );
    }
}
