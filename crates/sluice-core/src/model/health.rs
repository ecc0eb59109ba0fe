//! Health checks.

use std::net::IpAddr;
use std::time::Duration;

use sluice_nft::Protocol;

/// The health check of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// The probe.
    pub probe: Probe,
    /// Port of the probes; `None`: the backend's.
    pub port: Option<u16>,
    /// Time from the beginning of one probe to the beginning of the next.
    pub interval: Duration,
    /// Timeout of a probe.
    pub timeout: Duration,
    /// Number of consecutive successes that make a backend healthy.
    pub rise: u16,
    /// Number of consecutive failures that make a backend unhealthy.
    pub fall: u16,
    /// Whether a backend takes new flows before its first result.
    pub initial: Initial,
}

/// Assumed health of a backend without results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Initial {
    /// It takes new flows.
    #[default]
    Up,
    /// It does not.
    Down,
}

/// A kind of probe, and when it succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// A TCP connection is accepted.
    Tcp,
    /// An SCTP association is accepted.
    Sctp,
    /// An HTTP/1.1 GET is answered as expected.
    Http(HttpProbe),
    /// A datagram is answered, or at least not refused.
    Udp(UdpProbe),
    /// An ICMP echo request is answered.
    Icmp,
    /// A program exits with 0.
    Exec(ExecProbe),
}

impl Probe {
    /// The key in the file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Probe::Tcp => "tcp",
            Probe::Sctp => "sctp",
            Probe::Http(_) => "http",
            Probe::Udp(_) => "udp",
            Probe::Icmp => "icmp",
            Probe::Exec(_) => "exec",
        }
    }

    /// The transport protocol of the probed port; `None` for ICMP and for programs.
    pub fn protocol(&self) -> Option<Protocol> {
        match self {
            Probe::Tcp | Probe::Http(_) => Some(Protocol::Tcp),
            Probe::Sctp => Some(Protocol::Sctp),
            Probe::Udp(_) => Some(Protocol::Udp),
            Probe::Icmp | Probe::Exec(_) => None,
        }
    }
}

/// The request of an HTTP probe, and the expected response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpProbe {
    /// Path and query; begins with `/`.
    pub path: String,
    /// Host header, and the name the certificate must have; `None`: the backend's address.
    pub host: Option<String>,
    /// Accepted status codes, as inclusive ranges.
    pub expect: Vec<(u16, u16)>,
    /// Text that the body must contain.
    pub body: Option<String>,
    /// Whether to use TLS.
    pub tls: bool,
    /// Whether to verify the certificate.
    pub verify: bool,
}

/// The datagram of a UDP probe, and the expected answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UdpProbe {
    /// Contents of the datagram.
    pub send: Vec<u8>,
    /// Prefix of the answer; `None`: no answer is needed, only no ICMP error may arrive.
    pub expect: Option<Vec<u8>>,
}

/// The program of an exec probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExecProbe {
    /// Its absolute path, and its arguments. These may contain `{address}`, `{port}`, `{service}` and `{backend}`.
    pub command: Vec<String>,
    /// Whether it keeps the capabilities of a daemon that root runs.
    pub keep_capabilities: bool,
}

/// The target of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeTarget {
    /// Address of the backend.
    pub address: IpAddr,
    /// Port of the probe.
    pub port: u16,
}
