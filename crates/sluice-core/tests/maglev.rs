//! The `maglev` table: shares, and slots that change.

use proptest::prelude::*;
use sluice_core::render::maglev::{Member, is_prime, table};

/// Backends with a weight each, that with everybody serving first.
fn fill(weights: &[(u16, u16)], size: u32) -> Vec<usize> {
    let names: Vec<_> = (0..weights.len()).map(|n| format!("10.0.2.{}:8080", 11 + n)).collect();
    let members =
        names.iter().zip(weights).map(|(name, (full, now))| Member { name, nominal: *full, current: *now });
    table(&members.collect::<Vec<_>>(), size)
}

fn count(slots: &[usize], backend: usize) -> usize {
    slots.iter().filter(|slot| **slot == backend).count()
}

#[test]
fn table_of_three_is_the_same_everywhere() {
    assert_eq!(fill(&[(2, 2), (1, 1), (1, 1)], 13), [1, 0, 2, 0, 1, 2, 0, 0, 1, 2, 0, 0, 0]);
}

#[test]
fn table_whose_backend_goes_moves_none_of_the_others_and_gives_all_back() {
    for size in [251, 1021, 65_537] {
        let all = fill(&[(1, 1); 10], size);
        for gone in 0..10 {
            let mut weights = [(1, 1); 10];
            weights[gone].1 = 0;
            let without = fill(&weights, size);
            let others = || all.iter().zip(&without).filter(|(before, _)| **before != gone);
            assert_eq!(others().filter(|(before, after)| before != after).count(), 0, "{size}");
            (0..10).filter(|backend| *backend != gone).for_each(|backend| {
                let share = size as usize / 9;
                assert!((share..=share + 1).contains(&count(&without, backend)), "{size}");
            });
        }
    }
}

/// As published, where the file itself changes.
#[test]
fn table_of_a_file_with_one_backend_less_moves_a_few_percent() {
    for (size, most) in [(1021, 0.035), (65_537, 0.005)] {
        let all = fill(&[(1, 1); 10], size);
        let moved = |gone: usize| {
            let mut weights = [(1, 1); 10];
            weights[gone] = (0, 0);
            let after = fill(&weights, size);
            let moved = all.iter().zip(&after).filter(|(before, now)| **before != gone && before != now);
            moved.count() as f64 / (size as f64 * 0.9)
        };
        let mean = (0..10).map(moved).sum::<f64>() / 10.0;
        assert!(mean <= most, "{size}: {mean}");
    }
}

#[test]
fn prime_is_told_from_others() {
    assert_eq!((0..30).filter(|n| is_prime(*n)).collect::<Vec<_>>(), [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
    assert!(is_prime(1021) && is_prime(65_537) && !is_prime(65_535));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn table_for_any_weights_is_in_proportion(
        full in prop::collection::vec(1u16..=256, 1..12),
        ramps in prop::collection::vec(0u16..=10, 12),
    ) {
        let weights: Vec<_> = full.iter().zip(&ramps).map(|(full, ramp)| (*full, full * ramp)).collect();
        let slots = fill(&weights, 1021);
        let sum: usize = weights.iter().map(|(_, now)| usize::from(*now)).sum();
        prop_assert_eq!(slots.is_empty(), sum == 0);
        for (backend, (_, now)) in weights.iter().enumerate().filter(|_| sum > 0) {
            let share = usize::from(*now) as f64 * 1021.0 / sum as f64;
            let held = count(&slots, backend);
            prop_assert!((held as f64 - share).abs() <= 2.0 + weights.len() as f64, "{backend}: {held}, {share}");
            prop_assert!(held > 0 || *now == 0);
        }
    }

    #[test]
    fn table_does_not_depend_on_a_common_factor(
        weights in prop::collection::vec((1u16..=256, 0u16..=256), 1..12),
        factor in 2u16..=10,
    ) {
        let scaled: Vec<_> = weights.iter().map(|(full, now)| (*full, now * factor)).collect();
        prop_assert_eq!(fill(&weights, 251), fill(&scaled, 251));
    }
}
