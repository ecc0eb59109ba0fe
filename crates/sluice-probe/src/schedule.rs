//! The schedule of a probe.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

/// Periods of one interval, with a random phase so that targets are not probed all at once. Each probe has a jitter of up
/// to a twentieth of the interval, so that probes that coincide drift apart.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    due: Instant,
    /// Seed of the phase and the jitter.
    seed: u64,
    turn: u64,
}

impl Schedule {
    pub(crate) fn new(interval: Duration, now: Instant, seed: u64) -> Self {
        let mut schedule = Schedule { interval, due: now, seed, turn: 0 };
        schedule.due += schedule.part(interval);
        schedule
    }

    /// Time of the next probe. Periods that are over are skipped.
    pub(crate) fn next(&mut self, now: Instant) -> Instant {
        if self.turn > 0 {
            self.due += self.interval;
        }
        if let Some(late) = now.checked_duration_since(self.due) {
            let turns = late.as_nanos().div_ceil(self.interval.as_nanos());
            self.due += self.interval * u32::try_from(turns).unwrap_or(u32::MAX);
        }
        self.turn += 1;
        self.due + self.part(self.interval / 20)
    }

    /// A pseudorandom fraction of a duration, different in each period.
    fn part(&self, of: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        (self.seed, self.turn).hash(&mut hasher);
        of.mul_f64(hasher.finish() as f64 / u64::MAX as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn turns_are_an_interval_apart_whatever_probes_take(
            interval in 10u64..100_000, took in prop::collection::vec(0u64..250_000, 1..50),
        ) {
            let (start, interval) = (Instant::now(), Duration::from_millis(interval));
            let mut schedule = Schedule::new(interval, start, 7);
            let (mut now, mut before) = (start, None);
            for took in took {
                let due = schedule.next(now);
                let phase = |at: Instant| (at - start).as_nanos() % interval.as_nanos();
                prop_assert!(due >= now, "it is not over yet");
                prop_assert!(due - now <= interval + interval / 20, "no turn is left out");
                prop_assert!(schedule.due - start < interval || before.is_some());
                if let Some(before) = before {
                    prop_assert_eq!(phase(schedule.due), before, "it keeps to its phase");
                }
                before = Some(phase(schedule.due));
                now = due + Duration::from_millis(took);
            }
        }
    }

    #[test]
    fn targets_are_spread_over_the_interval() {
        let (start, interval) = (Instant::now(), Duration::from_secs(2));
        let mut tenths = [0; 10];
        for seed in 0..10_000 {
            let due = Schedule::new(interval, start, seed).next(start) - start;
            tenths[((due.as_secs_f64() / 2.1 * 10.0) as usize).min(9)] += 1;
        }
        assert!(tenths.iter().all(|count| (700..1300).contains(count)), "{tenths:?}");
    }
}
