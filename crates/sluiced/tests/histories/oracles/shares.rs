//! Shares of new flows: by weight, by how long ago a backend came back, and by live connections.

use std::time::Duration;

use sluice_api::{ServiceStatus, Status};
use sluice_core::model::{Backend, Scheduler, ServiceName};
use tokio::time::Instant;

use crate::history::{History, Verdict};

/// A step of a ramp that is due within this time may have been taken or not.
const SLACK: Duration = Duration::from_millis(300);

/// Shares have followed live connections that have been the same for so long.
const FOLLOWED: Duration = Duration::from_secs(10);

/// With least-connections a backend gets at least this part of what its weight alone would give it.
const LEAST: f64 = 1.0 / 64.0;

pub fn are_right(history: &mut History<'_>, status: &Status) -> Verdict {
    let now = Instant::now();
    let flows: Vec<_> = history.machine.conntrack.flows().iter().map(|known| known.flow).collect();
    let (model, is_calm) = (&history.model, now - history.calm > FOLLOWED);
    let mut hits = vec![];
    for shown in &status.services {
        let name = ServiceName::new(&shown.name).expect("a name");
        let file = &model.services()[&name];
        let [low, high] = match file.enabled {
            true => model.bounds(&name, file, &flows, [now - SLACK, now + SLACK]),
            false => [vec![], vec![]],
        };
        let follows = file.scheduler == Scheduler::LeastConnections;
        for backend in &shown.backends {
            let (least, most) = between(&low, &high, &backend.name);
            let (least, most) = if follows { (least * LEAST, most.ceil()) } else { (least, most) };
            if backend.share < least - 0.001 || backend.share > most + 0.001 {
                return Err(format!("{name}: its share should be from {least} to {most}: {backend:?}"));
            }
            if least < most && !follows {
                hits.push("shares: a step of a ramp is due");
            }
        }
        if low != high {
            continue;
        }
        if low.iter().any(|(backend, _)| model.is_ramping(&name, backend, now)) {
            hits.push("shares: of a ramp");
        }
        if follows && is_calm && low.len() > 1 {
            let load = |backend: &Backend| model.active(&name, backend, &flows) as f64;
            let loads: Vec<_> = low.iter().map(|(backend, _)| load(backend)).collect();
            hits.push(follow(shown, &low, &loads)?);
        }
    }
    hits.into_iter().for_each(|hit| history.reach.hit(hit));
    Ok(())
}

/// The least and the most that a backend may get where weights are from these to those.
fn between(low: &[(&Backend, u32)], high: &[(&Backend, u32)], name: &str) -> (f64, f64) {
    let weight = |pool: &[(&Backend, u32)], of: bool| -> f64 {
        let some = pool.iter().filter(|(backend, _)| (backend.name.as_str() == name) == of);
        some.map(|(_, weight)| f64::from(*weight)).sum()
    };
    let part = |own: f64, others: f64| if own == 0.0 { 0.0 } else { own / (own + others) };
    (part(weight(low, true), weight(high, false)), part(weight(high, true), weight(low, false)))
}

/// Whoever lacks live connections for its weight gets more new ones for it than those with too many; where nobody lacks any,
/// weights alone decide.
fn follow(shown: &ServiceStatus, pool: &[(&Backend, u32)], loads: &[f64]) -> Result<&'static str, String> {
    let share = |backend: &Backend| {
        let shown = shown.backends.iter().find(|shown| shown.name == backend.name.as_str());
        shown.map_or(0.0, |shown| shown.share)
    };
    let weights: f64 = pool.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let all: f64 = loads.iter().sum();
    // What it lacks, and its share divided by what its weight alone would give it.
    let each = pool.iter().zip(loads).map(|((backend, weight), load)| {
        let part = f64::from(*weight) / weights;
        (all * part - load, share(backend) / part)
    });
    let each: Vec<(f64, f64)> = each.collect();
    let is_even = each.iter().all(|(lacks, _)| lacks.abs() < 0.01);
    let few =
        each.iter().filter(|(lacks, _)| *lacks >= 4.0).map(|(_, factor)| *factor).fold(f64::MAX, f64::min);
    let many = each.iter().filter(|(lacks, _)| *lacks <= 0.0).map(|(_, factor)| *factor).fold(0.0, f64::max);
    match () {
        () if is_even && each.iter().any(|(_, factor)| (factor - 1.0).abs() > 0.15) => {
            Err(format!("nobody lacks connections, but shares are not as weights: {each:?}, {shown:?}"))
        }
        () if few < 1.3 * many => Err(format!("who lacks connections gets too few: {each:?}, {shown:?}")),
        () if is_even => Ok("shares: least-connections by weight alone"),
        () if few < f64::MAX && many > 0.0 => Ok("shares: least-connections gives more to who lacks some"),
        () => Ok("shares: least-connections with little to correct"),
    }
}
