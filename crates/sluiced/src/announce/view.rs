//! [`AnnounceView`]: the state of announced addresses, for readers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use sluice_api::{AddressState, AnnounceStatus, AnnouncedAddress};
use sluice_core::model::{InterfaceName, Services};

use super::changes::{Order, Presence};
use super::claims::Claim;
use super::queue::Report;

/// The last order and its result. Cheap to create; readers do the rest.
#[derive(Clone, Debug)]
pub(crate) struct AnnounceView {
    pub(super) interface: InterfaceName,
    pub(super) ordered: Option<Arc<Order>>,
    pub(super) report: Arc<Report>,
    pub(super) error: Option<String>,
}

impl AnnounceView {
    /// The addresses of the services of the file.
    pub(crate) fn status(&self, services: &Services) -> AnnounceStatus {
        let mut addresses: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
        for (name, service) in services {
            for address in service.announced() {
                let names = addresses.entry(address).or_default();
                if names.last().is_none_or(|last| last != name.as_str()) {
                    names.push(name.to_string());
                }
            }
        }
        let status = |(address, services)| AnnouncedAddress { address, state: self.state(address), services };
        AnnounceStatus {
            interface: self.interface.to_string(),
            addresses: addresses.into_iter().map(status).collect(),
            error: self.error.clone(),
        }
    }

    fn state(&self, address: IpAddr) -> AddressState {
        let claim = self.ordered.as_ref().and_then(|order| order.claims.get(&address));
        match self.report.present.get(&address) {
            _ if self.report.failed.contains_key(&address) => AddressState::Failed,
            Some(Presence::Announced) => AddressState::Announced,
            Some(Presence::Foreign) => AddressState::Foreign,
            None if matches!(claim, Some(Claim::Keep | Claim::Announce)) => AddressState::Held,
            None => AddressState::Withdrawn,
        }
    }
}
