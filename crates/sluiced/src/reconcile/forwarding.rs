//! Checks or enables IP forwarding, which packets to backends need.

use std::collections::BTreeSet;
use std::io;

use sluice_core::model::{self, Service, ServiceName};
use sluice_netlink::SysctlError;
use sluice_nft::Ip;

use crate::state::sysctls::{SysctlChange, Sysctls};

/// Why packets to backends are not forwarded.
#[derive(Debug, thiserror::Error)]
pub enum ForwardingError {
    /// Forwarding is disabled, and `forwarding: require` does not permit enabling it.
    #[error("forwarding is `require`, but sysctl {0} is 0")]
    Off(String),
    /// The kernel has no IPv6.
    #[error("services have IPv6 backends, but this kernel has no IPv6: sysctl {0} does not exist")]
    NoIpv6(String),
    /// The sysctl could not be read or written.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The routing table could not be read.
    #[error("read the IPv6 routes")]
    Routes(#[source] io::Error),
}

impl ForwardingError {
    /// Whether a capability is missing.
    pub fn is_permission(&self) -> bool {
        matches!(self, ForwardingError::Sysctl(error) if error.is_permission())
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            ForwardingError::Off(_) => "switch it on, or set `forwarding: manage`",
            ForwardingError::NoIpv6(_) => {
                "boot without ipv6.disable=1 or load the module ipv6, or remove the IPv6 services from the file"
            }
            ForwardingError::Sysctl(_) | ForwardingError::Routes(_) => {
                "give sluiced CAP_NET_ADMIN and a writable /proc/sys/net, or enable forwarding yourself and \
                 set `forwarding: ignore`"
            }
        }
    }
}

/// Checks or enables forwarding of these IP versions, as configured.
pub async fn ensure(
    sysctls: &mut Sysctls,
    mode: model::Forwarding,
    versions: &BTreeSet<Ip>,
) -> Result<(), ForwardingError> {
    let changes = changes(sysctls, mode, versions)?;
    Ok(sysctls.change(&changes).await?)
}

/// The sysctls that must change so that these IP versions are forwarded, as configured.
pub(crate) fn changes(
    sysctls: &Sysctls,
    mode: model::Forwarding,
    versions: &BTreeSet<Ip>,
) -> Result<Vec<SysctlChange>, ForwardingError> {
    let mut changes = vec![];
    if mode == model::Forwarding::Ignore {
        return Ok(changes);
    }
    for ip in versions {
        let key = match ip {
            Ip::V4 => "net/ipv4/ip_forward",
            Ip::V6 => "net/ipv6/conf/all/forwarding",
        };
        let value = sysctls.proc.sysctl(key).map_err(|error| match ip {
            Ip::V6 if error.is_missing() => ForwardingError::NoIpv6(key.replace('/', ".")),
            _ => error.into(),
        })?;
        if value != "0" {
            continue;
        }
        if mode == model::Forwarding::Require {
            return Err(ForwardingError::Off(key.replace('/', ".")));
        }
        let advertised = if *ip == Ip::V6 { of_advertised_default_routes(sysctls)? } else { vec![] };
        let why = "or forwarding would drop its default route";
        changes.extend(advertised.into_iter().map(|key| SysctlChange { key, now: "2", why }));
        let why = "backends are reached by forwarding";
        changes.push(SysctlChange { key: key.to_owned(), now: "1", why });
    }
    Ok(changes)
}

/// The sysctls `accept_ra` that must change to 2: a host that forwards IPv6 ignores router advertisements otherwise, and drops
/// the default routes it learnt from them (kernel: Documentation/networking/ip-sysctl.rst).
fn of_advertised_default_routes(sysctls: &Sysctls) -> Result<Vec<String>, ForwardingError> {
    let interfaces = sysctls.proc.advertised_default_routes().map_err(ForwardingError::Routes)?;
    let mut keys = vec![];
    for interface in interfaces {
        let key = format!("net/ipv6/conf/{interface}/accept_ra");
        if sysctls.proc.sysctl(&key)? == "1" {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// IP versions of the backends of these services.
pub fn versions<'a>(services: impl IntoIterator<Item = (&'a ServiceName, &'a Service)>) -> BTreeSet<Ip> {
    let enabled = services.into_iter().filter(|(_, service)| service.enabled);
    enabled.flat_map(|(_, service)| &service.backends).map(|backend| Ip::of(backend.address)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use sluice_core::model::Forwarding::{Ignore, Manage, Require};
    use sluice_netlink::Proc;

    use super::*;
    use crate::state::StateDir;

    const V4: &str = "net/ipv4/ip_forward";
    const V6: &str = "net/ipv6/conf/all/forwarding";
    const RA: &str = "net/ipv6/conf/eth0.7/accept_ra";

    /// A directory that looks like `/proc` of a host that does not forward and has learnt an IPv6
    /// default route on `eth0.7`, and a state directory.
    fn host() -> tempfile::TempDir {
        let host = tempfile::tempdir().unwrap();
        let zero = "0".repeat(32);
        let route = format!("{zero} 00 {zero} 00 {zero} 00000400 00000001 00000000 00450003   eth0.7\n");
        for (path, value) in [
            ("sys/kernel/random/boot_id", "first\n"),
            (&format!("sys/{V4}"), "0\n"),
            (&format!("sys/{V6}"), "0\n"),
            (&format!("sys/{RA}"), "1\n"),
            ("thread-self/net/ipv6_route", &route),
        ] {
            let path = host.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }
        host
    }

    fn daemon(host: &Path) -> Sysctls {
        Sysctls::new(Proc::at(host), StateDir::open(&host.join("state")).unwrap())
    }

    fn values(host: &Path) -> [String; 3] {
        [V4, V6, RA].map(|key| Proc::at(host).sysctl(key).unwrap())
    }

    fn both() -> BTreeSet<Ip> {
        Ip::ALL.into()
    }

    #[tokio::test]
    async fn managed_forwarding_is_enabled_and_restored() {
        let host = host();
        let mut sysctls = daemon(host.path());
        ensure(&mut sysctls, Manage, &[Ip::V4].into()).await.unwrap();
        assert_eq!(values(host.path()), ["1", "0", "1"], "only the version in use");
        ensure(&mut sysctls, Manage, &both()).await.unwrap();
        assert_eq!(values(host.path()), ["1", "1", "2"]);
        sysctls.restore().await;
        assert_eq!(values(host.path()), ["0", "0", "1"]);
    }

    #[tokio::test]
    async fn forwarding_that_was_enabled_is_not_disabled() {
        let host = host();
        Proc::at(host.path()).set_sysctl(V4, "1").unwrap();
        let mut sysctls = daemon(host.path());
        ensure(&mut sysctls, Manage, &[Ip::V4].into()).await.unwrap();
        sysctls.restore().await;
        assert_eq!(values(host.path()), ["1", "0", "1"]);
    }

    #[tokio::test]
    async fn forwarding_after_a_crash_is_restored_to_its_original_value() {
        let host = host();
        ensure(&mut daemon(host.path()), Manage, &both()).await.unwrap();
        let mut next = daemon(host.path());
        ensure(&mut next, Manage, &both()).await.unwrap();
        next.restore().await;
        drop(next);
        assert_eq!(values(host.path()), ["0", "0", "1"]);
        // All sysctls are restored; a third daemon has nothing to do.
        Proc::at(host.path()).set_sysctl(V4, "1").unwrap();
        daemon(host.path()).restore().await;
        assert_eq!(values(host.path()), ["1", "0", "1"]);
    }

    #[tokio::test]
    async fn forwarding_after_a_reboot_is_not_restored() {
        let host = host();
        ensure(&mut daemon(host.path()), Manage, &both()).await.unwrap();
        fs::write(host.path().join("sys/kernel/random/boot_id"), "second").unwrap();
        daemon(host.path()).restore().await;
        assert_eq!(values(host.path()), ["1", "1", "2"]);
    }

    #[tokio::test]
    async fn forwarding_disabled_by_another_program_is_enabled_again_and_restored() {
        let host = host();
        let mut sysctls = daemon(host.path());
        ensure(&mut sysctls, Manage, &[Ip::V4].into()).await.unwrap();
        Proc::at(host.path()).set_sysctl(V4, "0").unwrap();
        ensure(&mut sysctls, Manage, &[Ip::V4].into()).await.unwrap();
        assert_eq!(values(host.path()), ["1", "0", "1"]);
        sysctls.restore().await;
        assert_eq!(values(host.path()), ["0", "0", "1"]);
    }

    #[tokio::test]
    async fn sysctl_that_another_program_changed_is_not_restored() {
        let host = host();
        let mut sysctls = daemon(host.path());
        ensure(&mut sysctls, Manage, &both()).await.unwrap();
        Proc::at(host.path()).set_sysctl(RA, "0").unwrap();
        sysctls.restore().await;
        assert_eq!(values(host.path()), ["0", "0", "0"]);
    }

    #[tokio::test]
    async fn forwarding_required_but_off_is_an_error_that_names_the_sysctl() {
        let host = host();
        let mut sysctls = daemon(host.path());
        let error = ensure(&mut sysctls, Require, &[Ip::V6].into()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "forwarding is `require`, but sysctl net.ipv6.conf.all.forwarding is 0"
        );
        assert_eq!(values(host.path()), ["0", "0", "1"]);
        Proc::at(host.path()).set_sysctl(V6, "1").unwrap();
        ensure(&mut sysctls, Require, &[Ip::V6].into()).await.unwrap();
    }

    #[tokio::test]
    async fn forwarding_ignored_reads_and_writes_nothing() {
        let nowhere = tempfile::tempdir().unwrap();
        ensure(&mut daemon(nowhere.path()), Ignore, &both()).await.unwrap();
        let error = ensure(&mut daemon(nowhere.path()), Manage, &both()).await.unwrap_err();
        assert_eq!(error.to_string(), "read sysctl net.ipv4.ip_forward");
    }
}
