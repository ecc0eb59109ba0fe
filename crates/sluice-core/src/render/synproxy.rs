//! Handshakes that the host completes before it keeps anything of a client: a SYN is not tracked and answered with a
//! cookie, and only a client that returns it gets a connection, which the host opens in its name.
//!
//! The SYN is picked out before conntrack, by a verdict map, and answered at input or forward, depending on whose address
//! it is for. The host's own SYN goes through `output`, like that of a local client, to the guard and a backend.
//! docs/adr/0015-synproxy.md explains why.

use sluice_nft::{Data, Ip, Set};

use super::fragment::Draft;
use super::frontend::Frontend;
use super::names::SetId;
use super::{dispatch, guard};

/// Whether the host answers handshakes for a listener: only while somebody serves, for a client is better off with a
/// refusal than with a connection that leads nowhere.
pub(super) fn answers(frontend: &Frontend<'_>) -> bool {
    frontend.service.synproxy
        && frontend.listener.protocol.has_synproxy()
        && frontend.exact().is_some()
        && !frontend.backends.is_empty()
}

/// Adds a listener to what SYNs and their answers are looked up in.
pub(super) fn render(draft: &mut Draft<'_, '_>, frontend: &Frontend<'_>) {
    let Some(listener) = frontend.exact_key().filter(|_| answers(frontend)) else { return };
    let chain = guard::before_handshake(draft, frontend);
    let key = || dispatch::key(frontend.ip);
    draft.fill(SetId::Syns(frontend.ip), || Set::verdicts(key()), [(listener, Data::Goto(chain))]);
    draft.fill(SetId::Proxied(frontend.ip), || Set::plain(key()), [(listener, Data::None)]);
}

/// What an Ethernet frame has room for.
pub(super) fn mss(ip: Ip) -> u16 {
    match ip {
        Ip::V4 => 1460,
        Ip::V6 => 1440,
    }
}
