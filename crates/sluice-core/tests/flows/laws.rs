//! Laws of the flow policy for random services and flows.

use std::net::SocketAddr;

use proptest::prelude::*;
use proptest::sample::select;
use sluice_core::flows::flow_index::FlowIndex;
use sluice_core::flows::flow_index::NatTuple;
use sluice_core::flows::{Affected, Flow, FlowAction, FlowPolicy};
use sluice_core::model::Protocol;
use sluice_core::model::Transition;

use crate::common::Services;
use crate::common::strategy::any_services;
use crate::is_local;
use crate::model::modelled;

fn any_flow() -> impl Strategy<Value = Flow> {
    let clients = select(vec!["198.51.100.7", "192.0.2.200", "10.0.1.1"]);
    let v4 = (
        clients,
        select(vec!["203.0.113.10", "203.0.113.11", "198.51.100.1", "10.0.1.1"]),
        select(vec!["10.0.2.11", "10.0.2.12", "10.0.2.13"]),
    );
    let clients6 = select(vec!["2001:db8:c::7", "2001:db8:bad::7", "2001:db8::10"]);
    let v6 = (clients6, select(vec!["2001:db8::10", "2001:db8::11"]), select(vec!["fd00::11", "fd00::12"]));
    let ports = (select(vec![79u16, 80, 81, 90]), select(vec![79u16, 80, 81, 90, 2000, 2001, 8080]));
    let kind =
        (select(&Protocol::ALL[..]), any::<bool>(), any::<bool>(), prop::bool::weighted(0.2), any::<bool>());
    (prop_oneof![3 => v4, 1 => v6], ports, kind).prop_map(
        |((client, to, backend), (port, other), (protocol, translated, opening, closed, masked))| {
            let client = SocketAddr::new(client.parse().unwrap(), 9);
            let to = SocketAddr::new(to.parse().unwrap(), port);
            let backend = SocketAddr::new(backend.parse().unwrap(), other);
            Flow {
                protocol,
                client,
                to,
                backend: if translated { backend } else { to },
                back_to: if masked { SocketAddr::new(backend.ip(), 1) } else { client },
                is_translated: translated,
                is_opening: protocol.has_connections() && opening,
                is_active: !closed,
            }
        },
    )
}

/// Services of which some backends are unhealthy or disabled.
fn any_standing() -> impl Strategy<Value = Services> {
    (any_services(), prop::collection::vec(0u8..8, 25)).prop_map(|(mut services, kinds)| {
        let mut kinds = kinds.into_iter().cycle();
        for service in services.values_mut() {
            for backend in &mut service.backends {
                match kinds.next() {
                    Some(0) => service.unhealthy.push(backend.name.clone()),
                    Some(1) => service.disabled.push(backend.name.clone()),
                    _ => continue,
                }
                backend.weight = 0;
            }
        }
        services
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn verdict_is_that_of_the_model(
        services in any_standing(),
        flows in prop::collection::vec(any_flow(), 1..40),
    ) {
        let policy = FlowPolicy::new(&services);
        for flow in flows {
            prop_assert_eq!(policy.action(&flow, is_local), modelled(&services, &flow), "{:?}", flow);
        }
    }

    /// Of a flow that was right where it was, every change of the action is noticed.
    #[test]
    fn change_concerns_all_flows_that_it_does_not_keep(
        before in any_standing(),
        others in any_standing(),
        kind in 0u8..3,
        which in 0usize..5,
        flows in prop::collection::vec(any_flow(), 1..40),
    ) {
        // Everything is another, or one service goes, or gets another guard and other weights.
        let mut after = if kind == 0 { others.clone() } else { before.clone() };
        if let Some(name) = before.keys().nth(which).filter(|_| kind > 0) {
            match others.values().next() {
                Some(other) if kind == 2 => {
                    let service = after.get_mut(name).unwrap();
                    service.guard.clone_from(&other.guard);
                    service.interface.clone_from(&other.interface);
                    service.on_deny = other.on_deny;
                    service.backends.iter_mut().for_each(|backend| backend.weight ^= 1);
                    service.unhealthy = service.disabled.drain(..).collect();
                }
                _ => drop(after.remove(name)),
            }
        }
        let affected = Affected::by(&Transition::between(&before, &after));
        let (soon, later) = (affected.soon.index(), affected.later.index());
        let (old, new, had) = (FlowPolicy::new(&before), FlowPolicy::new(&after), FlowIndex::of(&before));
        for flow in flows {
            // Connections that were never ours are no concern.
            let way = NatTuple { protocol: flow.protocol, to: flow.to, backend: flow.backend };
            let moves = !flow.protocol.has_connections() || flow.is_opening;
            if !moves && had.backends(&way).next().is_none() {
                continue;
            }
            let (was, is) = (old.action(&flow, is_local), new.action(&flow, is_local));
            if was == FlowAction::Keep && is != FlowAction::Keep {
                prop_assert!(affected.is_news, "{flow:?} {was:?} {is:?}");
                prop_assert!(soon.contains(&flow, is_local) || later.contains(&flow, is_local), "{flow:?} {was:?} {is:?}");
            }
            prop_assert!(was == is || affected.is_news, "{flow:?} {was:?} {is:?}");
        }
    }
}
