//! Kernel settings, which are files.

use std::io;
use std::path::{Path, PathBuf};

/// A `proc` file system: the kernel's, or a directory that looks like it.
#[derive(Clone, Debug)]
pub struct Proc(PathBuf);

impl Proc {
    /// A file system mounted or made up at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Proc(root.into())
    }

    /// The value of a setting such as `net/ipv4/ip_forward`. Those under `net` belong to the network
    /// namespace of the calling thread.
    pub fn sysctl(&self, key: &str) -> Result<String, SysctlError> {
        let value = std::fs::read_to_string(self.path(key)).map_err(|e| SysctlError::new("read", key, e))?;
        Ok(value.trim().to_owned())
    }

    /// Changes a setting.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<(), SysctlError> {
        std::fs::write(self.path(key), value).map_err(|e| SysctlError::new("write", key, e))
    }

    /// Names of the interfaces with a default route learnt from an IPv6 router advertisement.
    pub fn advertised_default_routes(&self) -> io::Result<Vec<String>> {
        let routes = std::fs::read_to_string(self.0.join("thread-self/net/ipv6_route"))?;
        Ok(routes.lines().filter_map(advertised_default_route).map(str::to_owned).collect())
    }

    /// How often conntrack could not enter a flow, on all processors, in the network namespace of the calling thread;
    /// `None` where it does not say.
    pub fn conntrack_insert_failed(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.0.join("thread-self/net/stat/nf_conntrack")).ok()?;
        let (names, processors) = text.split_once('\n')?;
        let column = names.split_ascii_whitespace().position(|name| name == "insert_failed")?;
        let counts = processors.lines().map(|line| line.split_ascii_whitespace().nth(column));
        counts.map(|count| u64::from_str_radix(count?, 16).ok()).sum()
    }

    fn path(&self, key: &str) -> PathBuf {
        self.0.join("sys").join(Path::new(key))
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

/// A setting could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} sysctl {}", .key.replace('/', "."))]
pub struct SysctlError {
    operation: &'static str,
    key: String,
    source: io::Error,
}

impl SysctlError {
    /// Whether it is for want of a capability.
    pub fn is_permission(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }

    /// Whether there is no such setting.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    fn new(operation: &'static str, key: &str, source: io::Error) -> Self {
        SysctlError { operation, key: key.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
