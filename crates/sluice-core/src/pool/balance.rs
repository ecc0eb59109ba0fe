//! [`Balance`]: least connections, by shares of new flows that follow the number of live flows of each
//! backend.
//!
//! The kernel distributes new flows by slots, so a share is a rate. Between two counts, a backend should get
//! as many new flows as end on it, its share of the growth of the service, and half of its deficit against
//! the average number of live flows per weight. Backends with long flows thereby get fewer new ones, and no
//! correction remains once all are equal. Steps are bounded, and small changes are skipped.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_nft::Ip;

use crate::model::{Backend, BackendName, Service};

/// Maximum factor by which a share changes in one step.
const MAX_STEP: f64 = 2.0;

/// Minimum of a share, relative to its weight: a backend without new flows could not recover.
const MIN_FACTOR: f64 = 1.0 / 32.0;

/// Relative change below which shares are kept.
const DEADBAND: f64 = 0.05;

/// Rate in flows per second that is distributed by weight alone: so few flows tell nothing about the
/// backends.
const PRIOR_RATE: f64 = 0.5;

/// Deficit that may be noise, in square roots of the expected number.
const NOISE_SIGMAS: f64 = 1.5;

/// Weight of the last interval in the moving averages.
const EWMA_ALPHA: f64 = 0.25;

/// Effective weight of the backend with the largest share; large enough to resolve the smallest share.
const MAX_EFFECTIVE_WEIGHT: f64 = 50_000.0;

/// Flows of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Live flows.
    pub active: u32,
    /// Flows that began since the previous count, live or not.
    pub opened: u32,
}

/// The shares of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Balance(BTreeMap<BackendName, BackendTrend>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct BackendTrend {
    /// Its current share, relative to the share of its weight.
    factor: f64,
    active: u32,
    /// Moving average of new flows per second.
    opened: f64,
    /// Moving average of ended flows per second.
    ended: f64,
}

impl Balance {
    /// Records a count of the flows of a service with these weights, `elapsed` after the previous count.
    /// Returns the number of live flows on the wrong backend, if shares change; otherwise 0.
    pub fn observe(
        &mut self,
        service: &Service,
        load: impl Fn(&BackendName) -> Load,
        elapsed: Duration,
    ) -> u32 {
        let elapsed = elapsed.as_secs_f64().max(0.001);
        let earlier = std::mem::take(&mut self.0);
        for backend in &service.backends {
            let Load { active, opened } = load(&backend.name);
            let seen = earlier.get(&backend.name);
            let before = seen.map_or(active.saturating_sub(opened), |before| before.active);
            let rate = |flows: u32| f64::from(flows) / elapsed;
            let ended = rate((before + opened).saturating_sub(active));
            let lately = |before: Option<f64>, now: f64| before.map_or(now, |b| b + EWMA_ALPHA * (now - b));
            let now = BackendTrend {
                factor: seen.map_or(1.0, |before| before.factor),
                active,
                opened: lately(seen.map(|before| before.opened), rate(opened)),
                ended: lately(seen.map(|before| before.ended), ended),
            };
            self.0.insert(backend.name.clone(), now);
        }
        Ip::ALL.into_iter().map(|ip| self.follow(service, ip, elapsed)).sum()
    }

    /// Applies the shares to the weights of the service.
    pub fn apply(&self, service: &mut Service) {
        if self.0.values().all(|followed| followed.factor == 1.0) {
            return;
        }
        let weight = |backend: &Backend| {
            let factor = self.0.get(&backend.name).map_or(1.0, |followed| followed.factor);
            f64::from(backend.weight) * factor
        };
        let largest = service.backends.iter().map(weight).fold(0.0, f64::max);
        for backend in service.backends.iter_mut().filter(|backend| backend.weight > 0) {
            backend.weight = (weight(backend) / largest * MAX_EFFECTIVE_WEIGHT).round().max(1.0) as u16;
        }
    }

    /// Updates the backends of one IP version.
    fn follow(&mut self, service: &Service, ip: Ip, elapsed: f64) -> u32 {
        let serving = || service.backends.iter().filter(|b| Ip::of(b.address) == ip && b.weight > 0);
        let pool = serving().map(|backend| (f64::from(backend.weight), self.0[&backend.name]));
        let pool: Vec<(f64, BackendTrend)> = pool.collect();
        let sum = |part: &dyn Fn(&(f64, BackendTrend)) -> f64| pool.iter().map(part).sum::<f64>();
        let weights = sum(&|(weight, _)| *weight);
        let active = sum(&|(_, now)| f64::from(now.active));
        let growth = sum(&|(_, now)| now.opened - now.ended);
        let lacks = |(weight, now): &(f64, BackendTrend)| {
            let due = active * weight / weights;
            let lacks = due - f64::from(now.active);
            // A small deficit may be noise, and is corrected slowly.
            lacks * lacks.abs() / (lacks.abs() + NOISE_SIGMAS * due.sqrt()).max(1.0)
        };
        let rates: Vec<f64> = pool
            .iter()
            .map(|each| {
                let part = each.0 / weights;
                (each.1.ended + growth * part + lacks(each) / (2.0 * elapsed)).max(0.0) + PRIOR_RATE * part
            })
            .collect();
        let total: f64 = rates.iter().sum();
        let factors: Vec<f64> = pool
            .iter()
            .zip(rates)
            .map(|((weight, now), rate)| {
                let factor = rate / total * weights / weight;
                factor.clamp(now.factor / MAX_STEP, now.factor * MAX_STEP).max(MIN_FACTOR)
            })
            .collect();
        let changes =
            |((_, now), factor): (&(f64, BackendTrend), &f64)| (factor / now.factor - 1.0).abs() > DEADBAND;
        if !pool.iter().zip(&factors).any(changes) {
            return 0;
        }
        let names: Vec<BackendName> = serving().map(|backend| backend.name.clone()).collect();
        for (name, factor) in names.iter().zip(factors) {
            self.0.get_mut(name).expect("it was counted").factor = factor;
        }
        let misplaced = pool.iter().map(|each| lacks(each).max(0.0)).sum::<f64>();
        misplaced.ceil().max(1.0) as u32
    }
}
