//! Slots of weighted backends: one period, with exact shares, spread evenly.

use std::cmp::Reverse;

/// Maximum number of slots of a service per IP version; validation rejects more.
pub const MAX_SLOTS: u32 = 1 << 16;

/// The backend of each slot, as an index into `weights`; empty if all weights are 0.
///
/// The period is the sum of the weights divided by their greatest common divisor, and each backend has
/// exactly its share of it. The backend with the largest weight is placed first, evenly over the period (a
/// balanced word: the gaps between its slots differ by at most one), then the next one evenly over the free
/// slots, and so on. No backend has more than two slots in a row, also across the end of the period, unless
/// its weight exceeds twice the sum of all others. Backends of equal weight keep their order.
pub fn slots(weights: &[u16]) -> Vec<usize> {
    let divisor = weights.iter().fold(0, |d, w| gcd(d, u32::from(*w)));
    let counts: Vec<usize> =
        weights.iter().map(|w| u32::from(*w).checked_div(divisor).unwrap_or(0) as usize).collect();
    spread(&counts)
}

/// Number of slots of a service whose weights change at run time; it resolves shares to a few percent.
pub fn grid(backends: usize) -> usize {
    (32 * backends).clamp(64, 4096).max(backends)
}

/// The backend of each of a fixed number of slots. Each backend with a weight has at least one slot, and
/// otherwise the number nearest to its share. Empty if all weights are 0.
pub fn on_grid(weights: &[u16], slots: usize) -> Vec<usize> {
    let sum: usize = weights.iter().map(|w| usize::from(*w)).sum();
    if sum == 0 {
        return vec![];
    }
    let share = |weight: u16| usize::from(weight) * slots;
    let mut counts: Vec<usize> = weights.iter().map(|w| (share(*w) / sum).max(usize::from(*w > 0))).collect();
    let mut held: usize = counts.iter().sum();
    let mut by_rest: Vec<usize> = (0..weights.len()).filter(|b| weights[*b] > 0).collect();
    by_rest.sort_by_key(|b| Reverse(share(weights[*b]) % sum));
    for backend in by_rest.iter().cycle().take(slots.saturating_sub(held)) {
        counts[*backend] += 1;
        held += 1;
    }
    while held > slots {
        let most = (0..counts.len()).max_by_key(|b| counts[*b]).expect("the sum is not 0");
        counts[most] -= 1;
        held -= 1;
    }
    spread(&counts)
}

/// Places this number of slots for each backend.
fn spread(weights: &[usize]) -> Vec<usize> {
    let mut heaviest: Vec<usize> = (0..weights.len()).filter(|b| weights[*b] > 0).collect();
    heaviest.sort_by_key(|b| Reverse(weights[*b]));

    let count = |backend: usize| weights[backend];
    let mut free: Vec<usize> = (0..heaviest.iter().map(|b| count(*b)).sum()).collect();
    let mut slots = vec![0; free.len()];
    for (n, backend) in heaviest.iter().enumerate() {
        let others = &heaviest[n..];
        if weights[*backend] == weights[others[others.len() - 1]] {
            // The remaining weights are equal: deal in turn, which has the same result as this loop.
            free.iter().zip(others.iter().cycle()).for_each(|(slot, backend)| slots[*slot] = *backend);
            break;
        }
        let (taken, total) = (count(*backend), free.len());
        let mut place = 0;
        free.retain(|slot| {
            let take = place * taken % total < taken;
            place += 1;
            if take {
                slots[*slot] = *backend;
            }
            !take
        });
    }
    slots
}

/// Number of slots for these weights: their sum divided by their greatest common divisor.
pub fn period(weights: impl Iterator<Item = u16> + Clone) -> u32 {
    let divisor = weights.clone().fold(0, |d, w| gcd(d, u32::from(w)));
    weights.map(u32::from).sum::<u32>().checked_div(divisor).unwrap_or(0)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Longest run of one backend in the repeated period.
    fn longest_run(slots: &[usize]) -> usize {
        let twice: Vec<_> = slots.iter().chain(slots).collect();
        twice.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap_or(0)
    }

    #[test]
    fn slots_of_five_two_one_never_run_longer_than_two() {
        assert_eq!(slots(&[5, 2, 1]), [0, 1, 0, 2, 0, 0, 1, 0]);
    }

    #[test]
    fn slots_of_equal_weights_are_dealt_in_order() {
        assert_eq!(slots(&[7, 7, 7, 7]), [0, 1, 2, 3]);
    }

    #[test]
    fn slots_without_weight_are_none() {
        assert_eq!(slots(&[0, 0]), [] as [usize; 0]);
        assert_eq!(slots(&[]), [] as [usize; 0]);
    }

    #[test]
    fn slots_of_one_heavy_backend_run_no_longer_than_they_must() {
        assert_eq!(longest_run(&slots(&[5, 1, 1])), 3);
        assert_eq!(longest_run(&slots(&[9, 1])), 9);
    }

    proptest! {
        #[test]
        fn slots_for_any_weights_are_exact_and_spread(weights in prop::collection::vec(0u16..=256, 0..12)) {
            let slots = slots(&weights);
            prop_assert_eq!(slots.len() as u32, period(weights.iter().copied()));
            let divisor = weights.iter().fold(0, |d, w| gcd(d, u32::from(*w)));
            for (backend, weight) in weights.iter().enumerate() {
                let held = slots.iter().filter(|b| **b == backend).count() as u32;
                prop_assert_eq!(held * divisor, u32::from(*weight));
            }
            let heaviest = u32::from(weights.iter().copied().max().unwrap_or(0));
            let rest = weights.iter().map(|w| u32::from(*w)).sum::<u32>() - heaviest;
            if rest > 0 {
                let unavoidable = heaviest.div_ceil(rest) as usize;
                prop_assert!(longest_run(&slots) <= unavoidable.max(2), "{slots:?}");
            }
        }
    }
}
