//! Sysctls, read and written in `/proc/sys`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

/// Maximum length of an interface name: `IFNAMSIZ` without the terminating zero.
const INTERFACE_NAME: usize = 15;

/// Values that sluice writes or restores.
const VALUES: [&str; 3] = ["0", "1", "2"];

/// The value of a sysctl that sluice replaces, and the value that it writes. `None` for all
/// sysctls that it never changes. The list is closed because the record of changes is in a file that other users
/// may be able to write.
pub fn switched(key: &str) -> Option<(&'static str, &'static str)> {
    match key {
        "net/ipv4/ip_forward" | "net/ipv6/conf/all/forwarding" | "net/netfilter/nf_conntrack_acct" => {
            Some(("0", "1"))
        }
        _ => {
            let interface = key.strip_prefix("net/ipv6/conf/")?.strip_suffix("/accept_ra")?;
            is_interface(interface).then_some(("1", "2"))
        }
    }
}

/// Whether an interface can have this name (`dev_valid_name` in the kernel's net/core/dev.c).
fn is_interface(name: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
    (1..=INTERFACE_NAME).contains(&name.len())
        && name.chars().all(is_plain)
        && ![".", "..", "all", "default"].contains(&name)
}

/// A `proc` file system: the kernel's, or a directory with the same layout.
#[derive(Clone, Debug)]
pub struct Proc(PathBuf);

impl Proc {
    /// The file system at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Proc(root.into())
    }

    /// The value of a sysctl such as `net/ipv4/ip_forward`. Those below `net` belong to the network
    /// namespace of the calling thread.
    pub fn sysctl(&self, key: &str) -> Result<String, SysctlError> {
        let read = self.path(key).and_then(std::fs::read_to_string);
        read.map(|value| value.trim().to_owned()).map_err(|e| SysctlError::new("read", key, e))
    }

    /// Writes a sysctl, if it is in the list of [`switched`].
    ///
    /// # Errors
    /// Also for all other sysctls, and for values other than 0, 1 and 2, without writing anything.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<(), SysctlError> {
        let write = || {
            if switched(key).is_none() || !VALUES.contains(&value) {
                let refused = format!("sluice never sets it to {value:?}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, refused));
            }
            // Never created: the file exists if the kernel has the sysctl.
            let mut file = OpenOptions::new().write(true).truncate(true).open(self.path(key)?)?;
            file.write_all(value.as_bytes())
        };
        write().map_err(|e| SysctlError::new("write", key, e))
    }

    /// Names of the interfaces with a default route learnt from an IPv6 router advertisement.
    pub fn advertised_default_routes(&self) -> io::Result<Vec<String>> {
        let routes = std::fs::read_to_string(self.0.join("thread-self/net/ipv6_route"))?;
        Ok(routes.lines().filter_map(advertised_default_route).map(str::to_owned).collect())
    }

    /// Number of flows that conntrack could not insert, over all CPUs, in the network namespace of the calling thread;
    /// `None` if the kernel does not report it.
    pub fn conntrack_insert_failed(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.0.join("thread-self/net/stat/nf_conntrack")).ok()?;
        let (names, processors) = text.split_once('\n')?;
        let column = names.split_ascii_whitespace().position(|name| name == "insert_failed")?;
        let counts = processors.lines().map(|line| line.split_ascii_whitespace().nth(column));
        counts.map(|count| u64::from_str_radix(count?, 16).ok()).sum()
    }

    /// The file of a sysctl, which is always below `/proc/sys`.
    fn path(&self, key: &str) -> io::Result<PathBuf> {
        if key.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path below /proc/sys"));
        }
        Ok(self.0.join("sys").join(key))
    }
}

impl Default for Proc {
    fn default() -> Self {
        Proc::at("/proc")
    }
}

/// The interface of one line of `ipv6_route`, if it is a default route from a router advertisement.
/// Columns are those of `rt6_info_route` in the kernel's net/ipv6/route.c; numbers are hexadecimal.
fn advertised_default_route(line: &str) -> Option<&str> {
    const RTF_DEFAULT: u32 = 0x0001_0000;
    const RTF_ADDRCONF: u32 = 0x0004_0000;
    let columns: Vec<_> = line.split_ascii_whitespace().collect();
    let [_, prefix_length, _, _, _, _, _, _, flags, interface] = columns[..] else { return None };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let learnt = flags & (RTF_DEFAULT | RTF_ADDRCONF) == RTF_DEFAULT | RTF_ADDRCONF;
    (prefix_length == "00" && learnt).then_some(interface)
}

/// A sysctl could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{operation} sysctl {}", .key.replace('/', "."))]
pub struct SysctlError {
    operation: &'static str,
    key: String,
    source: io::Error,
}

impl SysctlError {
    /// Whether a capability is missing.
    pub fn is_permission(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }

    /// Whether the sysctl does not exist.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    fn new(operation: &'static str, key: &str, source: io::Error) -> Self {
        SysctlError { operation, key: key.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn sysctl_that_sluice_never_changes_is_not_written_wherever_its_key_points() {
        let directory = tempfile::tempdir().unwrap();
        let (proc, victim) = (Proc::at(directory.path().join("proc")), directory.path().join("victim"));
        for path in ["proc/sys/kernel", "proc/sys/net/ipv4", "proc/sys/net/ipv6/conf/eth0"] {
            fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        for path in ["victim", "proc/sys/kernel/core_pattern", "proc/sys/net/ipv6/conf/eth0/accept_ra"] {
            fs::write(directory.path().join(path), "1").unwrap();
        }
        let absolute = victim.to_str().unwrap();
        for key in [
            absolute,
            "../../victim",
            "net/ipv6/conf/../../../../../victim/accept_ra",
            "net/ipv6/conf/eth0/../eth0/accept_ra",
            "net/ipv6/conf//accept_ra",
            "net/ipv6/conf/../accept_ra",
            "net/ipv6/conf/all/accept_ra",
            "kernel/core_pattern",
            "net/ipv4/ip_forward/",
            "",
        ] {
            let error = proc.set_sysctl(key, "0").unwrap_err();
            assert_eq!(error.source.kind(), io::ErrorKind::InvalidInput, "{key}: {error}");
        }
        for key in [absolute, "../../victim", "net/../../../victim", "", "./kernel/core_pattern"] {
            proc.sysctl(key).unwrap_err();
        }
        assert_eq!(fs::read_to_string(victim).unwrap(), "1");
        assert_eq!(proc.sysctl("kernel/core_pattern").unwrap(), "1");

        let ours = "net/ipv6/conf/eth0/accept_ra";
        for value in ["3", "00", "", "0\n0", "|/bin/sh"] {
            proc.set_sysctl(ours, value).unwrap_err();
        }
        assert_eq!(proc.sysctl(ours).unwrap(), "1");
        proc.set_sysctl(ours, "2").unwrap();
        assert_eq!(proc.sysctl(ours).unwrap(), "2");
        proc.set_sysctl("net/ipv4/ip_forward", "1").unwrap_err();
        assert!(!directory.path().join("proc/sys/net/ipv4/ip_forward").exists(), "it is not created");
    }

    #[test]
    fn insert_failed_is_the_sum_of_all_processors() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("thread-self/net/stat");
        std::fs::create_dir_all(&folder).unwrap();
        let text =
            "entries  insert insert_failed drop\n0000000a  00000000 00000010 00000000\n0000000a 0 2 0\n";
        std::fs::write(folder.join("nf_conntrack"), text).unwrap();
        assert_eq!(Proc::at(directory.path()).conntrack_insert_failed(), Some(18));
        assert_eq!(Proc::at(directory.path().join("nowhere")).conntrack_insert_failed(), None);
    }

    #[test]
    fn advertised_default_route_of_a_learnt_one_is_its_interface() {
        let zero = "0".repeat(32);
        let via = "fe800000000000000000000000000001";
        let line = |length: &str, flags: &str| {
            format!("{zero} {length} {zero} 00 {via} 00000400 00000001 00000000 {flags}     eth0")
        };
        assert_eq!(advertised_default_route(&line("00", "00450003")), Some("eth0"));
        // Set by hand, the unreachable entry, and a learnt prefix.
        assert_eq!(advertised_default_route(&line("00", "00000003")), None);
        assert_eq!(advertised_default_route(&line("00", "00200200")), None);
        assert_eq!(advertised_default_route(&line("40", "00450003")), None);
        assert_eq!(advertised_default_route(""), None);
    }
}
