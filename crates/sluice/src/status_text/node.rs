//! Lines of the summary about the node: whether it has left, and its announced addresses.

use sluice_api::{AddressState, AnnounceStatus, NodeLeft, Status};

use super::Look;
use crate::text::{Paint, age, safe, user};

/// Number of addresses on a line.
const LISTED: usize = 4;

/// The lines; none if the node has not left and announces no addresses.
pub(super) fn lines(status: &Status, look: Look<'_>) -> Vec<String> {
    let left = status.node.left.as_ref().map(|left| has_left(left, look));
    left.into_iter().chain(addresses(&status.announce, look)).collect()
}

fn has_left(NodeLeft { uid, since, reason }: &NodeLeft, Look { now, colour, .. }: Look<'_>) -> String {
    let left = Paint::Bad.on("has left", colour);
    let why = reason.as_ref().map(|reason| format!(": {}", safe(reason))).unwrap_or_default();
    format!("node    {left}, by {}, {} ago{why}", user(*uid), age(now, *since))
}

fn addresses(announce: &AnnounceStatus, Look { colour, .. }: Look<'_>) -> Vec<String> {
    let mut lines = vec![];
    for state in AddressState::ALL {
        let of = announce.addresses.iter().filter(|it| it.state == state);
        let all: Vec<String> = of.map(|it| it.address.to_string()).collect();
        if all.is_empty() {
            continue;
        }
        let heading = if lines.is_empty() { "address" } else { "" };
        let more = match all.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let listed = all.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
        let word = match state {
            AddressState::Announced => Paint::Good.on("announced", colour),
            AddressState::Foreign => "foreign".to_owned(),
            AddressState::Held => Paint::Dim.on("held", colour),
            AddressState::Withdrawn => Paint::Bad.on("withdrawn", colour),
            AddressState::Failed => Paint::Bad.on("failed", colour),
        };
        lines.push(format!("{heading:8}{word} on {}: {listed}{more}", safe(&announce.interface)));
    }
    lines.extend(
        announce.error.as_ref().map(|error| format!("        {}", Paint::Bad.on(&safe(error), colour))),
    );
    lines
}

#[cfg(test)]
mod tests {
    use sluice_api::AnnouncedAddress;

    use super::*;
    use crate::golden::assert_golden;
    use crate::status_text::tests::{at, plain, status};

    #[test]
    fn node_and_its_addresses_are_shown_as_reviewed() {
        let mut status = status();
        let states =
            AddressState::ALL.into_iter().cycle().take(12).enumerate().map(|(n, state)| AnnouncedAddress {
                address: [203, 0, 113, n as u8].into(),
                state: if n > 7 { AddressState::Announced } else { state },
                services: vec!["web".into()],
            });
        status.announce = AnnounceStatus {
            interface: "lo".into(),
            addresses: states.collect(),
            error: Some("add 203.0.113.4 to lo: Operation not permitted (os error 1)".into()),
        };
        let reason = Some("kernel update".into());
        status.node.left = Some(NodeLeft { uid: 0, since: at("2025-01-05T00:00:00Z"), reason });
        assert_golden("status-node.txt", &plain(&status, at("2025-01-05T00:01:00Z")));
    }
}
