//! Kernel settings under `/proc/sys/net`: those of the network namespace that the calling thread is in.

use std::fmt;
use std::io;
use std::path::PathBuf;

use sluice_nft::Ip;

/// A setting that is a number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sysctl(String);

/// A setting could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", .path.display())]
pub struct SysctlError {
    operation: String,
    path: PathBuf,
    source: io::Error,
}

impl SysctlError {
    /// Whether it is for want of a capability, or `/proc/sys` is read-only.
    pub fn is_permission(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
    }
}

impl Sysctl {
    /// Whether packets are forwarded: 0 or 1.
    pub fn forwarding(ip: Ip) -> Self {
        Sysctl(match ip {
            Ip::V4 => "net/ipv4/ip_forward".to_owned(),
            Ip::V6 => "net/ipv6/conf/all/forwarding".to_owned(),
        })
    }

    /// Whether an interface learns routes from IPv6 router advertisements: 0 never, 1 unless the host
    /// forwards, 2 always. `interface` is a name that the kernel gave.
    pub fn accept_ra(interface: &str) -> Self {
        Sysctl(format!("net/ipv6/conf/{interface}/accept_ra"))
    }

    /// The value.
    pub fn read(&self) -> Result<u32, SysctlError> {
        let error = |source| SysctlError { operation: "read".to_owned(), path: self.path(), source };
        let text = std::fs::read_to_string(self.path()).map_err(error)?;
        text.trim().parse().map_err(|_| error(io::Error::new(io::ErrorKind::InvalidData, "not a number")))
    }

    /// Changes the value.
    pub fn write(&self, value: u32) -> Result<(), SysctlError> {
        let operation = || format!("write {value} to");
        std::fs::write(self.path(), value.to_string()).map_err(|source| SysctlError {
            operation: operation(),
            path: self.path(),
            source,
        })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/proc/sys").join(&self.0)
    }
}

/// As `sysctl` takes it.
impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.replace('.', "\0").replace('/', ".").replace('\0', "/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::in_namespace;

    #[test]
    fn forwarding_written_reads_back() {
        in_namespace(|| {
            for sysctl in Ip::ALL.map(Sysctl::forwarding) {
                for value in [1, 0] {
                    sysctl.write(value).expect("a namespace of our own");
                    assert_eq!(sysctl.read().expect("readable"), value, "{sysctl}");
                }
            }
        });
    }

    #[test]
    fn accept_ra_of_an_interface_reads() {
        in_namespace(|| assert!(Sysctl::accept_ra("lo").read().is_ok()));
    }

    #[test]
    fn error_names_path_and_value() {
        in_namespace(|| {
            let sysctl = Sysctl::accept_ra("no-such");
            let path = "/proc/sys/net/ipv6/conf/no-such/accept_ra";
            assert_eq!(sysctl.read().unwrap_err().to_string(), format!("read {path}"));
            assert_eq!(sysctl.write(2).unwrap_err().to_string(), format!("write 2 to {path}"));
        });
    }

    #[test]
    fn display_of_an_interface_with_a_dot_is_what_sysctl_takes() {
        assert_eq!(Sysctl::forwarding(Ip::V4).to_string(), "net.ipv4.ip_forward");
        assert_eq!(Sysctl::accept_ra("eth0.7").to_string(), "net.ipv6.conf.eth0/7.accept_ra");
    }
}
