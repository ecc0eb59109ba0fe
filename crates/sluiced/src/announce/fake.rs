//! [`FakeAddresses`]: the addresses of a host in tests, which refuses what the kernel refuses.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use sluice_netlink::HostAddress;

use super::host_addresses::HostAddresses;

/// Addresses of the interfaces `lo` and `dummy0`; clones share them.
#[derive(Clone, Debug, Default)]
pub struct FakeAddresses(Arc<Mutex<Host>>);

#[derive(Debug, Default)]
struct Host {
    addresses: BTreeSet<HostAddress>,
    refuses: Option<Errno>,
    lacks_dummy: bool,
}

impl FakeAddresses {
    /// All addresses, sorted: the interface, the address, and whether it is ours.
    pub fn all(&self) -> Vec<HostAddress> {
        self.host().addresses.iter().cloned().collect()
    }

    /// The addresses of ours on `lo`, as text.
    pub fn announced(&self) -> Vec<String> {
        let ours = self.all().into_iter().filter(|it| it.is_ours && it.interface == "lo");
        ours.map(|it| it.address.to_string()).collect()
    }

    /// Somebody puts an address on `lo`.
    pub fn put(&self, address: IpAddr) {
        self.host().addresses.insert(HostAddress { interface: "lo".into(), address, is_ours: false });
    }

    /// Somebody removes an address from `lo`, whoever added it.
    pub fn remove(&self, address: IpAddr) {
        self.host().addresses.retain(|it| it.interface != "lo" || it.address != address);
    }

    /// Changes fail with this error from now on, or succeed.
    pub fn refuse(&self, with: Option<Errno>) {
        self.host().refuses = with;
    }

    /// Whether the interface `dummy0` exists from now on.
    pub fn has_dummy(&self, exists: bool) {
        let mut host = self.host();
        host.lacks_dummy = !exists;
        host.addresses.retain(|it| exists || it.interface != "dummy0");
    }

    fn host(&self) -> MutexGuard<'_, Host> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    /// Whether a change of this interface is refused.
    fn check(&self, interface: &str) -> io::Result<()> {
        let exists = interface == "lo" || interface == "dummy0" && !self.lacks_dummy;
        match self.refuses {
            Some(errno) => Err(errno.into()),
            None if exists => Ok(()),
            None => Err(Errno::ENODEV.into()),
        }
    }
}

impl HostAddresses for FakeAddresses {
    fn list(&mut self) -> io::Result<Vec<HostAddress>> {
        Ok(self.all())
    }

    fn add(&mut self, interface: &str, address: IpAddr) -> io::Result<()> {
        let mut host = self.host();
        host.check(interface)?;
        if host.addresses.iter().any(|it| it.interface == interface && it.address == address) {
            return Err(Errno::EEXIST.into());
        }
        let interface = interface.to_owned();
        host.addresses.insert(HostAddress { interface, address, is_ours: true });
        Ok(())
    }

    fn delete(&mut self, interface: &str, address: IpAddr) -> io::Result<()> {
        let mut host = self.host();
        host.check(interface)?;
        let ours = HostAddress { interface: interface.to_owned(), address, is_ours: true };
        match host.addresses.remove(&ours) {
            true => Ok(()),
            false => Err(Errno::EADDRNOTAVAIL.into()),
        }
    }
}
