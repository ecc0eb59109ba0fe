//! [`Ramps`]: slow start. The share of a backend that takes new flows again grows in steps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluice_core::model::{BackendKey, ServiceName};
use sluice_core::pool::RAMP_STEPS;
use tokio::time::Instant;

/// All ramps. Only [`Ramps::advance`] changes a step, so that shares do not depend on the time at which they are
/// computed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ramps {
    ramps: BTreeMap<BackendKey, Ramp>,
    /// Time of the next step of each ramp.
    due: BTreeSet<(Instant, BackendKey)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ramp {
    began: Instant,
    /// Time until the backend has its full share.
    length: Duration,
    /// Current step, less than [`RAMP_STEPS`].
    step: u8,
}

impl Ramp {
    fn due(&self) -> Instant {
        self.began + self.length * u32::from(self.step) / u32::from(RAMP_STEPS)
    }
}

impl Ramps {
    /// Begins a ramp of this length; an existing ramp begins again.
    pub(crate) fn begin(&mut self, key: &BackendKey, length: Duration, now: Instant) {
        self.insert(key.clone(), Ramp { began: now, length, step: 1 });
    }

    /// Ends the ramp of a backend, if it has one.
    pub(crate) fn end(&mut self, key: &BackendKey) {
        if let Some(ramp) = self.ramps.remove(key) {
            self.due.remove(&(ramp.due(), key.clone()));
        }
    }

    /// Continues the ramp that the backend `from` had before, with this length.
    pub(crate) fn resume(
        &mut self,
        key: BackendKey,
        (before, from): (&Ramps, &BackendKey),
        length: Duration,
    ) {
        if let Some(ramp) = before.ramps.get(from) {
            self.insert(key, Ramp { length, ..*ramp });
        }
    }

    /// The step of a backend; [`RAMP_STEPS`] without a ramp.
    pub(crate) fn steps(&self, key: &BackendKey) -> u8 {
        self.ramps.get(key).map_or(RAMP_STEPS, |ramp| ramp.step)
    }

    /// Time of the next step of any backend.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Advances the ramps whose next step is due. Returns the services of their backends.
    pub(crate) fn advance(&mut self, now: Instant) -> BTreeSet<ServiceName> {
        let mut services = BTreeSet::new();
        while self.next().is_some_and(|due| due <= now)
            && let Some((_, key)) = self.due.pop_first()
            && let Some(mut ramp) = self.ramps.remove(&key)
        {
            services.insert(key.service.clone());
            // A late ramp is due again immediately, until it has caught up.
            ramp.step += 1;
            if ramp.step < RAMP_STEPS {
                self.insert(key, ramp);
            }
        }
        services
    }

    fn insert(&mut self, key: BackendKey, ramp: Ramp) {
        self.end(&key);
        self.due.insert((ramp.due(), key.clone()));
        self.ramps.insert(key, ramp);
    }
}

#[cfg(test)]
mod tests {
    use sluice_core::model::BackendName;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(10);

    fn key(backend: &str) -> BackendKey {
        BackendKey { service: ServiceName::new("web").unwrap(), backend: BackendName::new(backend).unwrap() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn ramp_advances_at_equal_intervals_and_ends_after_the_last_step() {
        let (mut ramps, start) = (Ramps::default(), Instant::now());
        ramps.begin(&key("a"), LENGTH, start);
        assert_eq!((ramps.steps(&key("a")), ramps.next()), (1, Some(start + seconds(1))));
        assert_eq!(ramps.advance(start + seconds(1) / 2), BTreeSet::new(), "no step is due");
        assert_eq!(ramps.steps(&key("a")), 1);
        assert_eq!(ramps.advance(start + seconds(1)), [key("a").service].into());
        assert_eq!((ramps.steps(&key("a")), ramps.next()), (2, Some(start + seconds(2))));
        assert_eq!(ramps.advance(start + seconds(7)), [key("a").service].into(), "several steps are late");
        assert_eq!((ramps.steps(&key("a")), ramps.next()), (8, Some(start + seconds(8))));
        assert_eq!(ramps.advance(start + seconds(9)), [key("a").service].into());
        assert_eq!((ramps.steps(&key("a")), ramps.next()), (RAMP_STEPS, None));
        assert_eq!(ramps.advance(start + seconds(20)), BTreeSet::new());
    }

    #[test]
    fn ramps_of_several_backends_are_independent() {
        let (mut ramps, start) = (Ramps::default(), Instant::now());
        ramps.begin(&key("a"), LENGTH, start);
        ramps.begin(&key("b"), LENGTH, start + seconds(5));
        ramps.advance(start + seconds(5));
        assert_eq!([ramps.steps(&key("a")), ramps.steps(&key("b"))], [6, 1]);
        ramps.begin(&key("a"), LENGTH, start + seconds(5));
        assert_eq!(ramps.steps(&key("a")), 1, "it begins again");
        ramps.end(&key("a"));
        assert_eq!((ramps.steps(&key("a")), ramps.next()), (RAMP_STEPS, Some(start + seconds(6))));
        ramps.end(&key("b"));
        assert_eq!(ramps.next(), None);
    }

    #[test]
    fn ramp_resumed_with_another_name_and_length_keeps_its_step() {
        let (mut ramps, start) = (Ramps::default(), Instant::now());
        ramps.begin(&key("a"), LENGTH, start);
        ramps.advance(start + seconds(3));
        let mut after = Ramps::default();
        after.resume(key("b"), (&ramps, &key("a")), seconds(100));
        after.resume(key("c"), (&ramps, &key("d")), LENGTH);
        assert_eq!(["a", "b", "c"].map(|name| after.steps(&key(name))), [RAMP_STEPS, 4, RAMP_STEPS]);
        assert_eq!(after.next(), Some(start + seconds(40)));
    }
}
