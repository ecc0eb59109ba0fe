//! [`readiness`]: whether a service can be given traffic from elsewhere, for example by VRRP or BGP, or why not. Pure.

use std::fmt;

use sluice_nft::Ip;

use super::BackendState;
use crate::model::{Backend, Quorum, Service};

/// The backends of a service that count for its quorum, of one IP version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Eligible backends with a weight, full ones included, backups not.
    pub eligible: usize,
    /// All backends that are not backups.
    pub all: usize,
    /// Backups that are eligible and have a weight.
    pub backups: usize,
}

impl Tally {
    /// Counts the backends of an IP version.
    pub fn of<'a>(ip: Ip, backends: impl Iterator<Item = (&'a Backend, BackendState)>) -> Self {
        let mut tally = Tally::default();
        for (backend, state) in backends.filter(|(backend, _)| Ip::of(backend.address) == ip) {
            let counts = usize::from(state.is_eligible() && state.weight(backend) > 0);
            match backend.backup {
                true => tally.backups += counts,
                false => (tally.eligible, tally.all) = (tally.eligible + counts, tally.all + 1),
            }
        }
        tally
    }
}

/// The IP versions whose quorums a service needs: those of its backends, or of its listeners if it has no backends.
pub fn versions(service: &Service) -> impl Iterator<Item = Ip> + '_ {
    Ip::ALL.into_iter().filter(|ip| match service.backends.is_empty() {
        true => service.listeners.iter().any(|listener| service.takes(listener, *ip)),
        false => service.backends.iter().any(|backend| Ip::of(backend.address) == *ip),
    })
}

/// Why a service is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// The file disables it.
    Disabled,
    /// The daemon stops; of all services.
    Stopping,
    /// An operator made the node leave; of all services.
    Left,
    /// The kernel or the host differs from the configuration, for this reason; of all services.
    OutOfSync(String),
    /// It has no backends.
    NoBackends,
    /// Too few backends are eligible, and no backup serves. With an IP version if the service has both.
    QuorumLost(Option<Ip>, Tally, Quorum),
}

/// Whether an enabled service is in the kernel, in sync and has its quorum. `node` is why no service of this node is ready;
/// `lost` has the IP versions without a quorum.
///
/// # Errors
/// The first reason why not.
pub fn readiness<'a>(
    service: &Service,
    node: Option<&NotReady>,
    lost: impl IntoIterator<Item = (Ip, &'a Tally)>,
) -> Result<(), NotReady> {
    if !service.enabled {
        return Err(NotReady::Disabled);
    }
    if let Some(why) = node {
        return Err(why.clone());
    }
    if service.backends.is_empty() {
        return Err(NotReady::NoBackends);
    }
    match lost.into_iter().find(|(_, tally)| tally.backups == 0) {
        None => Ok(()),
        Some((ip, tally)) => {
            let version = Some(ip).filter(|_| versions(service).count() > 1);
            Err(NotReady::QuorumLost(version, *tally, service.quorum))
        }
    }
}

/// One line for people.
impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotReady::Disabled => f.write_str("disabled"),
            NotReady::Stopping => f.write_str("sluiced is stopping"),
            NotReady::Left => f.write_str("the node has left"),
            NotReady::OutOfSync(why) => write!(f, "not in sync: {why}"),
            NotReady::NoBackends => f.write_str("no backends"),
            NotReady::QuorumLost(ip, Tally { eligible, all, .. }, Quorum { up, .. }) => {
                let version = match ip {
                    None => "",
                    Some(Ip::V4) => "IPv4 ",
                    Some(Ip::V6) => "IPv6 ",
                };
                write!(f, "quorum lost: {eligible} of {all} {version}backends eligible, needs {up}")
            }
        }
    }
}
