//! SYN proxy: the host completes the handshake before it keeps state for a client. A SYN is not tracked and
//! is answered with a cookie. If the client returns the cookie, the host opens the connection in the client's
//! name.
//!
//! A verdict map matches the SYN before conntrack, and `input` or `forward` answers it, depending on the
//! destination. The host's own SYN passes `output`, the guard and the pick chain like a SYN of a local
//! client. docs/adr/0015-synproxy.md explains why.

use sluice_nft::{Data, Ip, Set};

use super::fragment::Draft;
use super::frontend::Frontend;
use super::names::SetId;
use super::{dispatch, guard};

/// Whether the host answers handshakes for a listener: only if it has eligible backends, because a refused
/// connection is better for a client than an accepted one that cannot be forwarded.
pub(super) fn answers(frontend: &Frontend<'_>) -> bool {
    frontend.service.synproxy
        && frontend.listener.protocol.has_synproxy()
        && frontend.exact().is_some()
        && !frontend.backends.is_empty()
}

/// Renders the set elements for SYNs and ACKs of a listener.
pub(super) fn render(draft: &mut Draft<'_, '_>, frontend: &Frontend<'_>) {
    let Some(listener) = frontend.exact_key().filter(|_| answers(frontend)) else { return };
    let chain = guard::before_handshake(draft, frontend);
    let key = || dispatch::key(frontend.ip);
    draft.fill(SetId::Syns(frontend.ip), || Set::verdicts(key()), [(listener, Data::Goto(chain))]);
    draft.fill(SetId::Proxied(frontend.ip), || Set::plain(key()), [(listener, Data::None)]);
}

/// The maximum segment size that fits an Ethernet frame.
pub(super) fn mss(ip: Ip) -> u16 {
    match ip {
        Ip::V4 => 1460,
        Ip::V6 => 1440,
    }
}
