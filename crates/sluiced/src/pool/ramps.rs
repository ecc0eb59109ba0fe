//! Backends that get their share in steps, because they did not take new flows before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluice_core::model::{BackendKey, ServiceName};
use sluice_core::pool::RAMP_STEPS;
use tokio::time::Instant;

/// All ramps. A step is taken by [`Ramps::advance`] and by nothing else, so that shares do not depend on when they are
/// computed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ramps {
    ramps: BTreeMap<BackendKey, Ramp>,
    /// When each one's next step is due.
    due: BTreeSet<(Instant, BackendKey)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ramp {
    began: Instant,
    /// Time until the backend has its whole share.
    whole: Duration,
    /// Steps of [`RAMP_STEPS`] that it has come; not all of them.
    step: u8,
}

impl Ramp {
    fn due(&self) -> Instant {
        self.began + self.whole * u32::from(self.step) / u32::from(RAMP_STEPS)
    }
}

impl Ramps {
    /// Begins a ramp of this length, or begins it anew.
    pub(crate) fn begin(&mut self, key: &BackendKey, whole: Duration, now: Instant) {
        self.insert(key.clone(), Ramp { began: now, whole, step: 1 });
    }

    /// Ends a ramp, if there is one.
    pub(crate) fn end(&mut self, key: &BackendKey) {
        if let Some(ramp) = self.ramps.remove(key) {
            self.due.remove(&(ramp.due(), key.clone()));
        }
    }

    /// Goes on with the ramp that a backend has in other ramps, now that a ramp takes this long.
    pub(crate) fn go_on(&mut self, key: BackendKey, (before, from): (&Ramps, &BackendKey), whole: Duration) {
        if let Some(ramp) = before.ramps.get(from) {
            self.insert(key, Ramp { whole, ..*ramp });
        }
    }

    /// Steps that a backend has come.
    pub(crate) fn steps(&self, key: &BackendKey) -> u8 {
        self.ramps.get(key).map_or(RAMP_STEPS, |ramp| ramp.step)
    }

    /// When the next step of any backend is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes the steps that are due. Returns the services of those backends.
    pub(crate) fn advance(&mut self, now: Instant) -> BTreeSet<ServiceName> {
        let mut services = BTreeSet::new();
        while self.next().is_some_and(|due| due <= now)
            && let Some((_, key)) = self.due.pop_first()
            && let Some(mut ramp) = self.ramps.remove(&key)
        {
            services.insert(key.service.clone());
            // One that is late is due again at once.
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

    const WHOLE: Duration = Duration::from_secs(10);

    fn key(backend: &str) -> BackendKey {
        BackendKey { service: ServiceName::new("web").unwrap(), backend: BackendName::new(backend).unwrap() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn ramp_takes_its_steps_in_equal_times_and_ends_with_the_last() {
        let (mut ramps, start) = (Ramps::default(), Instant::now());
        ramps.begin(&key("a"), WHOLE, start);
        assert_eq!((ramps.steps(&key("a")), ramps.next()), (1, Some(start + seconds(1))));
        assert_eq!(ramps.advance(start + seconds(1) / 2), BTreeSet::new(), "none is due");
        assert_eq!(ramps.steps(&key("a")), 1);
        assert_eq!(ramps.advance(start + seconds(1)), [key("a").service].into());
        assert_eq!((ramps.steps(&key("a")), ramps.next()), (2, Some(start + seconds(2))));
        assert_eq!(ramps.advance(start + seconds(7)), [key("a").service].into(), "some are late");
        assert_eq!((ramps.steps(&key("a")), ramps.next()), (8, Some(start + seconds(8))));
        assert_eq!(ramps.advance(start + seconds(9)), [key("a").service].into());
        assert_eq!((ramps.steps(&key("a")), ramps.next()), (RAMP_STEPS, None));
        assert_eq!(ramps.advance(start + seconds(20)), BTreeSet::new());
    }

    #[test]
    fn ramps_of_several_backends_are_each_their_own() {
        let (mut ramps, start) = (Ramps::default(), Instant::now());
        ramps.begin(&key("a"), WHOLE, start);
        ramps.begin(&key("b"), WHOLE, start + seconds(5));
        ramps.advance(start + seconds(5));
        assert_eq!([ramps.steps(&key("a")), ramps.steps(&key("b"))], [6, 1]);
        ramps.begin(&key("a"), WHOLE, start + seconds(5));
        assert_eq!(ramps.steps(&key("a")), 1, "it begins anew");
        ramps.end(&key("a"));
        assert_eq!((ramps.steps(&key("a")), ramps.next()), (RAMP_STEPS, Some(start + seconds(6))));
        ramps.end(&key("b"));
        assert_eq!(ramps.next(), None);
    }

    #[test]
    fn ramp_under_another_name_and_of_another_length_is_as_far_as_it_was() {
        let (mut ramps, start) = (Ramps::default(), Instant::now());
        ramps.begin(&key("a"), WHOLE, start);
        ramps.advance(start + seconds(3));
        let mut after = Ramps::default();
        after.go_on(key("b"), (&ramps, &key("a")), seconds(100));
        after.go_on(key("c"), (&ramps, &key("d")), WHOLE);
        assert_eq!(["a", "b", "c"].map(|name| after.steps(&key(name))), [RAMP_STEPS, 4, RAMP_STEPS]);
        assert_eq!(after.next(), Some(start + seconds(40)));
    }
}
