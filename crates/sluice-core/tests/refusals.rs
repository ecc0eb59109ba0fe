//! The kernel accepts every plan, however full the sets are and however old and new elements overlap.

mod common;
mod worlds;

use std::sync::Arc;

use common::{Services, With, service, services};
use ipnet::IpNet;
use proptest::prelude::*;
use sluice_core::model::Transition;
use sluice_core::model::{Guard, Scheduler, Service, Source, SourcePorts};
use sluice_core::plan::Plan;
use sluice_core::plan::diff;
use sluice_core::plan::report;
use sluice_core::render::{Program, Rendered, render};
use sluice_nft::Dataplane;
use sluice_nft::fake::FakeKernel;
use worlds::{Many, World, any_world, hosts, networks};

/// The plan from what the kernel holds, and what it leads to.
fn plan(kernel: &FakeKernel, world: &World) -> (Plan, Rendered) {
    let current = kernel.table();
    let desired = render(world.effective(), current);
    (diff(current, Some(&desired.table), &desired.owners), desired)
}

fn carry_out(kernel: &mut FakeKernel, plan: &Plan, batches: usize) {
    for batch in plan.batches.iter().take(batches) {
        let steps = batch.steps();
        kernel.commit(&steps, None).unwrap_or_else(|error| {
            panic!("{}: {}\n{}", error.errno, error.operation, report(plan));
        });
    }
}

/// From one to the next, each planned from what is there and from memory.
fn changes(worlds: &[World]) -> Vec<Plan> {
    let mut kernel = FakeKernel::default();
    let mut held: Option<(&World, Program)> = None;
    let mut plans = vec![];
    for world in worlds {
        let (plan, desired) = plan(&kernel, world);
        if let Some((before, committed)) = &mut held {
            let transition = Transition::between(before.effective(), world.effective());
            let proposal = committed.propose(&transition);
            assert_eq!(proposal.plan, plan);
            committed.accept(proposal);
        }
        carry_out(&mut kernel, &plan, usize::MAX);
        assert_eq!(kernel.table(), Some(&desired.table));
        let committed = held.take().map_or_else(|| desired.program, |(_, committed)| committed);
        assert_eq!(Some(&committed.table()), kernel.table());
        held = Some((world, committed));
        plans.push(plan);
    }
    plans
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    #[test]
    fn change_between_any_services_on_any_networks_is_refused_nothing(
        worlds in prop::collection::vec(any_world(), 2..4),
    ) {
        changes(&worlds);
    }

    /// The daemon stopped, or another commit failed, after any batch.
    #[test]
    fn change_from_a_plan_that_was_carried_out_in_part_is_refused_nothing(
        worlds in prop::collection::vec((any_world(), 0usize..4), 2..5),
    ) {
        let mut kernel = FakeKernel::default();
        for (world, batches) in &worlds {
            let (plan, _) = plan(&kernel, world);
            carry_out(&mut kernel, &plan, *batches);
        }
    }
}

fn denied(nets: &[&str]) -> World {
    let deny = nets.iter().map(|net| net.parse().unwrap()).collect();
    with_guard(Guard { deny, ..Guard::default() })
}

fn with_guard(guard: Guard) -> World {
    let web = service(&["203.0.113.10:80"], &["10.0.2.11:8080"]);
    let web = Service { guard: Some(Arc::new(guard)), ..web };
    World { services: services([("web", web)]), ..World::default() }
}

#[test]
fn range_that_is_narrowed_is_deleted_in_the_commit_that_adds_the_new_one() {
    const OTHERS: [&str; 5] =
        ["192.0.2.0/25", "192.0.3.0/26", "192.0.4.0/27", "192.0.5.0/28", "192.0.6.0/29"];
    let list = |nets: &[&str]| denied(&[&OTHERS[..], nets].concat());
    let deletes = |plan: &Plan, batch: usize| {
        plan.batches[batch].changes.iter().any(|c| c.step.to_string().starts_with("delete element"))
    };
    for (wide, narrow) in [
        (&["10.0.0.0/8"][..], &["10.1.0.0/16", "10.3.0.0/16"][..]),
        (&["10.0.0.0/24"], &["10.0.0.1/32", "10.0.0.255/32"]),
    ] {
        let (wide, narrow) = (list(wide), list(narrow));
        for plan in &changes(&[wide.clone(), narrow, wide])[1..] {
            assert_eq!(plan.batches.len(), 1, "{}", report(plan));
            assert!(deletes(plan, 0));
        }
    }
    // Some are in the way, and others are not.
    changes(&[
        list(&["10.4.0.0/14"]),
        list(&["10.1.0.0/16", "10.5.0.0/16", "10.9.0.0/16"]),
        list(&["10.4.0.0/14"]),
    ]);
    let apart = changes(&[list(&["10.0.0.0/8"]), list(&["11.0.0.0/8"])]);
    assert!(!deletes(&apart[1], 0) && deletes(&apart[1], 1), "{}", report(&apart[1]));
}

#[test]
fn networks_that_are_renumbered_at_once_are_refused_nothing() {
    for source in [Source::Auto, Source::Preserve] {
        let web = Service { source, ..service(&["203.0.113.10:80"], &["10.0.2.11:8080"]) };
        let on =
            |net| World { services: services([("web", web.clone())]), networks: networks(&[("eth0", net)]) };
        changes(&[
            on("10.0.2.1/16"),
            on("10.0.2.1/24"),
            on("10.0.2.1/16"),
            on("10.0.2.200/25"),
            on("10.0.2.1/24"),
        ]);
    }
}

#[test]
fn full_set_takes_a_change_of_one_element() {
    let many = |source| Many {
        count: 256,
        listeners: 1,
        backends: 4,
        first: 0,
        like: Service { source, scheduler: Scheduler::Random, ..Service::default() },
    };
    let snat =
        Source::Addresses("10.0.2.1".parse().unwrap(), "10.0.2.2".parse().unwrap(), SourcePorts::Random);
    for source in [Source::Masquerade, snat] {
        let mut services = many(source).services();
        let before = World { services: services.clone(), ..World::default() };
        services.values_mut().next().unwrap().backends[0] = common::backend("10.8.0.1:80");
        changes(&[before.clone(), World { services, ..World::default() }, before]);
    }
}

#[test]
fn all_elements_of_a_set_are_exchanged_at_once() {
    let many = |first| {
        let like = Service { scheduler: Scheduler::Random, ..Service::default() };
        let services = Many { count: 150, listeners: 1, backends: 4, first, like }.services();
        World { services, ..World::default() }
    };
    changes(&[many(0), many(600), many(0)]);
}

#[test]
fn lists_of_thousands_are_exchanged_at_once() {
    let of_one_length =
        |numbers: std::ops::Range<u32>| with_guard(Guard { deny: hosts(numbers), ..Guard::default() });
    changes(&[
        of_one_length(0..3900),
        of_one_length(200..4100),
        of_one_length(10..20),
        of_one_length(0..3900),
    ]);
    let of_many_lengths = |numbers: std::ops::Range<u32>| {
        let more = (9..20).map(|length| {
            format!("10.{}.0.0/{length}", 128 >> (length - 9)).parse::<IpNet>().unwrap().trunc()
        });
        let deny = IpNet::aggregate(&hosts(numbers).into_iter().chain(more).collect());
        with_guard(Guard { deny, ..Guard::default() })
    };
    changes(&[
        of_many_lengths(0..3000),
        of_many_lengths(1500..4500),
        of_many_lengths(0..1),
        of_many_lengths(0..3000),
    ]);
}

#[test]
fn listeners_move_between_services_with_full_sets() {
    let two = |at: u16| {
        let listen = |ports: std::ops::Range<u16>| -> Vec<&'static str> {
            ports.map(|port| &*format!("203.0.113.10:{port}").leak()).collect()
        };
        let of =
            |listen: Vec<&str>, backends: &[&str]| service(&listen, backends).scheduler(Scheduler::Random);
        let services: Services = services([
            ("a", of(listen(1..at), &["10.0.2.11:80", "10.0.2.12:80"])),
            ("b", of(listen(at..1025), &["10.0.2.13:80", "10.0.2.14:80"])),
        ]);
        World { services, ..World::default() }
    };
    changes(&[two(513), two(500), two(1024), two(2)]);
}

/// Whether a set of a guard and one of another listener could be called alike, when one has outgrown its size.
#[test]
fn set_that_has_outgrown_its_size_is_called_like_no_other_listeners() {
    let listen = ["*:80", "*:80-4096", "203.0.113.10:80-4096", "203.0.113.10:80-90", "*:4096"];
    let guard = Guard { deny: hosts(0..1100), ..Guard::default() };
    let one = |listen: &str| {
        let web = service(&[listen], &["10.0.2.11:8080"]).preserve();
        Service { guard: Some(Arc::new(guard.clone())), ..web }
    };
    let all = services([("web", Service { listeners: listen.map(common::listener).into(), ..one("*:1") })]);
    let together = render(&all, None).table;
    let mut sets = 0;
    for listen in listen {
        // A listener has the same private sets beside other listeners as alone.
        for (name, set) in render(&services([("web", one(listen))]), None).table.sets {
            let is_private = name.as_str().contains("/web/");
            if is_private {
                assert_eq!(together.sets.get(&name), Some(&set), "{name} of {listen}");
                sets += 1;
            }
        }
    }
    assert!(sets > listen.len(), "{sets}");
}
