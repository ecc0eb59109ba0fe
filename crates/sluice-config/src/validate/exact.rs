//! What only listeners of one address and one port can have.

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
    if let (Some(_), Some(other)) = (policy.affinity, inexact) {
        refuse("affinity", other, "use the scheduler source-hash");
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
