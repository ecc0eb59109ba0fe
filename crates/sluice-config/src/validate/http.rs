//! Where the daemon listens itself.

use sluice_core::model::{Address, Http, Listener, Protocol};

use super::{Draft, Holder};
use crate::document;
use crate::endpoint::HttpAddress;
use crate::place::{Findings, Here};
use crate::problem::{Fault, quoted};
use crate::read::Given;

/// What is said of the listener for status page and metrics; a service that takes its connections is an error.
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
                // What clients on this machine send to a loopback address, no service takes.
                Address::Any => !ip.is_loopback(),
            }
    };
    let enabled = drafts.iter().filter(|draft| draft.policy.enabled);
    if let Some(holder) = enabled.flat_map(Draft::holders).find(|holder| takes(*holder.listener)) {
        let Holder { draft, listener, .. } = holder;
        let what = format!("{listen} is listener {listener} of service {}", quoted(&draft.key));
        let fix = "change the address or the port of one of them";
        here.key("listen").error_because_of(Fault::new(what, fix), holder.place(findings));
    }
    Some(Http { listen, accounting: http.accounting.unwrap_or_default() })
}
