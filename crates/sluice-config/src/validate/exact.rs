//! What only listeners of one address and one port can have.

use std::net::IpAddr;

use sluice_core::model::{Address, Listener, Protocol, Service};

use super::Elements;
use crate::place::Here;
use crate::problem::Fault;

/// Checks it; `anywhere` says that no interface is named.
pub(super) fn check(here: &Here<'_>, listeners: &Elements<Listener>, anywhere: bool, policy: &Service) {
    let is_exact = |listener: &Listener| {
        matches!(listener.address, Address::Exact(_)) && listener.ports.as_single().is_some()
    };
    let inexact = listeners.iter().find(|listener| !anywhere || !is_exact(listener));
    let refuse = |key: &str, other: &Listener, instead: &str| {
        here.key(key).error_at_key(Fault::new(
            format!("`{key}` needs an address and a port, on any interface; {other} is something else"),
            format!("name each address and port, without `interface`, or {instead}"),
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
    if let Some(other) = listeners.iter().find(|listener| listener.protocol != Protocol::Tcp) {
        here.key("synproxy").error_at_key(Fault::new(
            format!("`synproxy` is for TCP; {other} is not"),
            "make a service of its own for it, without `synproxy`",
        ));
    } else if let Some(other) = inexact {
        refuse("synproxy", other, "remove `synproxy`");
    }
}

/// A client is remembered with the address that it asked for: listeners at another one would not know it.
fn check_one_address(here: &Here<'_>, listeners: &Elements<Listener>) {
    let mut first: [Option<(IpAddr, &Listener)>; 2] = [None, None];
    for listener in listeners.iter() {
        let Address::Exact(address) = listener.address else { continue };
        let (known, other) = *first[usize::from(address.is_ipv6())].get_or_insert((address, listener));
        if known != address {
            here.key("affinity").error_at_key(Fault::new(
                format!(
                    "`affinity` holds for the listeners at one address of each IP version; {other} and {listener} \
                     are at two"
                ),
                "make a service for each address, or use the scheduler source-hash",
            ));
            return;
        }
    }
}
