//! Dispatch: matches the destination of a packet and leads it to the chains of its listener.

use std::net::{Ipv4Addr, Ipv6Addr};

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
    let mut rule = vec![];
    if let Some(interface) = &frontend.service.interface {
        rule.push(Statement::is(Field::Iifname, &interface_octets(interface)));
    }
    match (frontend.listener.address, &frontend.service.interface) {
        (Address::Exact(_), _) => rule.extend(destination(frontend)),
        (Address::Any, Some(_)) => {
            for kind in [Field::BROADCAST, Field::MULTICAST] {
                rule.push(Statement::is_not(Field::FibDaddrType, &kind.to_ne_bytes()));
            }
            rule.push(Statement::is(Field::Nfproto, &[frontend.ip.nfproto()]));
        }
        (Address::Any, None) => {
            rule.push(Statement::is(Field::Nfproto, &[frontend.ip.nfproto()]));
            rule.push(Statement::is(Field::FibDaddrType, &Field::LOCAL.to_ne_bytes()));
        }
    }
    finish(rule, frontend, verdict)
}

/// Rules for packets of local processes. `*` does not match loopback destinations: replies to their source
/// address could not return.
fn local(frontend: &Frontend<'_>, verdict: Statement) -> Rule {
    let mut rule = vec![];
    match frontend.listener.address {
        Address::Exact(_) => rule.extend(destination(frontend)),
        Address::Any => {
            rule.push(Statement::is(Field::Nfproto, &[frontend.ip.nfproto()]));
            rule.push(match frontend.ip {
                Ip::V4 => {
                    let network = Octets::new(&Ipv4Addr::LOCALHOST.octets()[..1]).expect("one byte fits");
                    Statement::Match(Field::Daddr(Ip::V4), Comparison::NotInPrefix(network))
                }
                Ip::V6 => Statement::is_not(Field::Daddr(Ip::V6), &Ipv6Addr::LOCALHOST.octets()),
            });
            rule.push(Statement::is(Field::FibDaddrType, &Field::LOCAL.to_ne_bytes()));
        }
    }
    finish(rule, frontend, verdict)
}

fn destination(frontend: &Frontend<'_>) -> Vec<Statement> {
    let Address::Exact(address) = frontend.listener.address else { return vec![] };
    let value = Key::EMPTY.address(address);
    vec![
        Statement::is(Field::Nfproto, &[frontend.ip.nfproto()]),
        Statement::is(Field::Daddr(frontend.ip), value.as_slice()),
    ]
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
