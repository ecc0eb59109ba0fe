//! How backends are probed.

use std::net::IpAddr;
use std::time::Duration;

use sluice_nft::Protocol;

/// What is asked of a backend, how often, and how many answers change its health.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// One attempt.
    pub probe: Probe,
    /// Port that is probed; `None`: the backend's.
    pub port: Option<u16>,
    /// From the beginning of one attempt to that of the next.
    pub interval: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Successes in a row that make a backend healthy.
    pub rise: u16,
    /// Failures in a row that make a backend unhealthy.
    pub fall: u16,
    /// Whether it takes new flows before the first result.
    pub initial: Initial,
}

/// State of a backend that was never probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Initial {
    /// It takes new flows.
    #[default]
    Up,
    /// It does not.
    Down,
}

/// One kind of attempt.
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
    /// A program exits with 0. Words of its arguments may hold `{address}`, `{port}`, `{service}` and `{backend}`.
    Exec(Vec<String>),
}

impl Probe {
    /// The key that it is written with.
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

    /// The transport protocol that it asks a port with; `None` for one without, and for programs.
    pub fn protocol(&self) -> Option<Protocol> {
        match self {
            Probe::Tcp | Probe::Http(_) => Some(Protocol::Tcp),
            Probe::Sctp => Some(Protocol::Sctp),
            Probe::Udp(_) => Some(Protocol::Udp),
            Probe::Icmp | Probe::Exec(_) => None,
        }
    }
}

/// What a GET asks for, and which answer is good.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpProbe {
    /// Path and query; begins with `/`.
    pub path: String,
    /// Host header, and the name the certificate must have; `None`: the backend's address.
    pub host: Option<String>,
    /// Good status codes, inclusive ranges.
    pub expect: Vec<(u16, u16)>,
    /// Text that the body must hold.
    pub body: Option<String>,
    /// Whether to speak TLS.
    pub tls: bool,
    /// Whether the certificate must be valid for the host.
    pub verify: bool,
}

/// What is sent, and which answer is good.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UdpProbe {
    /// Contents of the datagram.
    pub send: Vec<u8>,
    /// What the answer must begin with. `None`: no answer is needed, only no ICMP error may come.
    pub expect: Option<Vec<u8>>,
}

/// Where an attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeTarget {
    /// Address of the backend.
    pub address: IpAddr,
    /// Port that is probed.
    pub port: u16,
}
