//! A model of the flow policy that shares no code with it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use sluice_core::flows::{Flow, FlowAction};
use sluice_core::model::{Address, Listener, OnDeny, OnDown, Service};
use sluice_nft::Ip;

use crate::common::Services;
use crate::is_local;

/// Another statement of the rule: tries every service for every way in that the packet may have taken.
pub fn modelled(services: &Services, flow: &Flow) -> FlowAction {
    let moves = !flow.protocol.has_connections() || flow.is_opening;
    let is_live = flow.protocol.has_reset() && flow.is_active && flow.is_translated;
    if !moves && !is_live {
        return FlowAction::Keep;
    }
    let from_here = is_local(flow.client.ip());
    let ways: &[Option<&str>] =
        if from_here { &[None] } else { &[Some("eth0"), Some("eth1"), Some("elsewhere")] };
    // `None`: no service takes it.
    let mut fates = BTreeSet::new();
    for way in ways {
        // An address that is not known to be local may be so.
        for local in [true, is_local(flow.to.ip())] {
            let candidates = services
                .values()
                .flat_map(|service| service.listeners.iter().map(move |listener| (service, listener)));
            let takes = |(service, listener): &(&Service, &Listener)| {
                service.enabled
                    && listener.protocol == flow.protocol
                    && service.takes(listener, Ip::of(flow.to.ip()))
                    && (listener.ports.first..=listener.ports.last).contains(&flow.to.port())
                    && match (listener.address, &service.interface) {
                        (Address::Any, None) => local,
                        (Address::Any, Some(on)) => *way == Some(on.as_str()),
                        (Address::Exact(address), None) => address == flow.to.ip(),
                        (Address::Exact(address), Some(on)) => {
                            address == flow.to.ip() && *way == Some(on.as_str())
                        }
                    }
            };
            let rank = |(service, listener): &(&Service, &Listener)| {
                let ports = match listener.ports.as_single() {
                    Some(_) => 0,
                    None if listener.ports.count() < 65535 => 1,
                    None => 2,
                };
                let any = listener.address == Address::Any;
                let class = match service.interface {
                    Some(_) => 1,
                    None if ports == 0 && !any => 0,
                    None if ports == 0 => 2,
                    None => 3,
                };
                (class, ports, any)
            };
            let taker = candidates.filter(takes).min_by_key(rank);
            fates.insert(taker.map(|(service, listener)| {
                let of = service.backends.iter().filter(|backend| {
                    let port = backend.port.translate(listener.ports, flow.to.port());
                    SocketAddr::new(backend.address, port) == flow.backend
                });
                let refuses = service.guard.as_ref().is_some_and(|guard| {
                    let is_in =
                        |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&flow.client.ip()));
                    is_in(&guard.deny) || !guard.allow.is_empty() && !is_in(&guard.allow)
                });
                of.map(|backend| {
                    let is_down = service.unhealthy.contains(&backend.name);
                    let is_out = service.disabled.contains(&backend.name);
                    let stays = backend.weight > 0 || !is_down && !is_out;
                    let resets = is_down && !stays && service.on_down == OnDown::Reset
                        || refuses && service.on_deny == OnDeny::Reset;
                    match stays && !refuses {
                        true => FlowAction::Keep,
                        false if resets => FlowAction::Reset,
                        false if moves => FlowAction::Delete,
                        false => FlowAction::Keep,
                    }
                })
                .min()
            }));
        }
    }
    let takes = fates.iter().any(Option::is_some);
    let led: Vec<FlowAction> = fates.iter().flatten().flatten().copied().collect();
    match led.iter().min() {
        Some(FlowAction::Keep) => FlowAction::Keep,
        Some(FlowAction::Reset) if !moves => FlowAction::Reset,
        _ if !moves => FlowAction::Keep,
        Some(_) => FlowAction::Delete,
        None if flow.is_translated => FlowAction::Delete,
        None if takes && !fates.contains(&None) => FlowAction::Delete,
        None => {
            let by_interface =
                !from_here && services.values().any(|s| s.interface.is_some() && listens(s, flow));
            if by_interface && flow.back_to == flow.client { FlowAction::Delete } else { FlowAction::Keep }
        }
    }
}

/// Whether a service takes a flow if that arrives where it listens.
fn listens(service: &Service, flow: &Flow) -> bool {
    let takes = |listener: &Listener| {
        [Address::Any, Address::Exact(flow.to.ip())].contains(&listener.address)
            && listener.protocol == flow.protocol
            && service.takes(listener, Ip::of(flow.to.ip()))
            && (listener.ports.first..=listener.ports.last).contains(&flow.to.port())
    };
    service.enabled && service.listeners.iter().any(takes)
}
