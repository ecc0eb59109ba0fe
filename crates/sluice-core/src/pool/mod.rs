//! Eligible backends and their weights: [`effective_service`] combines a service with the states of its
//! backends.

pub mod balance;
pub mod health;
pub mod readiness;

use sluice_nft::Ip;

use crate::model::{Backend, Initial, OnEmpty, Scheduler, Service, Services};
use crate::pool::health::Admin;
use crate::pool::readiness::Tally;
use crate::render::bounds;

/// Number of steps in which a backend with `slow_start` gets its whole weight.
pub const RAMP_STEPS: u8 = 10;

/// The state of a backend, which is not in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendState {
    /// Administrative state.
    pub admin: Admin,
    /// Weight set by an operator.
    pub weight: Option<u16>,
    /// Whether its health permits new flows.
    pub is_up: bool,
    /// Whether its probes fail, so that it loses its flows; a backend that was never probed keeps them.
    pub is_unhealthy: bool,
    /// Whether it has reached `max_connections`.
    pub is_full: bool,
    /// Slow-start steps that it has completed, of [`RAMP_STEPS`].
    pub ramp: u8,
}

impl Default for BackendState {
    fn default() -> Self {
        BackendState {
            admin: Admin::Enabled,
            weight: None,
            is_up: true,
            is_unhealthy: false,
            is_full: false,
            ramp: RAMP_STEPS,
        }
    }
}

impl BackendState {
    /// Whether admin state and health permit new flows.
    pub fn is_eligible(&self) -> bool {
        self.admin == Admin::Enabled && self.is_up
    }

    /// Its weight if it takes new flows.
    pub fn weight(&self, backend: &Backend) -> u16 {
        self.weight.unwrap_or(backend.weight)
    }
}

/// Services that differ from the file while nothing is known about their backends: at the first start of a
/// daemon, and in commands without a daemon. No backend was probed, drained, full or ramping.
pub fn at_start(file: &Services) -> Services {
    let serving = file.iter().map(|(name, service)| {
        let is_up = service.health.as_ref().is_none_or(|check| check.initial == Initial::Up);
        let standing = |_: &Backend| BackendState { is_up, ..BackendState::default() };
        (name, service, effective_service(service, standing, |_| false))
    });
    let other = serving.filter(|(_, service, serving)| *service != serving);
    other.map(|(name, _, serving)| (name.clone(), serving)).collect()
}

/// The effective service: backends that take no new flows have weight 0.
///
/// For each IP version, the eligible backends that are not backups serve if the quorum is met and not all above `down` are full;
/// otherwise the backups serve; and without eligible backups, `on_empty` applies. `was_met` tells whether the quorum was met
/// before.
pub fn effective_service(
    service: &Service,
    standing: impl Fn(&Backend) -> BackendState,
    was_met: impl Fn(Ip) -> bool,
) -> Service {
    let standings: Vec<BackendState> = service.backends.iter().map(standing).collect();
    let mut serves = vec![false; standings.len()];
    for ip in Ip::ALL {
        let some = |test: &dyn Fn(&Backend, &BackendState) -> bool| -> Vec<usize> {
            let all = service.backends.iter().zip(&standings).enumerate();
            let able = all.filter(|(_, (backend, standing))| {
                Ip::of(backend.address) == ip && standing.weight(backend) > 0 && !standing.is_full
            });
            able.filter(|(_, (backend, standing))| test(backend, standing)).map(|(index, _)| index).collect()
        };
        let mut pool = some(&|backend, standing| standing.is_eligible() && !backend.backup);
        let Tally { eligible, .. } = Tally::of(ip, service.backends.iter().zip(standings.iter().copied()));
        if !service.quorum.is_met(eligible, was_met(ip)) || pool.len() < usize::from(service.quorum.down) {
            pool = some(&|backend, standing| standing.is_eligible() && backend.backup);
        }
        if pool.is_empty() && service.on_empty == OnEmpty::UseAll {
            pool = some(&|backend, standing| standing.admin == Admin::Enabled && !backend.backup);
        }
        pool.into_iter().for_each(|index| serves[index] = true);
    }
    let serving =
        || standings.iter().zip(&serves).filter(|(_, serves)| **serves).map(|(standing, _)| standing);
    let is_ramping = serving().any(|standing| standing.ramp < RAMP_STEPS);
    let mut now = service.clone();
    now.fixed_grid |= is_ramping;
    for ((backend, standing), serves) in now.backends.iter_mut().zip(&standings).zip(serves) {
        let share = if is_ramping { standing.ramp.clamp(1, RAMP_STEPS) } else { 1 };
        backend.weight = if serves { standing.weight(backend) * u16::from(share) } else { 0 };
    }
    if let Scheduler::Maglev(..) = now.scheduler {
        let full = |(backend, standing): (&Backend, &BackendState)| match standing.weight(backend) {
            _ if backend.backup => 0,
            0 => backend.weight,
            weight => weight,
        };
        let full: Vec<u16> = service.backends.iter().zip(&standings).map(full).collect();
        // If all backends serve, the effective service equals that of the file.
        if !full.iter().eq(now.backends.iter().map(|backend| &backend.weight)) {
            now.nominal_weights = full;
        }
    }
    let those = |test: &dyn Fn(&BackendState) -> bool| -> Vec<_> {
        let of = service.backends.iter().zip(&standings).filter(|(_, standing)| test(standing));
        of.map(|(backend, _)| backend.name.clone()).collect()
    };
    now.unhealthy = those(&|standing| standing.is_unhealthy);
    now.disabled = those(&|standing| standing.admin == Admin::Disabled);
    if now.affinity.is_some() {
        now.evict_from = those(&|standing| !standing.is_up || standing.admin == Admin::Disabled);
    }
    // Weights that an operator set may have no common divisor with those of a later file.
    now.fixed_grid |= bounds::is_too_fine(&now);
    now
}
