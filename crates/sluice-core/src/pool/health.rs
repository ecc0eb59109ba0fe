//! [`HealthState`]: the state machine from probe results to the health of a backend.
//!
//! `rise` consecutive successes make it healthy, `fall` consecutive failures unhealthy. A contrary result
//! resets the count. There is no other damping.

use crate::model::{HealthCheck, Initial};

/// Observed state of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// No result yet, or no check.
    #[default]
    Unknown,
    /// Its probes succeed.
    Healthy,
    /// Its probes fail.
    Unhealthy,
}

/// Administrative state of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Admin {
    /// It takes new flows.
    #[default]
    Enabled,
    /// It takes no new flows; established ones finish.
    Drain,
    /// It takes no flows, as if it did not exist.
    Disabled,
}

/// The health of one backend, updated by probe results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthState {
    rise: u16,
    fall: u16,
    health: Health,
    /// Whether the backend takes new flows while its health is unknown.
    assumed_up: bool,
    /// Number of consecutive results that contradict the current health.
    contrary: u16,
}

impl HealthState {
    /// A backend without results, or with a health that is known from before.
    pub fn new(check: &HealthCheck, health: Health) -> Self {
        let assumed_up = check.initial == Initial::Up;
        HealthState { rise: check.rise, fall: check.fall, health, assumed_up, contrary: 0 }
    }

    /// A backend that took new flows without a check until now. `initial` does not apply to it.
    pub fn serving(check: &HealthCheck) -> Self {
        HealthState { assumed_up: true, ..HealthState::new(check, Health::Unknown) }
    }

    /// The same backend with another check. Its health, even unknown, stays until the new check changes it.
    /// Contrary results of the old check do not count.
    #[must_use]
    pub fn under(self, check: &HealthCheck) -> Self {
        HealthState { rise: check.rise, fall: check.fall, contrary: 0, ..self }
    }

    /// The current health.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Whether its health permits new flows.
    pub fn is_up(&self) -> bool {
        match self.health {
            Health::Healthy => true,
            Health::Unhealthy => false,
            Health::Unknown => self.assumed_up,
        }
    }

    /// Number of consecutive contrary results, and the number that changes the health (`rise` or `fall`).
    pub fn contrary_results(&self) -> (u16, u16) {
        (self.contrary, if self.is_up() { self.fall } else { self.rise })
    }

    /// Records a result; returns whether the health changed. A result that agrees with the assumed health
    /// confirms it, so the first such result ends `Unknown`.
    pub fn observe(&mut self, success: bool) -> bool {
        let before = self.health;
        let named = |up| if up { Health::Healthy } else { Health::Unhealthy };
        if success == self.is_up() {
            self.contrary = 0;
            self.health = named(success);
        } else {
            self.contrary += 1;
            if self.contrary >= self.contrary_results().1 {
                self.contrary = 0;
                self.health = named(success);
            }
        }
        self.health != before
    }
}
