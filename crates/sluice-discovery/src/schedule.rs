//! When a lookup is repeated: pure functions.

use std::time::Duration;

use sluice_core::model::Resolver;

/// Longest time between two attempts while there is an error, within the bounds of the resolver.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Time until the next query after a good answer. `unit` in `0.0..1.0` spreads queries: by a tenth, and those after the
/// first answer over the whole TTL, because all names of a file are first asked at the same time.
pub(crate) fn after_answer(
    ttl: Option<Duration>,
    resolver: &Resolver,
    is_first: bool,
    unit: f64,
) -> Duration {
    let Resolver { min_ttl, max_ttl, .. } = *resolver;
    let max_ttl = max_ttl.max(min_ttl);
    let ttl = ttl.unwrap_or(LONGEST_RETRY).clamp(min_ttl, max_ttl);
    let earliest = if is_first { min_ttl } else { ttl.mul_f64(0.9).max(min_ttl) };
    let latest = ttl.mul_f64(1.1).min(max_ttl);
    earliest + latest.saturating_sub(earliest).mul_f64(unit)
}

/// Time until the next attempt after the `failures`th error in a row: twice as long each time.
pub(crate) fn after_failure(failures: u32, resolver: &Resolver, unit: f64) -> Duration {
    let Resolver { min_ttl, max_ttl, .. } = *resolver;
    let longest = LONGEST_RETRY.clamp(min_ttl, max_ttl.max(min_ttl));
    let doubled = min_ttl.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let wait = doubled.min(longest);
    (wait.mul_f64(0.9 + 0.2 * unit)).clamp(min_ttl, longest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolver(min: u64, max: u64) -> Resolver {
        let [min_ttl, max_ttl] = [min, max].map(Duration::from_millis);
        Resolver { min_ttl, max_ttl, ..Resolver::default() }
    }

    proptest! {
        #[test]
        fn wait_is_within_the_bounds(
            min in 100u64..10_000, more in 0u64..1_000_000, ttl in proptest::option::of(0u64..1_000_000_000),
            is_first: bool, failures in 1u32..1_000, unit in 0.0..1.0f64,
        ) {
            let resolver = resolver(min, min + more);
            let bounds = resolver.min_ttl..=resolver.max_ttl;
            let answered = after_answer(ttl.map(Duration::from_millis), &resolver, is_first, unit);
            prop_assert!(bounds.contains(&answered), "{answered:?}");
            let failed = after_failure(failures, &resolver, unit);
            prop_assert!(bounds.contains(&failed), "{failed:?}");
        }
    }

    #[test]
    fn wait_after_the_first_answer_is_anywhere_in_the_ttl() {
        let resolver = resolver(1_000, 300_000);
        let wait = |is_first, unit| after_answer(Some(Duration::from_secs(100)), &resolver, is_first, unit);
        assert_eq!([0.0, 1.0].map(|unit| wait(true, unit).as_secs()), [1, 110]);
        assert_eq!([0.0, 1.0].map(|unit| wait(false, unit).as_secs()), [90, 110]);
    }

    #[test]
    fn wait_after_errors_doubles_up_to_half_a_minute() {
        let resolver = resolver(1_000, 300_000);
        let waits =
            [1, 2, 3, 4, 5, 6, 7, 40].map(|failures| after_failure(failures, &resolver, 0.5).as_secs());
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    }
}
