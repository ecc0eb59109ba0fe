//! When results of probes change the health of a backend.
//!
//! Consecutive results only: `rise` successes make it healthy, `fall` failures unhealthy, and a result of the other
//! kind begins the count anew. That is all the damping there is.

use crate::model::{HealthCheck, Initial};

/// Observed state of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// There was no result yet, or there is no check.
    #[default]
    Unknown,
    /// Its probes succeed.
    Healthy,
    /// Its probes fail.
    Unhealthy,
}

/// Wanted state of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Admin {
    /// It takes new flows.
    #[default]
    Enabled,
    /// No new flows; established ones finish.
    Drain,
    /// As if it were not there.
    Disabled,
}

/// Health of one backend as results come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthState {
    rise: u16,
    fall: u16,
    health: Health,
    /// Whether the backend takes new flows while its health is unknown.
    assumed_up: bool,
    /// Results in a row that speak against what is in force.
    contrary: u16,
}

impl HealthState {
    /// A backend that was never probed, or whose health is known from before.
    pub fn new(check: &HealthCheck, health: Health) -> Self {
        let assumed_up = check.initial == Initial::Up;
        HealthState { rise: check.rise, fall: check.fall, health, assumed_up, contrary: 0 }
    }

    /// A backend that took new flows without a check until now: `initial` is for those that did not.
    pub fn serving(check: &HealthCheck) -> Self {
        HealthState { assumed_up: true, ..HealthState::new(check, Health::Unknown) }
    }

    /// The same backend under another check: the verdict stays until the new check has had its say, also that of a
    /// backend whose health is unknown. Results that were counted under the old check do not count.
    #[must_use]
    pub fn under(self, check: &HealthCheck) -> Self {
        HealthState { rise: check.rise, fall: check.fall, contrary: 0, ..self }
    }

    /// What is known.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Whether its health lets it take new flows.
    pub fn is_up(&self) -> bool {
        match self.health {
            Health::Healthy => true,
            Health::Unhealthy => false,
            Health::Unknown => self.assumed_up,
        }
    }

    /// Results in a row that speak against what is in force, and how many would change it.
    pub fn contrary_results(&self) -> (u16, u16) {
        (self.contrary, if self.is_up() { self.fall } else { self.rise })
    }

    /// Takes a result; `true` if health changed with it. One that agrees with what is in force confirms it, so that
    /// unknown ends with the first such result.
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
