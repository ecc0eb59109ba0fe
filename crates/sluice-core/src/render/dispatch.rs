//! Dispatch: matches the destination of a packet and leads it to the chains of its listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sluice_nft::{Base, ChainName, Comparison, Data, Field, Ip, Key, Octets, Operand, Rule, Set, Statement};

use super::fragment::Draft;
use super::frontend::Frontend;
use super::names::{ChainId, SetId};
use crate::model::{Address, InterfaceName, Ports};

/// Leads packets of a listener to `chain`: by the verdict map for an exact listener, by rules otherwise.
pub(super) fn render(draft: &mut Draft<'_, '_>, frontend: &Frontend<'_>, chain: &ChainName) {
    match frontend.exact_key() {
        Some(listener) => {
            let element = (listener, Data::Goto(chain.clone()));
            draft.fill(SetId::Services(frontend.ip), || Set::verdicts(key(frontend.ip)), [element]);
        }
        None => {
            let verdict = || Statement::Goto(chain.clone());
            draft.hook(ChainId::Base(Base::PREROUTING), frontend.rank(), arriving(frontend, verdict()));
            if frontend.service.interface.is_none() {
                draft.hook(ChainId::Base(Base::OUTPUT), frontend.rank(), local(frontend, verdict()));
            }
        }
    }
}

/// The key of sets of exact listeners.
pub(super) fn key(ip: Ip) -> Vec<Operand> {
    [Field::Daddr(ip), Field::L4proto, Field::Dport].map(Operand::Field).to_vec()
}

/// A rule for packets that arrive. `*` matches the host's own addresses or, with an interface, every unicast
/// destination.
pub(super) fn arriving(frontend: &Frontend<'_>, verdict: Statement) -> Rule {
    let interface = frontend.service.interface.as_ref();
    let mut rule: Vec<_> =
        interface.map(|name| Statement::is(Field::Iifname, &interface_octets(name))).into_iter().collect();
    let version = Statement::is(Field::Nfproto, &[frontend.ip.nfproto()]);
    match (frontend.listener.address, interface) {
        (Address::Exact(address), _) => rule.extend([version, destination(address)]),
        (Address::Any, Some(_)) => {
            let kinds = [Field::BROADCAST, Field::MULTICAST];
            rule.extend(kinds.map(|kind| Statement::is_not(Field::FibDaddrType, &kind.to_ne_bytes())));
            rule.push(version);
        }
        (Address::Any, None) => rule.extend([version, local_destination()]),
    }
    finish(rule, frontend, verdict)
}

/// Rules for packets of local processes. `*` does not match loopback destinations: replies to their source
/// address could not return.
fn local(frontend: &Frontend<'_>, verdict: Statement) -> Rule {
    let mut rule = vec![Statement::is(Field::Nfproto, &[frontend.ip.nfproto()])];
    match (frontend.listener.address, frontend.ip) {
        (Address::Exact(address), _) => rule.push(destination(address)),
        (Address::Any, Ip::V4) => {
            let network = Octets::new(&Ipv4Addr::LOCALHOST.octets()[..1]).expect("one byte fits");
            let not_loopback = Statement::Match(Field::Daddr(Ip::V4), Comparison::NotInPrefix(network));
            rule.extend([not_loopback, local_destination()]);
        }
        (Address::Any, Ip::V6) => {
            let loopback = Ipv6Addr::LOCALHOST.octets();
            rule.extend([Statement::is_not(Field::Daddr(Ip::V6), &loopback), local_destination()]);
        }
    }
    finish(rule, frontend, verdict)
}

fn destination(address: IpAddr) -> Statement {
    Statement::is(Field::Daddr(Ip::of(address)), Key::EMPTY.address(address).as_slice())
}

fn local_destination() -> Statement {
    Statement::is(Field::FibDaddrType, &Field::LOCAL.to_ne_bytes())
}

fn finish(mut rule: Vec<Statement>, frontend: &Frontend<'_>, verdict: Statement) -> Rule {
    rule.push(Statement::is(Field::L4proto, &[frontend.protocol()]));
    rule.extend(ports(Field::Dport, frontend.listener.ports));
    rule.push(verdict);
    Rule(rule)
}

/// A match of a port field; none for `*`.
pub(super) fn ports(field: Field, ports: Ports) -> Option<Statement> {
    let octets = |port: u16| Octets::new(&port.to_be_bytes()).expect("a port has two bytes");
    let test = match ports {
        Ports::ALL => return None,
        Ports { first, last } if first == last => Comparison::Eq(octets(first)),
        Ports { first, last } => Comparison::InRange(octets(first), octets(last)),
    };
    Some(Statement::Match(field, test))
}

/// An interface name, zero-padded as the kernel compares it.
pub(super) fn interface_octets(interface: &InterfaceName) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[..interface.as_str().len()].copy_from_slice(interface.as_str().as_bytes());
    octets
}
