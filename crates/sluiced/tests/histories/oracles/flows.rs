//! Of the flows that conntrack knows, exactly those have ended that had to.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_core::model::{Backend, OnDown};
use sluice_nft::trace::Entry;

use crate::conntrack::Tracked;
use crate::history::{History, Verdict};
use crate::model::{Model, Taker, key};

pub async fn are_right(history: &mut History<'_>, quiet: bool) -> Verdict {
    let (deleted, reset) = history.machine.conntrack.take_ended();
    for ended in &deleted {
        if !ended.is_unfinished() {
            return Err(format!("an established connection was deleted: {ended:?}"));
        }
        history.reach.hit("flows: deleted");
        if stays(&history.model, ended) && !was_touched(&history.model, ended) && stayed(history, ended) {
            return Err(format!("a flow was deleted that may stay: {ended:?}"));
        }
    }
    for ended in &reset {
        history.reach.hit("flows: reset");
        if !may_be_reset(&history.model, ended) {
            return Err(format!("a connection was reset that may stay: {ended:?}"));
        }
        if must_be_reset(&history.model, ended) {
            history.reach.hit("flows: reset because the client is refused");
        }
    }
    if !quiet {
        return Ok(());
    }
    let goes = |history: &History<'_>| {
        let goes = |known: &Tracked| match known.is_unfinished() {
            true => must_go(&history.model, known),
            false => must_be_reset(&history.model, known),
        };
        history.machine.conntrack.flows().into_iter().find(goes)
    };
    if goes(history).is_some() {
        // The daemon looks a second time, a little later.
        history.machine.pass(Duration::from_secs(2)).await;
        history.reach.hit("flows: had to go");
    }
    match goes(history) {
        None => Ok(()),
        Some(flow) => Err(format!("a flow is left that had to go: {flow:?}")),
    }
}

/// No flow is left that rules of ours translated and that nobody needs.
pub fn nobody_takes_any(history: &mut History<'_>) -> Verdict {
    history.machine.conntrack.take_ended();
    let left = history.machine.conntrack.flows().into_iter();
    match left.into_iter().find(|known| known.is_unfinished() && known.flow.is_translated()) {
        None => Ok(()),
        Some(flow) => Err(format!("a flow is still translated after the stop: {flow:?}")),
    }
}

/// Whether nobody who may take a flow keeps it.
fn must_go(model: &Model, Tracked { flow, .. }: &Tracked) -> bool {
    let takers = model.takers(flow.protocol, flow.to, None, &History::local());
    match takers.last() {
        None => flow.is_translated(),
        // It may never have met a service on an interface.
        Some((_, service, _)) if !flow.is_translated() => service.interface.is_none(),
        Some(_) => !takers.iter().any(|taker| model.keeps(*taker, flow)),
    }
}

fn stays(model: &Model, known: &Tracked) -> bool {
    !must_go(model, known)
}

/// Whether it could stay before the last event, too, as far as the file tells.
fn stayed(history: &History<'_>, Tracked { flow, .. }: &Tracked) -> bool {
    history.before == *history.model.services() || {
        let _ = flow;
        false
    }
}

/// Whether a backend that it may go to turned meanwhile.
fn was_touched(model: &Model, Tracked { flow, .. }: &Tracked) -> bool {
    let takers = model.takers(flow.protocol, flow.to, None, &History::local());
    takers.iter().any(|(name, service, _)| {
        service.backends.iter().any(|backend| model.touched.contains(&key(name, backend)))
    })
}

/// Whether everybody who may have led an established connection where it goes refuses its client, and resets it.
fn must_be_reset(model: &Model, Tracked { flow, entry }: &Tracked) -> bool {
    let takers = model.takers(flow.protocol, flow.to, None, &History::local());
    let leads = |(_, service, listener): &Taker<'_>| {
        let place = |backend: &Backend| {
            SocketAddr::new(backend.address, backend.port.translate(listener.ports, flow.to.port()))
        };
        // What this host sends arrives at no interface.
        (service.interface.is_none() || *entry != Entry::Local)
            && service.backends.iter().any(|backend| place(backend) == flow.backend)
    };
    let mut led = takers.into_iter().filter(leads).peekable();
    flow.is_translated() && led.peek().is_some() && led.all(|taker| model.resets_refused(taker, flow))
}

/// Whether a service that takes it resets connections, and refuses its client, or its backend is down or was.
fn may_be_reset(model: &Model, known: &Tracked) -> bool {
    let flow = &known.flow;
    let takers = model.takers(flow.protocol, flow.to, None, &History::local());
    takers.iter().any(|taker @ (name, service, _)| {
        let is_down = |backend: &Backend| {
            let key = key(name, backend);
            backend.address == flow.backend.ip() && (!model.is_up(&key) || model.touched.contains(&key))
        };
        model.resets_refused(*taker, flow)
            || service.on_down == OnDown::Reset && service.backends.iter().any(is_down)
    })
}
