//! [`Quorum`]: how many eligible backends a service needs.

use std::fmt;

/// The numbers of eligible backends of an IP version, backups not counted, at which a service gains and loses its quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// With so many the quorum is met. At least 1.
    pub up: u16,
    /// With fewer it is lost. From 1 to `up`.
    pub down: u16,
}

impl Quorum {
    /// A quorum without hysteresis.
    pub const fn of(number: u16) -> Self {
        Quorum { up: number, down: number }
    }

    /// Whether the quorum is met. From `down` to `up` this is the previous decision; without one, `was_met` is `false`.
    pub fn is_met(self, eligible: usize, was_met: bool) -> bool {
        eligible >= self.up.into() || was_met && eligible >= self.down.into()
    }

    /// Whether the decision depends on the previous one.
    pub fn has_memory(self) -> bool {
        self.down < self.up
    }
}

impl Default for Quorum {
    /// One eligible backend.
    fn default() -> Self {
        Quorum::of(1)
    }
}

/// As written in the file.
impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quorum { up, down } = self;
        if self.has_memory() { write!(f, "{{ up: {up}, down: {down} }}") } else { write!(f, "{up}") }
    }
}
