//! Eligible backends and their effective weights.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::{With, service, services};
use proptest::prelude::*;
use proptest::sample::select;
use sluice_core::model::{Backend, HashOn, HealthCheck, Initial, OnEmpty, Probe, Quorum, Scheduler, Service};
use sluice_core::pool::health::Admin;
use sluice_core::pool::{BackendState, RAMP_STEPS, at_start, effective_service};
use sluice_core::render::bounds::MAX_ELEMENTS;
use sluice_core::render::render;
use sluice_core::render::slots::{grid, on_grid};

const FOUR: [&str; 4] = ["10.0.2.11:80", "10.0.2.12:80", "10.0.2.13:80", "10.0.2.14:80"];

fn web(backends: &[&str]) -> Service {
    service(&["203.0.113.10:80"], backends)
}

/// Weights in force when backends stand like this.
fn weights(service: &Service, standings: &[BackendState]) -> Vec<u16> {
    let of = |name: &str| service.backends.iter().position(|b| b.name.as_str() == name).unwrap();
    let now = effective_service(service, |backend| standings[of(backend.name.as_str())], |_| false);
    now.backends.iter().map(|backend| backend.weight).collect()
}

fn up() -> BackendState {
    BackendState::default()
}

fn down() -> BackendState {
    BackendState { is_up: false, ..up() }
}

fn admin(admin: Admin) -> BackendState {
    BackendState { admin, ..up() }
}

#[test]
fn backend_that_is_down_drained_disabled_or_full_takes_no_new_flows() {
    let web = web(&FOUR);
    let full = BackendState { is_full: true, ..up() };
    assert_eq!(weights(&web, &[up(), down(), up(), up()]), [1, 0, 1, 1]);
    assert_eq!(weights(&web, &[admin(Admin::Drain), admin(Admin::Disabled), full, up()]), [0, 0, 0, 1]);
    assert_eq!(effective_service(&web, |_| up(), |_| false), web, "nothing is otherwise");
}

#[test]
fn weight_of_an_operator_takes_the_place_of_the_files() {
    let web = web(&["10.0.2.11:80*3", "10.0.2.12:80"]);
    let weight = |weight| BackendState { weight: Some(weight), ..up() };
    assert_eq!(weights(&web, &[weight(7), weight(0)]), [7, 0]);
}

#[test]
fn backups_serve_when_the_others_are_fewer_than_the_quorum() {
    let mut web = web(&FOUR);
    web.quorum = Quorum::of(2);
    web.backends[3].backup = true;
    assert_eq!(weights(&web, &[up(), up(), up(), up()]), [1, 1, 1, 0]);
    assert_eq!(weights(&web, &[up(), up(), down(), up()]), [1, 1, 0, 0]);
    assert_eq!(weights(&web, &[up(), down(), down(), up()]), [0, 0, 0, 1]);
    assert_eq!(weights(&web, &[up(), down(), down(), down()]), [0, 0, 0, 0]);
    web.backends[1].weight = 0;
    assert_eq!(weights(&web, &[up(), up(), up(), up()]), [1, 0, 1, 0]);
    assert_eq!(weights(&web, &[up(), up(), down(), up()]), [0, 0, 0, 1], "weight 0 is not of the quorum");
}

#[test]
fn pools_of_two_ip_versions_are_two() {
    let mut both =
        service(&["203.0.113.10:80", "2001:db8::10:80"], &[FOUR[0], FOUR[1], "[fd00::1]:80", "[fd00::2]:80"]);
    both.backends[1].backup = true;
    both.backends[3].backup = true;
    assert_eq!(weights(&both, &[down(), up(), up(), up()]), [0, 1, 1, 0]);
}

#[test]
fn clients_of_an_affine_service_leave_backends_that_are_down_or_disabled() {
    let affine = Service { affinity: Some(60), ..web(&FOUR) };
    let standings = [down(), admin(Admin::Disabled), admin(Admin::Drain), up()];
    let evict_from = |service: &Service| {
        let of = |name: &str| FOUR.iter().position(|address| *address == name).unwrap();
        let now = effective_service(service, |backend| standings[of(backend.name.as_str())], |_| false);
        now.evict_from.iter().map(|name| of(name.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(evict_from(&affine), [0, 1]);
    assert!(evict_from(&web(&FOUR)).is_empty(), "no client is remembered");
}

#[test]
fn empty_pool_with_use_all_takes_whom_no_operator_keeps_out() {
    let mut web = web(&FOUR);
    web.on_empty = OnEmpty::UseAll;
    assert_eq!(weights(&web, &[down(), down(), down(), admin(Admin::Drain)]), [1, 1, 1, 0]);
    assert_eq!(weights(&web, &[down(), up(), down(), down()]), [0, 1, 0, 0]);
    let full = BackendState { is_full: true, ..down() };
    assert_eq!(weights(&web, &[full, down(), full, full]), [0, 1, 0, 0]);
}

#[test]
fn backend_that_came_back_gets_its_share_step_by_step() {
    let web = web(&["10.0.2.11:80*2", "10.0.2.12:80"]);
    let shares = |ramp| weights(&web, &[up(), BackendState { ramp, ..up() }]);
    assert_eq!(shares(1), [20, 1]);
    assert_eq!(shares(5), [20, 5]);
    assert_eq!(shares(RAMP_STEPS), [2, 1]);
    assert!(
        effective_service(&web, |_| BackendState { ramp: 1, ..up() }, |_| false).fixed_grid,
        "steps re-point slots only"
    );
}

/// Slots of others move when the weights that the table is made from do.
#[test]
fn table_of_maglev_is_made_from_weights_of_all_backends_that_an_operator_does_not_change() {
    let mut web = web(&["10.0.2.11:80*3", "10.0.2.12:80*2", "10.0.2.13:80", "10.0.2.14:80"])
        .scheduler(Scheduler::Maglev(HashOn::Address, 1021));
    web.backends[3].backup = true;
    let weight = |weight| BackendState { weight: Some(weight), ..up() };
    let full = |standings: [BackendState; 4]| {
        let of = |backend: &Backend| web.backends.iter().position(|it| it.name == backend.name).unwrap();
        effective_service(&web, |backend| standings[of(backend)], |_| false).nominal_weights
    };
    assert!(full([up(), up(), up(), up()]).is_empty(), "as the file says");
    assert_eq!(full([down(), up(), up(), up()]), [3, 2, 1, 0]);
    assert_eq!(full([weight(0), up(), up(), up()]), [3, 2, 1, 0]);
    assert_eq!(full([weight(5), up(), down(), up()]), [5, 2, 1, 0]);
}

#[test]
fn services_at_start_are_those_that_their_files_do_not_describe_already() {
    let checked = |initial| {
        let second = Duration::from_secs(1);
        let (probe, interval, timeout) = (Probe::Tcp, second, second);
        let check = HealthCheck { probe, port: None, interval, timeout, rise: 1, fall: 1, initial };
        Service { health: Some(Arc::new(check)), ..web(&FOUR) }
    };
    let mut with_backup = web(&FOUR);
    with_backup.backends[3].backup = true;
    let file = services([
        ("backup", with_backup),
        ("down", checked(Initial::Down)),
        ("plain", web(&FOUR)),
        ("up", checked(Initial::Up)),
    ]);
    let serving = at_start(&file);
    let weights = |service: &Service| service.backends.iter().map(|b| b.weight).collect::<Vec<_>>();
    let serving: Vec<_> = serving.iter().map(|(name, service)| (name.as_str(), weights(service))).collect();
    assert_eq!(serving, [("backup", vec![1, 1, 1, 0]), ("down", vec![0; 4])]);
}

proptest! {
    #[test]
    fn whoever_serves_may_and_somebody_does_if_anybody_may(
        standings in prop::collection::vec(
            (select(vec![Admin::Enabled, Admin::Drain, Admin::Disabled]), any::<[bool; 3]>(), 0u16..3), 4),
        quorum in 1u16..3,
        on_empty in select(vec![OnEmpty::Reject, OnEmpty::Drop, OnEmpty::UseAll]),
    ) {
        let mut web = web(&FOUR);
        (web.quorum, web.on_empty) = (Quorum::of(quorum), on_empty);
        let mut all = vec![];
        for (backend, (admin, [is_up, is_full, backup], weight)) in web.backends.iter_mut().zip(standings) {
            (backend.backup, backend.weight) = (backup, weight);
            all.push(BackendState { admin, is_up, is_full, ..up() });
        }
        let now = weights(&web, &all);
        let able = |i: usize| all[i].is_eligible() && !all[i].is_full && web.backends[i].weight > 0;
        for (i, weight) in now.iter().enumerate().filter(|(_, weight)| **weight > 0) {
            prop_assert_eq!(*weight, web.backends[i].weight);
            prop_assert!(able(i) || on_empty == OnEmpty::UseAll && all[i].admin == Admin::Enabled && !all[i].is_full);
        }
        let enough = (0..4).filter(|i| able(*i) && !web.backends[*i].backup).count() >= usize::from(quorum);
        let backup = (0..4).any(|i| able(i) && web.backends[i].backup);
        prop_assert!(now.iter().any(|weight| *weight > 0) || !enough && !backup);
    }

    #[test]
    fn slots_on_a_grid_are_as_near_to_the_shares_as_it_allows(
        weights in prop::collection::vec(0u16..=2560, 1..12),
    ) {
        let size = grid(weights.len());
        let slots = on_grid(&weights, size);
        let sum: u32 = weights.iter().map(|w| u32::from(*w)).sum();
        prop_assert_eq!(slots.len(), if sum == 0 { 0 } else { size });
        for (backend, weight) in weights.iter().enumerate() {
            let held = slots.iter().filter(|slot| **slot == backend).count() as f64;
            let share = f64::from(*weight) * size as f64 / f64::from(sum.max(1));
            prop_assert!(*weight == 0 || held >= 1.0);
            // Those that hold one slot for less than one take it from the largest.
            let small = weights.iter().filter(|w| u32::from(**w) * (size as u32) < sum).count() as f64;
            prop_assert!((held - share).abs() < 1.0 + small, "{held} slots for {share}");
        }
    }
}

/// A listener on 4,096 ports whose backends shift the ports, which needs a map element per port and slot.
fn shifting(count: u8) -> Service {
    let backends: Vec<_> = (1..=count).map(|n| format!("10.0.2.{n}:8096-12191")).collect();
    let backends: Vec<_> = backends.iter().map(String::as_str).collect();
    service(&["203.0.113.10:4096-8191"], &backends)
}

#[test]
fn weights_of_operators_take_no_more_elements_than_a_file_may() {
    let coprime = [256, 255, 253, 251, 249, 247, 245, 243, 241, 239, 0, 233];
    for (weights, ramp) in [(&[256, 255][..], RAMP_STEPS), (&coprime, RAMP_STEPS), (&coprime[..9], 3)] {
        let web = shifting(weights.len() as u8);
        let now = effective_service(
            &web,
            |backend| {
                let at = web.backends.iter().position(|other| other.name == backend.name).unwrap();
                BackendState { weight: Some(weights[at]), ramp, ..up() }
            },
            |_| false,
        );
        let table = render(&services([("web", now)]), None).table;
        let map = &table.sets[&"ports4-0".into()];
        assert!(
            map.elements.len() <= MAX_ELEMENTS as usize,
            "{} elements for {weights:?}",
            map.elements.len()
        );
        let serving: BTreeSet<_> =
            map.elements.values().map(|element| format!("{:?}", element.data)[..14].to_owned()).collect();
        assert_eq!(serving.len(), weights.iter().filter(|weight| **weight > 0).count());
    }
}
