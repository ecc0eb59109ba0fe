//! Health state machine: only consecutive results change the health of a backend.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use sluice_core::model::{HealthCheck, Initial, Probe};
use sluice_core::pool::health::{Health, HealthState};

fn check(rise: u16, fall: u16, initial: Initial) -> HealthCheck {
    let second = Duration::from_secs(1);
    HealthCheck { probe: Probe::Tcp, port: None, interval: second, timeout: second, rise, fall, initial }
}

#[test]
fn result_that_agrees_with_what_is_assumed_confirms_it_at_once() {
    let mut up = HealthState::new(&check(3, 3, Initial::Up), Health::Unknown);
    assert!(up.is_up() && up.observe(true));
    assert_eq!(up.health(), Health::Healthy);
    let mut down = HealthState::new(&check(3, 3, Initial::Down), Health::Unknown);
    assert!(!down.is_up() && down.observe(false));
    assert_eq!(down.health(), Health::Unhealthy);
}

#[test]
fn alternating_results_change_nothing_when_two_in_a_row_are_needed() {
    let mut machine = HealthState::new(&check(2, 2, Initial::Up), Health::Healthy);
    assert!((0..100).all(|n| !machine.observe(n % 2 == 0) && machine.is_up()));
}

#[test]
fn backend_that_served_before_it_was_checked_stays_up_until_enough_probes_fail() {
    let mut machine = HealthState::serving(&check(1, 2, Initial::Down));
    assert_eq!((machine.health(), machine.is_up()), (Health::Unknown, true));
    assert!(!machine.observe(false) && machine.is_up());
    assert!(machine.observe(false) && !machine.is_up());
}

#[test]
fn new_check_keeps_the_verdict_and_counts_from_zero_by_its_own_thresholds() {
    let mut machine = HealthState::new(&check(1, 3, Initial::Up), Health::Healthy);
    assert!(!machine.observe(false) && !machine.observe(false));
    machine = machine.under(&check(3, 2, Initial::Down));
    assert_eq!((machine.health(), machine.contrary_results()), (Health::Healthy, (0, 2)));
    assert!(!machine.observe(false) && machine.observe(false));
    assert_eq!((machine.health(), machine.contrary_results()), (Health::Unhealthy, (0, 3)));
    assert!(!machine.observe(true) && !machine.observe(true) && machine.observe(true));
    let unknown =
        HealthState::new(&check(1, 1, Initial::Up), Health::Unknown).under(&check(1, 1, Initial::Down));
    assert!(unknown.is_up(), "`initial` of a new check is for backends that it finds new");
}

proptest! {
    #[test]
    fn backend_is_up_by_the_last_run_of_results_that_was_long_enough(
        (rise, fall) in (1u16..6, 1u16..6),
        initial in select(vec![Initial::Up, Initial::Down]),
        results in prop::collection::vec(any::<bool>(), 0..60),
    ) {
        let mut machine = HealthState::new(&check(rise, fall, initial), Health::Unknown);
        let (mut up, mut row) = (initial == Initial::Up, (true, 0));
        for success in results {
            row = (success, if row.0 == success { row.1 + 1 } else { 1 });
            let was = machine.health();
            let changed = machine.observe(success);
            if success != up && row.1 >= if success { rise } else { fall } {
                up = success;
            }
            prop_assert_eq!(machine.is_up(), up);
            prop_assert_eq!(changed, machine.health() != was);
            prop_assert_eq!(machine.contrary_results().0, if success == up { 0 } else { row.1 });
        }
    }
}
