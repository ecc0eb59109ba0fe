//! Of the flows that conntrack knows, exactly those have ended that had to.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_core::model::{Backend, OnDown};
use sluice_netlink::conntrack::Flow;
use sluice_nft::trace::Ingress;

use crate::conntrack::Tracked;
use crate::history::{History, Verdict};
use crate::model::{Model, key};
use crate::whose::Taker;

pub async fn are_right(history: &mut History<'_>, quiet: bool) -> Verdict {
    might_end(history)?;
    if history.machine.take_dropped() {
        let flows = history.machine.conntrack.flows().into_iter().map(|known| known.flow);
        let overlooked: Vec<_> =
            flows.filter(|flow| !is_led(&history.model, flow)).map(|flow| flow.id).collect();
        if !overlooked.is_empty() {
            history.reach.hit("flows: not looked at before a daemon ended");
        }
        history.overlooked.extend(overlooked);
    }
    if !quiet {
        return Ok(());
    }
    let goes = |history: &History<'_>| {
        let goes = |known: &Tracked| match known.is_unfinished() {
            // Whoever takes it for certain looks at it when it comes.
            _ if !is_taken(&history.model, &known.flow) && history.overlooked.contains(&known.flow.id) => {
                false
            }
            true => must_go(&history.model, known),
            false => must_be_reset(&history.model, known),
        };
        history.machine.conntrack.flows().into_iter().find(goes)
    };
    if goes(history).is_some() {
        // The daemon looks a second time, a little later.
        history.machine.pass(Duration::from_secs(2)).await;
        history.reach.hit("flows: had to go");
        might_end(history)?;
    }
    match goes(history) {
        None => Ok(()),
        Some(flow) => Err(format!("a flow is left that had to go: {flow:?}")),
    }
}

/// Flows that ended since this was last asked might end, by the file that is in force.
fn might_end(history: &mut History<'_>) -> Verdict {
    let (deleted, reset) = history.machine.conntrack.take_ended();
    for ended in &deleted {
        if !ended.is_unfinished() {
            return Err(format!("an established connection was deleted: {ended:?}"));
        }
        history.reach.hit("flows: deleted");
        let is_same_file = history.before == *history.model.services();
        // A second look at flows that began before their service came may still have been due.
        let is_untaken = !ended.flow.is_translated() && !takers(&history.model, &ended.flow).is_empty();
        let may_go = is_untaken || was_touched(&history.model, ended) || is_down(&history.model, ended);
        if is_same_file && stays(&history.model, ended) && !may_go {
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
    Ok(())
}

/// No flow is left that rules of ours translated and that nobody needs.
pub fn nobody_takes_any(history: &mut History<'_>) -> Verdict {
    history.machine.conntrack.take_ended();
    let left = history.machine.conntrack.flows().into_iter();
    let is_known = |known: &Tracked| !history.overlooked.contains(&known.flow.id);
    let mut left = left.filter(is_known);
    match left.find(|known| known.is_unfinished() && known.flow.is_translated()) {
        None => Ok(()),
        Some(flow) => Err(format!("a flow is still translated after the stop: {flow:?}")),
    }
}

/// Listeners that may have taken a flow. What this host sends arrives at no interface; of others that is not known.
fn takers<'a>(model: &'a Model, flow: &Flow) -> Vec<Taker<'a>> {
    let local = History::local();
    let ingress = local.contains(&flow.client.ip()).then_some(&Ingress::Local);
    model.takers(flow.protocol, flow.to, ingress, &local)
}

/// Whether a listener takes a flow whatever interface it came by.
fn is_taken(model: &Model, flow: &Flow) -> bool {
    takers(model, flow).last().is_some_and(|(_, service, _)| service.interface.is_none())
}

/// Whether a service leads flows like this one where it goes, whatever becomes of them there.
fn is_led(model: &Model, flow: &Flow) -> bool {
    takers(model, flow).iter().any(|(_, service, listener)| {
        let place =
            |backend: &Backend| (backend.address, backend.port.translate(listener.ports, flow.to.port()));
        let at = (flow.backend.ip(), flow.backend.port());
        service.backends.iter().any(|backend| place(backend) == at)
    })
}

/// Whether nobody who may take a flow keeps it.
fn must_go(model: &Model, Tracked { flow, .. }: &Tracked) -> bool {
    let takers = takers(model, flow);
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

/// Whether a backend that it may go to turned meanwhile.
fn was_touched(model: &Model, Tracked { flow, .. }: &Tracked) -> bool {
    let takers = takers(model, flow);
    takers.iter().any(|(name, service, _)| {
        service.backends.iter().any(|backend| model.touched.contains(&key(name, backend)))
    })
}

/// Whether a backend that it goes to is down. Where all serve if none is healthy, it may stay all the same.
fn is_down(model: &Model, Tracked { flow, .. }: &Tracked) -> bool {
    takers(model, flow).iter().any(|(name, service, _)| {
        let is_down = |backend: &Backend| {
            let key = key(name, backend);
            backend.address == flow.backend.ip() && model.is_known(&key) && !model.is_up(&key)
        };
        service.backends.iter().any(is_down)
    })
}

/// Whether everybody who may have led an established connection where it goes refuses its client, and resets it.
fn must_be_reset(model: &Model, Tracked { flow, ingress }: &Tracked) -> bool {
    let takers = model.takers(flow.protocol, flow.to, None, &History::local());
    let leads = |(_, service, listener): &Taker<'_>| {
        let place = |backend: &Backend| {
            SocketAddr::new(backend.address, backend.port.translate(listener.ports, flow.to.port()))
        };
        // What this host sends arrives at no interface.
        (service.interface.is_none() || *ingress != Ingress::Local)
            && service.backends.iter().any(|backend| place(backend) == flow.backend)
    };
    let mut led = takers.into_iter().filter(leads).peekable();
    flow.is_translated() && led.peek().is_some() && led.all(|taker| model.resets_refused(taker, flow))
}

/// Whether a service that takes it resets connections, and refuses its client, or its backend is down or was.
fn may_be_reset(model: &Model, known: &Tracked) -> bool {
    let flow = &known.flow;
    let takers = takers(model, flow);
    takers.iter().any(|taker @ (name, service, _)| {
        let is_down = |backend: &Backend| {
            let key = key(name, backend);
            let is_unhealthy = model.is_known(&key) && !model.is_up(&key);
            backend.address == flow.backend.ip() && (is_unhealthy || model.touched.contains(&key))
        };
        model.resets_refused(*taker, flow)
            || service.on_down == OnDown::Reset && service.backends.iter().any(is_down)
    })
}
