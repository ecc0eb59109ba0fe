//! [`HostAddresses`]: the addresses of this host's interfaces, in the kernel or in a test.

use std::io;
use std::net::IpAddr;

use sluice_netlink::{Addresses, HostAddress};

use crate::fatal::chain;

/// Reads and changes addresses, as [`Addresses`] does in the kernel.
pub trait HostAddresses: Send {
    /// The addresses of all interfaces.
    fn list(&mut self) -> io::Result<Vec<HostAddress>>;
    /// Adds an address as ours.
    fn add(&mut self, interface: &str, address: IpAddr) -> io::Result<()>;
    /// Deletes an address of ours.
    fn delete(&mut self, interface: &str, address: IpAddr) -> io::Result<()>;
}

impl HostAddresses for Addresses {
    fn list(&mut self) -> io::Result<Vec<HostAddress>> {
        Addresses::list(self)
    }

    fn add(&mut self, interface: &str, address: IpAddr) -> io::Result<()> {
        Addresses::add(self, interface, address)
    }

    fn delete(&mut self, interface: &str, address: IpAddr) -> io::Result<()> {
        Addresses::delete(self, interface, address)
    }
}

/// Deletes all addresses that sluice added, for a removal without a daemon. Returns what is left, one line each.
pub fn remove_all(addresses: &mut impl HostAddresses) -> Vec<String> {
    let listed = match addresses.list() {
        Ok(listed) => listed,
        Err(error) => return vec![format!("addresses of services: {}", chain(&error))],
    };
    let mut left = vec![];
    for HostAddress { interface, address, .. } in listed.into_iter().filter(|it| it.is_ours) {
        if let Err(error) = addresses.delete(&interface, address) {
            left.push(format!("address {address} on {interface}: {}", chain(&error)));
        }
    }
    left
}
