//! Plans from the committed program equal plans from a comparison of whole tables.

mod common;

use common::kinds::{TWO, kinds};
use common::story::Story;
use common::strategy::any_services;
use common::{Services, With, service, services};
use proptest::prelude::*;
use proptest::sample::Index;
use sluice_core::model::{
    Backend, BackendPort, HashOn, Midstream, Scheduler, Service, ServiceName, Source, Transition,
};
use sluice_core::plan::report;
use sluice_core::pool::{BackendState, effective_service};
use sluice_core::render::{Rendered, render};
use sluice_nft::Dataplane;
use sluice_nft::fake::FakeKernel;

proptest! {
    #[test]
    fn plan_for_any_change_is_the_one_that_looking_at_everything_gives(
        first in any_services(),
        changes in prop::collection::vec((any_services(), any::<Index>()), 1..6),
    ) {
        let mut story = Story::new(first);
        for (others, index) in changes {
            // One service makes way for one of the same listeners, or goes, or comes.
            let mut desired = story.services.clone();
            let name = ServiceName::new(&format!("s{}", index.index(5))).unwrap();
            match (desired.get_mut(&name), others.into_values().next()) {
                (Some(service), Some(other)) => {
                    // Ranges fit the listeners they were written for.
                    let ranged = |backend: &Backend| matches!(backend.port, BackendPort::Range(_));
                    service.backends.retain(ranged);
                    service.backends.extend(other.backends.into_iter().filter(|backend| !ranged(backend)));
                    service.scheduler = other.scheduler;
                    let is_ipv4 = |backend: &Backend| backend.address.is_ipv4();
                    if !matches!(other.source, Source::Addresses(..)) || service.backends.iter().all(is_ipv4) {
                        service.source = other.source;
                    }
                    service.enabled = other.enabled;
                }
                _ => drop(desired.remove(&name)),
            }
            story.change(desired);
        }
        story.change(Services::new());
    }
}

/// Unchanged services that share addresses, backends or chains with the changed ones.
fn companions() -> [Services; 7] {
    let beside = |service| services([("beside", service)]);
    let adopts = |listen| Service { midstream: Midstream::Adopt, ..service(&[listen], &TWO) };
    [
        Services::new(),
        beside(service(&["203.0.113.10:90"], &TWO)),
        beside(service(&["203.0.113.10:90"], &TWO).preserve().scheduler(Scheduler::Random)),
        beside(adopts("203.0.113.12:80")),
        beside(adopts("203.0.113.12:80-89")),
        beside(adopts("203.0.113.12:80").preserve()),
        beside(Service { affinity: Some(60), ..service(&["203.0.113.12:80"], &TWO) }),
    ]
}

#[test]
fn plan_for_a_change_of_any_kind_is_the_one_that_looking_at_everything_gives() {
    for beside in companions() {
        let with = |services: &Services| {
            services.iter().chain(&beside).map(|(n, s)| (n.clone(), s.clone())).collect()
        };
        let kinds = kinds();
        for (_, first) in &kinds {
            let mut story = Story::new(with(first));
            for (_, next) in &kinds {
                story.change(with(next));
                story.change(with(first));
            }
        }
    }
}

/// Exact listeners that share backends, schedulers and slot counts.
fn many(count: u8) -> Services {
    let random = |n: u8| {
        let backends = ["10.0.2.11:80", "10.0.2.12:80", "10.0.2.13:80"];
        let used = &backends[..usize::from(n % 3) + 1];
        let service = service(&[&format!("203.0.113.{n}:80"), &format!("203.0.113.{n}:81")], used);
        if n.is_multiple_of(2) { service.scheduler(Scheduler::Random) } else { service }
    };
    (1..=count).map(|n| (ServiceName::new(&format!("s{n}")).unwrap(), random(n))).collect()
}

#[test]
fn change_of_one_service_among_exact_ones_is_planned_from_a_part() {
    let mut story = Story::new(many(12));
    let mut change = |edit: &dyn Fn(&mut Services)| {
        let mut desired = story.services.clone();
        edit(&mut desired);
        let (plan, part) = story.change_in_part(desired);
        let elements: usize = part.sets.values().map(|set| set.elements.len()).sum();
        assert!(part.chains.len() < 8 && elements < 32, "{part}");
        plan
    };
    let name = |n: u8| ServiceName::new(&format!("s{n}")).unwrap();
    let plans = [
        change(&|services| services.get_mut(&name(2)).unwrap().backends.truncate(1)),
        change(&|services| services.get_mut(&name(11)).unwrap().backends[0].weight = 5),
        change(&|services| services.get_mut(&name(4)).unwrap().backends.clear()),
        change(&|services| services.get_mut(&name(5)).unwrap().enabled = false),
        change(&|services| services.get_mut(&name(5)).unwrap().enabled = true),
        change(&|services| drop(services.remove(&name(7)))),
        change(&|services| drop(services.insert(name(7), many(12)[&name(7)].clone()))),
        change(&|services| services.get_mut(&name(8)).unwrap().scheduler = Scheduler::RoundRobin),
    ];
    assert_eq!(story.parts, plans.len());
    for plan in plans {
        assert!(!plan.is_empty() && plan.changes().count() < 16, "{plan:?}");
    }
}

#[test]
fn change_that_other_services_notice_is_planned_from_everything() {
    let web = |listen, backends: &[&str]| service(&[listen], backends);
    let both = |backends: &[&str]| {
        let kept = web("203.0.113.10:81", backends).preserve();
        services([("masqueraded", web("203.0.113.10:80", &TWO)), ("kept", kept)])
    };
    let mut story = Story::new(both(&TWO[..1]));
    story.change(both(&TWO));
    assert_eq!(story.parts, 0);
}

#[test]
fn plan_for_the_same_services_is_empty() {
    let mut story = Story::new(many(3));
    assert!(story.change(many(3)).is_empty());
}

#[test]
fn set_that_outgrows_its_size_is_exchanged_whole() {
    let mut story = Story::new(many(200));
    let more = |more: &str| {
        let web = service(&[more], &["10.0.2.11:80"]).scheduler(Scheduler::Random);
        services([("z", web)]).into_iter().chain(many(200)).collect::<Services>()
    };
    story.change(more("203.0.114.1:80"));
    assert_eq!(story.parts, 1);
    let mut desired = story.services.clone();
    for n in 0..800u32 {
        let listen = format!("203.1.{}.{}:80", n / 200, n % 200);
        desired.insert(ServiceName::new(&format!("y{n}")).unwrap(), service(&[&listen], &[]));
    }
    let plan = story.change(desired);
    assert!(report(&plan).to_string().contains("delete set inet sluice services4  #"), "{}", report(&plan));
    assert_eq!(story.parts, 2);
}

#[test]
fn map_that_outgrows_its_size_is_exchanged_in_chains_of_services_that_stay() {
    // The services that are added share the chain of those that stay, or have another one.
    for port in [80, 81] {
        let affine = |n: u32| {
            let listen = format!("203.1.{}.{}:{}", n / 200, n % 200, if n < 1024 { 80 } else { port });
            let web = Service { affinity: Some(60), ..service(&[&listen], &["10.0.2.11:80"]) };
            (ServiceName::new(&format!("s{n}")).unwrap(), web)
        };
        let mut story = Story::new((0..1024).map(affine).collect());
        for count in [1026, 1020] {
            story.change((0..count).map(affine).collect());
        }
        assert_eq!(story.parts, 2);
    }
}

#[test]
fn sets_that_outgrow_their_size_are_all_exchanged_in_one_change() {
    let random = |n: u32| {
        let listen = format!("203.1.{}.{}:80/udp", n / 200, n % 200);
        let web = service(&[&listen], &["10.0.2.11:80"]).scheduler(Scheduler::Random);
        (ServiceName::new(&format!("s{n}")).unwrap(), web)
    };
    // One element more; or the same number, of which one is replaced: the old and the new one do not fit together.
    for after in [0..1025, 1..1025] {
        let mut story = Story::new((0..1024).map(random).collect());
        let plan = report(&story.change(after.map(random).collect())).to_string();
        for set in ["services4", "masquerade4", "random4-1"] {
            assert!(plan.contains(&format!("delete set inet sluice {set}  #")), "{plan}");
        }
        assert_eq!(story.parts, 1);
    }
}

#[test]
fn element_in_a_set_that_outgrows_its_size_is_for_the_service_that_stays() {
    let web = |listen: &str| service(&[listen], &["10.0.2.11:80"]);
    let stays = ("a", web("203.0.113.10:80"));
    // Backends see one source of both, and need one element.
    let mut story = Story::new(services([stays.clone(), ("z", web("203.0.113.10:81"))]));
    let backends: Vec<_> = (0..1030).map(|n| format!("10.8.{}.{}:80", n / 200, n % 200)).collect();
    let backends: Vec<_> = backends.iter().map(String::as_str).collect();
    let large = service(&["203.0.113.11:80"], &backends);
    let plan = report(&story.change(services([stays, ("large", large)]))).to_string();
    assert!(plan.contains("delete set inet sluice masquerade4  #"), "{plan}");
}

#[test]
fn map_that_comes_again_has_the_size_that_its_listener_needs() {
    let web = |backends: &[&str]| services([("web", service(&["203.0.113.10:80"], backends))]);
    let size = |story: &Story| story.committed.table().sets[&"slots4-0".into()].size;
    let mut story = Story::new(web(&["10.0.2.11:80*1500", "10.0.2.12:80*1499"]));
    assert_eq!(size(&story), Some(4096));
    story.change(Services::new());
    story.change(web(&TWO));
    assert_eq!(size(&story), Some(1024));
}

#[test]
fn element_that_two_listeners_need_goes_with_the_second() {
    let two = services([
        ("a", service(&["203.0.113.10:80"], &["10.0.2.11:80"])),
        ("b", service(&["203.0.113.10:81"], &["10.0.2.11:80"])),
        ("c", service(&["203.0.113.10:82"], &["10.0.2.12:80"])),
    ]);
    let mut story = Story::new(two.clone());
    for gone in ["a", "b"] {
        let mut desired = story.services.clone();
        desired.remove(&ServiceName::new(gone).unwrap());
        let plan = story.change(desired);
        let masquerade =
            plan.changes().filter(|change| change.step.to_string().contains("masquerade4")).count();
        assert_eq!(masquerade, usize::from(gone == "b"), "{gone}: {plan:?}");
    }
    assert_eq!(story.parts, 2);
}

#[test]
fn port_that_two_services_learn_is_learnt_on_when_one_of_them_goes() {
    let affine =
        |listen| Service { affinity: Some(60), ..service(&[listen], &["10.0.2.11:80", "10.0.2.12:80"]) };
    let two = services([("a", affine("203.0.113.10:80")), ("b", affine("203.0.113.11:80"))]);
    let mut story = Story::new(two.clone());
    for gone in ["a", "b"] {
        let mut desired = story.services.clone();
        desired.remove(&ServiceName::new(gone).unwrap());
        story.change(desired);
    }
    story.change(two);
    assert_eq!(story.parts, 3);
}

#[test]
fn element_that_listeners_of_two_sources_need_goes_from_the_set_of_the_one_that_goes() {
    let of = |source, listen: &str| Service { source, ..service(&[listen], &[]) };
    let all = services([
        ("a", of(Source::Auto, "203.0.113.10:80")),
        ("b", of(Source::Preserve, "203.0.113.10:81")),
        ("c", of(Source::Auto, "203.0.113.11:80")),
        ("d", of(Source::Preserve, "203.0.113.11:81")),
    ]);
    let name = |name: &str| ServiceName::new(name).unwrap();
    let mut story = Story::new(all.clone());
    let mut desired = all.clone();
    desired.remove(&name("a"));
    story.change(desired.clone());
    desired.insert(name("b"), of(Source::Auto, "203.0.113.10:81"));
    story.change(desired);
    story.change(all);
}

#[test]
fn what_was_kept_wrongly_is_put_right_by_looking_at_everything() {
    let (kept, desired) = (many(4), many(5));
    // As if a partial plan had forgotten a service.
    let Rendered { program: mut committed, table, .. } = render(&kept, None);
    assert!(committed.propose(&Transition::none(&desired)).plan.is_empty());
    let proposal = committed.propose_all((&desired).into());
    let mut kernel = FakeKernel::with_table(table);
    for batch in &proposal.plan.batches {
        kernel.commit(&batch.steps(), None).unwrap();
    }
    committed.accept(proposal);
    assert_eq!(Some(&committed.table()), kernel.table());
    assert_eq!(committed.table(), render(&desired, None).table);
    assert!(committed.propose_all((&desired).into()).plan.is_empty());
}

#[test]
fn plan_for_weights_of_any_listener_looks_at_that_listener_only() {
    let mixed = [
        ("any", service(&["*:80", "203.0.113.10:100-200"], &["10.0.2.11:8080", "10.0.2.12:8080"])),
        ("kept", service(&["203.0.113.10:80"], &["10.0.2.11:8080", "10.0.2.12:8080"]).preserve()),
        ("masqueraded", service(&["203.0.113.10:81"], &["10.0.2.11:8080", "10.0.2.12:8080"])),
    ];
    let all = services(mixed);
    let mut story = Story::new(all.clone());
    for name in all.keys() {
        for weights in [[1, 0], [0, 0], [0, 3], [2, 1], [1, 1]] {
            let mut desired = all.clone();
            let backends = &mut desired.get_mut(name).unwrap().backends;
            backends.iter_mut().zip(weights).for_each(|(backend, weight)| backend.weight = weight);
            let parts = story.parts;
            story.change(desired);
            assert_eq!(story.parts, parts + 1, "{name} {weights:?}");
        }
    }
}

#[test]
fn maglev_points_the_slots_of_who_goes_elsewhere_and_touches_nothing_else() {
    let backends: Vec<_> = (11..21).map(|n| format!("10.0.2.{n}:8080")).collect();
    let backends: Vec<_> = backends.iter().map(String::as_str).collect();
    for (listen, size) in [("203.0.113.10:80", 65_537), ("*:80", 1021), ("203.0.113.10:80-90", 1021)] {
        let web = service(&[listen], &backends).scheduler(Scheduler::Maglev(HashOn::Address, size));
        let down = |gone: &str| {
            let is_up = |backend: &Backend| backend.name.as_str() != gone;
            let web = effective_service(
                &web,
                |backend| BackendState { is_up: is_up(backend), ..BackendState::default() },
                |_| false,
            );
            services([("web", web)])
        };
        let mut story = Story::new(down("nobody"));
        let before = story.committed.table();
        for desired in [down("10.0.2.15:8080"), down("nobody")] {
            let held = story.committed.table();
            story.change(desired);
            assert_eq!(story.committed.table().chains, held.chains);
            let changed = held.sets.iter().map(|(name, set)| {
                let after = &story.committed.table().sets[name].elements;
                assert_eq!(after.len(), set.elements.len(), "{name}");
                set.elements.iter().filter(|(key, element)| after[key].data != element.data).count()
            });
            let (changed, tenth) = (changed.sum::<usize>(), size as usize / 10);
            assert!((tenth..=tenth + 1).contains(&changed), "{changed} of {size}");
        }
        assert_eq!(story.committed.table(), before);
        assert_eq!(story.parts, 2);
    }
}
