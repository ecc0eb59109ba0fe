//! Listeners that take SSH connections to this host.

use sluice_core::model::{Address, Protocol};

use super::Draft;
use crate::problem::Fault;
use crate::yaml_path::Findings;

/// The port of SSH.
const SSH: u16 = 22;

/// Warns about enabled listeners that take SSH connections to this host, or may take them. A listener with an address
/// and port 22 alone is intended.
pub(super) fn check(findings: &Findings, drafts: &[Draft]) {
    for found in drafts.iter().filter(|draft| draft.policy.enabled).flat_map(Draft::draft_listeners) {
        let listener = found.listener;
        let takes = (listener.ports.first..=listener.ports.last).contains(&SSH);
        if listener.protocol != Protocol::Tcp || !takes {
            continue;
        }
        let fault = match listener.address {
            Address::Any => Fault::new(
                format!("{listener} takes SSH connections to this host: you lock yourself out"),
                "exclude port 22, or write the address of the service",
            ),
            Address::Exact(_) if listener.ports.as_single().is_some() => continue,
            Address::Exact(address) => Fault::new(
                format!(
                    "{listener} includes port 22: you lock yourself out if you reach this host at {address}"
                ),
                "exclude port 22, for example with `1-21` and `23-65535`",
            ),
        };
        found.at(findings, |here| here.warning(fault));
    }
}
