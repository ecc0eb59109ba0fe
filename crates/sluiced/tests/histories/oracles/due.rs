//! What has to have happened at the latest by now.

use std::time::Duration;

use tokio::time::Instant;

use crate::history::{History, Verdict};

/// A round takes time, and one that failed is tried again.
const SLACK: Duration = Duration::from_secs(5);

pub fn happened(history: &mut History<'_>) -> Verdict {
    let Some(refresh) = history.model.config.refresh else { return Ok(()) };
    let now = Instant::now();
    let since = history.machine.plane.last_whole_read().max(history.started);
    if now - since > refresh + SLACK {
        return Err(format!("the kernel was last read {:?} ago, refresh is {refresh:?}", now - since));
    }
    if history.machine.forwards() {
        if history.forwarding_off.take().is_some() {
            history.reach.hit("forwarding was switched on again");
        }
    } else if let Some(since) = history.forwarding_off {
        history.reach.hit("forwarding was off");
        let told = history.told_forwarding && now - since > SLACK;
        let needs = history.model.services().values().any(|s| s.enabled && !s.backends.is_empty());
        if needs && (told || now - since > refresh + SLACK) {
            return Err(format!("forwarding has been off for {:?}, refresh is {refresh:?}", now - since));
        }
    }
    Ok(())
}
