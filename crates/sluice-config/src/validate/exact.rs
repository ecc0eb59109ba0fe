//! Keys that require exact listeners: one address, one port, no interface.

use std::net::IpAddr;

use sluice_core::model::{Address, Listener, Service};

use super::Elements;
use crate::problem::Fault;
use crate::yaml_path::Here;

/// Checks `affinity` and `synproxy`; `anywhere` is true without an interface.
pub(super) fn check(here: &Here<'_>, listeners: &Elements<Listener>, anywhere: bool, policy: &Service) {
    let is_exact = |listener: &Listener| {
        matches!(listener.address, Address::Exact(_)) && listener.ports.as_single().is_some()
    };
    let inexact = listeners.iter().find(|listener| !anywhere || !is_exact(listener));
    let refuse = |key: &str, other: &Listener, instead: &str| {
        here.key(key).error_at_key(Fault::new(
            format!(
                "`{key}` requires listeners with one address, one port and no `interface`; {other} is not one"
            ),
            format!("write one listener per address and port, without `interface`, or {instead}"),
        ));
    };
    match (policy.affinity, inexact) {
        (Some(_), Some(other)) => refuse("affinity", other, "use the scheduler source-hash"),
        (Some(_), None) => check_one_address(here, listeners),
        (None, _) => {}
    }
    if !policy.synproxy {
        return;
    }
    if let Some(other) = listeners.iter().find(|listener| !listener.protocol.has_synproxy()) {
        here.key("synproxy").error_at_key(Fault::new(
            format!("`synproxy` requires TCP; {other} is not TCP"),
            "move it to a service without `synproxy`",
        ));
    } else if let Some(other) = inexact {
        refuse("synproxy", other, "remove `synproxy`");
    }
}

/// Affinity maps are keyed by client and destination address, so a service has one address per IP version.
fn check_one_address(here: &Here<'_>, listeners: &Elements<Listener>) {
    let mut first: [Option<(IpAddr, &Listener)>; 2] = [None, None];
    for listener in listeners.iter() {
        let Address::Exact(address) = listener.address else { continue };
        let (known, other) = *first[usize::from(address.is_ipv6())].get_or_insert((address, listener));
        if known != address {
            here.key("affinity").error_at_key(Fault::new(
                format!(
                    "`affinity` requires listeners with one address per IP version; {other} and {listener} have different \
                     addresses"
                ),
                "make a service for each address, or use the scheduler source-hash",
            ));
            return;
        }
    }
}
