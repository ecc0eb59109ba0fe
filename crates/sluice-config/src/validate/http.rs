//! The key `http`.

use sluice_core::model::{Address, Http, Listener, Protocol};

use super::{Draft, DraftListener};
use crate::document;
use crate::endpoint::HttpAddress;
use crate::problem::{Fault, quoted};
use crate::read::Given;
use crate::yaml_path::{Findings, Here};

/// The HTTP listener; it is an error if a service takes its connections.
pub(super) fn http(
    here: &Here<'_>,
    findings: &Findings,
    http: document::Http,
    drafts: &[Draft],
) -> Option<Http> {
    let listen = match http.listen {
        Given::Good(HttpAddress(listen)) => listen,
        Given::Bad => return None,
        Given::Absent => {
            here.error(Fault::new("`http` has no `listen`", "add one, such as `listen: 127.0.0.1:9180`"));
            return None;
        }
    };
    let takes = |Listener { address, ports, protocol }: Listener| {
        let (ip, any) = (listen.ip(), listen.ip().is_unspecified());
        protocol == Protocol::Tcp
            && (ports.first..=ports.last).contains(&listen.port())
            && match address {
                Address::Exact(address) => address == ip || any && address.is_ipv4() == ip.is_ipv4(),
                // Services do not take packets to loopback addresses.
                Address::Any => !ip.is_loopback(),
            }
    };
    let enabled = drafts.iter().filter(|draft| draft.policy.enabled);
    if let Some(found) = enabled.flat_map(Draft::draft_listeners).find(|found| takes(*found.listener)) {
        let DraftListener { draft, listener, .. } = found;
        let what =
            format!("{listen} is already taken by listener {listener} of service {}", quoted(&draft.key));
        let fix = "change the address or the port of one of them";
        here.key("listen").error_because_of(Fault::new(what, fix), found.path(findings));
    }
    Some(Http { listen, accounting: http.accounting.unwrap_or_default() })
}
