//! TCP sockets on which programs of this machine listen, whose connections a listener may take.

use std::net::IpAddr;

use sluice_core::model::{Address, Listener, Protocol};

/// The default port of SSH.
const PORT: u16 = 22;

/// A socket that a program listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListeningSocket {
    /// Its address; `None`: all of the machine.
    pub(crate) address: Option<IpAddr>,
    /// Its port.
    pub(crate) port: u16,
    /// Whether an SSH server has it.
    pub(crate) is_ssh: bool,
}

impl ListeningSocket {
    /// Whether a listener takes new connections to it, on a host that has this address or not.
    pub(crate) fn is_taken_by(&self, listener: &Listener, is_own: impl Fn(&IpAddr) -> bool) -> bool {
        listener.protocol == Protocol::Tcp
            && (listener.ports.first..=listener.ports.last).contains(&self.port)
            && match listener.address {
                Address::Any => true,
                Address::Exact(address) => is_own(&address) && self.address.is_none_or(|own| own == address),
            }
    }
}

/// Listening sockets as `ss -Hltnp` prints them, without those on loopback. SSH servers are recognised by the program's
/// name where that may be seen, and by port 22 (with socket activation that is systemd's).
pub(crate) fn listening(sockets: &str) -> Vec<ListeningSocket> {
    let socket = |line: &str| {
        let (address, port) = line.split_whitespace().nth(3)?.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let address = address.trim_matches(['[', ']']).split('%').next().unwrap_or_default();
        let address = address.parse::<IpAddr>().ok().filter(|address| !address.is_unspecified());
        let is_ssh = port == PORT || line.contains("((\"sshd");
        (!address.is_some_and(|it| it.is_loopback())).then_some(ListeningSocket { address, port, is_ssh })
    };
    sockets.lines().filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_servers_are_told_by_name_or_by_port() {
        let sockets = "\
LISTEN 0 128 0.0.0.0:2222 0.0.0.0:* users:((\"sshd\",pid=1,fd=3))
LISTEN 0 128 [::]:22 [::]:* users:((\"systemd\",pid=1,fd=3))
LISTEN 0 128 *:22 *:*
LISTEN 0 128 10.0.1.1%eth0:22 0.0.0.0:*
LISTEN 0 128 127.0.0.1:22 0.0.0.0:* users:((\"sshd\",pid=1,fd=3))
LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:((\"nginx\",pid=9,fd=6))
";
        let at = |address: Option<&str>, port, is_ssh| ListeningSocket {
            address: address.map(|it| it.parse().unwrap()),
            port,
            is_ssh,
        };
        assert_eq!(
            listening(sockets),
            [
                at(None, 2222, true),
                at(None, 22, true),
                at(None, 22, true),
                at(Some("10.0.1.1"), 22, true),
                at(None, 80, false),
            ]
        );
    }
}
