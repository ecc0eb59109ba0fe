//! Listeners that take the port by which this machine itself is administered.

use sluice_core::model::{Address, Protocol};

use super::Draft;
use crate::place::Findings;
use crate::problem::Fault;

/// The port of SSH.
const SSH: u16 = 22;

/// Warns of enabled listeners that take SSH connections to this machine, or may. One that names an address and port 22
/// alone is meant so.
pub(super) fn check(findings: &Findings, drafts: &[Draft]) {
    for holder in drafts.iter().filter(|draft| draft.policy.enabled).flat_map(Draft::holders) {
        let listener = holder.listener;
        let takes = (listener.ports.first..=listener.ports.last).contains(&SSH);
        if listener.protocol != Protocol::Tcp || !takes {
            continue;
        }
        let fault = match listener.address {
            Address::Any => Fault::new(
                format!("{listener} takes SSH connections to this machine itself: you lock yourself out"),
                "leave out port 22, or name the address of the service",
            ),
            Address::Exact(_) if listener.ports.as_single().is_some() => continue,
            Address::Exact(address) => Fault::new(
                format!(
                    "{listener} takes port 22, too: if you reach this machine at {address}, you lock yourself out"
                ),
                "leave out port 22, as with `1-21` and `23-65535`",
            ),
        };
        holder.at(findings, |here| here.warning(fault));
    }
}
