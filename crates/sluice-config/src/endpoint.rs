//! Listeners `ADDRESS:PORT[-PORT][/PROTOCOL]`, addresses of backends `ADDRESS[:PORT[-PORT]]`, and the address of the
//! HTTP listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::Value;
use sluice_core::model::{Address, BackendPort, Listener, Ports, Protocol};

use crate::problem::{Fault, quoted};
use crate::read::{FromYaml, Leaf, Scalar, unknown};
use crate::schema::{Definitions, pattern};
use crate::yaml_path::Here;

impl Leaf for Listener {
    const EXPECTED: &'static str = "a listener such as 203.0.113.10:80";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let text = match scalar {
            Scalar::Text(text) => text,
            Scalar::Integer(port) => return Err(no_address(&port.to_string())),
            other => return Err(Fault::new(format!("invalid listener {other}"), LISTENER)),
        };
        if let Some((network, port)) = network(text) {
            let port = port.unwrap_or("PORT");
            let what = format!("{} is a network; a listener has one address", quoted(network));
            let fix = format!(
                "write one listener per address, or *:{port} with `interface` for all addresses of that interface"
            );
            return Err(Fault::new(what, fix));
        }
        let (rest, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::default()),
            Some((rest, name)) => match Protocol::from_name(name) {
                Some(protocol) => (rest, protocol),
                None => return Err(unknown("protocol", name, &Protocol::ALL.map(Protocol::as_str))),
            },
        };
        if rest.is_empty() || rest.contains(char::is_whitespace) {
            return Err(Fault::new(format!("invalid listener {}", quoted(text)), LISTENER));
        }
        let HostPort { host, port } = HostPort::split(rest)?;
        let Some(port) = port else { return Err(no_port(host)) };
        let ports = if port == "*" { Ports::ALL } else { ports(port)? };
        let address = match host {
            "*" => Address::Any,
            "" => return Err(no_address(&ports.to_string())),
            host => {
                Address::Exact(unicast(host, &format!("write *:{ports} for every address of this host"))?)
            }
        };
        if let Address::Exact(address) = address
            && address.is_loopback()
        {
            let what = format!(
                "{address} is a loopback address: other hosts cannot send to it, and the kernel drops translated \
                 packets from it{}",
                unless(address)
            );
            return Err(Fault::new(what, format!("use *:{ports}, or an address of an interface")));
        }
        Ok(Listener { address, ports, protocol })
    }

    fn schema() -> Value {
        let host = r"(\*|[0-9.]+|\[[0-9A-Fa-f:.]+\])";
        let protocols = Protocol::ALL.map(Protocol::as_str).join("|");
        pattern(&format!(r"^{host}:(\*|[0-9]+(-[0-9]+)?)(/({protocols}))?$"), <Self as Leaf>::EXPECTED)
    }
}

/// The network and the port of a listener that has a network in place of an address: `203.0.113.0/24` and `80` of
/// `203.0.113.0/24:80`.
fn network(text: &str) -> Option<(String, Option<&str>)> {
    let (address, rest) = text.split_once('/')?;
    let address = address.trim_matches(['[', ']']);
    address.parse::<IpAddr>().ok()?;
    let (length, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    let port = behind.trim_start_matches([']', ':']).split('/').next().filter(|port| !port.is_empty());
    (!length.is_empty()).then(|| (format!("{address}/{length}"), port))
}

const LISTENER: &str = "write ADDRESS:PORT, such as 203.0.113.10:80";

fn no_port(host: &str) -> Fault {
    let address = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.to_string(),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Err(_) if host == "*" => host.to_owned(),
        Err(_) => match ports(host) {
            Ok(ports) => return no_address(&ports.to_string()),
            Err(_) => return not_an_address(host),
        },
    };
    match swallowed_port(host) {
        Some((address, port)) => {
            let what = format!("{} has an IPv6 address without brackets", quoted(host));
            Fault::new(what, format!("write [{address}]:{port}"))
        }
        None => {
            let what = format!("{} has no port", quoted(host));
            Fault::new(what, format!("write {address}:PORT, or {address}:* for every port"))
        }
    }
}

fn no_address(port: &str) -> Fault {
    let fix = format!("write ADDRESS:{port}, or *:{port} for every address of this host");
    Fault::new(format!("{} has no address", quoted(port)), fix)
}

/// The listener of the status page and metrics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpAddress(pub(crate) SocketAddr);

impl Leaf for HttpAddress {
    const EXPECTED: &'static str = "ADDRESS:PORT, such as 127.0.0.1:9180";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        const FIX: &str = "write ADDRESS:PORT, such as 127.0.0.1:9180";
        let Scalar::Text(text) = scalar else {
            return Err(Fault::new(format!("invalid address {scalar}"), FIX));
        };
        let HostPort { host, port } = HostPort::split(text)?;
        let port = port.ok_or_else(|| Fault::new(format!("{} has no port", quoted(text)), FIX))?;
        let port = self::port(port)?;
        if host == "*" {
            let fix = format!("write 0.0.0.0:{port} or \"[::]:{port}\" for every address of this host");
            return Err(Fault::new(format!("invalid IP address {}", quoted(host)), fix));
        }
        let address: IpAddr = host.parse().map_err(|_| not_an_address(host))?;
        let address = if address.is_unspecified() { address } else { unicast(host, FIX)? };
        Ok(HttpAddress(SocketAddr::new(address, port)))
    }

    fn schema() -> Value {
        pattern(r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+$", <Self as Leaf>::EXPECTED)
    }
}

/// The address and the port of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackendAddress {
    pub(crate) address: IpAddr,
    pub(crate) port: BackendPort,
}

impl FromYaml for BackendAddress {
    const EXPECTED: &'static str = "a backend such as 10.0.2.11:8080";

    fn scalar(here: &Here<'_>, scalar: Scalar<'_>) -> Option<Self> {
        let Scalar::Text(text) = scalar else {
            let fix = "write ADDRESS:PORT, such as 10.0.2.11:8080";
            here.error(Fault::new(format!("invalid backend {scalar}"), fix));
            return None;
        };
        let target = BackendAddress::parse(text).map_err(|fault| here.error(fault)).ok()?;
        if let Some((address, port)) = swallowed_port(text) {
            here.warning(Fault::new(
                format!("{} is an address without a port", quoted(text)),
                format!("write [{address}]:{port} for port {port}, or [{}] for that address", target.address),
            ));
        }
        Some(target)
    }

    fn schema(_: &mut Definitions) -> Value {
        let with_port = r"([0-9.]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+(-[0-9]+)?)?";
        pattern(&format!("^({with_port}|[0-9A-Fa-f:.]+)$"), Self::EXPECTED)
    }
}

impl BackendAddress {
    fn parse(text: &str) -> Result<Self, Fault> {
        if let Some((network, _)) = network(text) {
            let what = format!("{} is a network; a backend has one address", quoted(network));
            return Err(Fault::new(what, "write the address of each server"));
        }
        if let Some((rest, _)) = text.rsplit_once('/') {
            let what = format!("{} has a protocol; a backend uses that of the listener", quoted(text));
            return Err(Fault::new(what, format!("write {}", quoted(rest))));
        }
        let HostPort { host, port } = HostPort::split(text)?;
        if host == "*" {
            let what = format!("invalid backend {}", quoted(text));
            return Err(Fault::new(what, "write the address of a server"));
        }
        let port = match port {
            None => BackendPort::Keep,
            Some("*") => {
                let what = format!("invalid port `*` in {}", quoted(text));
                return Err(Fault::new(what, "omit the port to keep the client's"));
            }
            Some(port) => {
                let ports = ports(port)?;
                ports.as_single().map_or(BackendPort::Range(ports), BackendPort::One)
            }
        };
        let address = unicast(host, "write the address of a server")?;
        if address.is_loopback() {
            let what = format!(
                "{address} is a loopback address: the kernel does not forward packets to it{}",
                unless(address)
            );
            return Err(Fault::new(
                what,
                "for a server on this host, use an address of one of its interfaces",
            ));
        }
        Ok(BackendAddress { address, port })
    }
}

/// The sysctl that allows loopback addresses, and its side effect.
fn unless(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => " unless route_localnet opens the loopback services of this host to its network",
        IpAddr::V6(_) => "",
    }
}

/// The canonical text, which is the default name of a backend: `10.0.2.11:8080`, `[fd00::1]:8080`, `fd00::1`.
impl std::fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.address, self.port) {
            (address, BackendPort::Keep) => return write!(f, "{address}"),
            (IpAddr::V4(address), _) => write!(f, "{address}:")?,
            (IpAddr::V6(address), _) => write!(f, "[{address}]:")?,
        }
        match self.port {
            BackendPort::Keep => Ok(()),
            BackendPort::One(port) => write!(f, "{port}"),
            BackendPort::Range(Ports { first, last }) => write!(f, "{first}-{last}"),
        }
    }
}

/// The address and the port that are probably meant by `fd00::1:8080`.
fn swallowed_port(text: &str) -> Option<(Ipv6Addr, u16)> {
    let (address, port) = text.parse::<Ipv6Addr>().ok().and(text.rsplit_once(':'))?;
    Some((address.parse().ok()?, self::port(port).ok()?))
}

/// Host and port without brackets, both unchecked.
struct HostPort<'a> {
    host: &'a str,
    port: Option<&'a str>,
}

impl<'a> HostPort<'a> {
    fn split(text: &'a str) -> Result<Self, Fault> {
        if let Some(inside) = text.strip_prefix('[') {
            let fault =
                |what, fix: &str| Err(Fault::new(format!("{} {what}", quoted(text)), format!("write {fix}")));
            let Some((host, rest)) = inside.split_once(']') else {
                return fault("has no closing bracket", "[ADDRESS]:PORT");
            };
            if host.parse::<Ipv4Addr>().is_ok() {
                return fault("has an IPv4 address in brackets", &quoted(format!("{host}{rest}")));
            }
            if host.parse::<Ipv6Addr>().is_err() {
                return Err(not_an_address(host));
            }
            return match rest.strip_prefix(':') {
                None if !rest.is_empty() => fault("has no colon behind the bracket", "[ADDRESS]:PORT"),
                port => Ok(HostPort { host, port }),
            };
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Ok(HostPort { host: text, port: None });
        }
        match text.rsplit_once(':') {
            Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => {
                let what = format!("{} has an IPv6 address without brackets", quoted(text));
                Err(Fault::new(what, format!("write {}", quoted(format!("[{host}]:{port}")))))
            }
            Some((host, port)) => Ok(HostPort { host, port: Some(port) }),
            None => Ok(HostPort { host: text, port: None }),
        }
    }
}

fn ports(text: &str) -> Result<Ports, Fault> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        let what = format!("invalid port range {first}-{last}: the first port is larger than the last");
        return Err(Fault::new(what, format!("write {last}-{first}")));
    }
    Ok(Ports { first, last })
}

fn port(text: &str) -> Result<u16, Fault> {
    // The standard library accepts a leading `+`.
    match text.parse() {
        Ok(port @ 1..) if text.bytes().all(|c| c.is_ascii_digit()) => Ok(port),
        _ => Err(Fault::new(format!("invalid port {}", quoted(text)), "write a number from 1 to 65535")),
    }
}

/// Parses a unicast address. `instead` is the fix for an unspecified address.
fn unicast(host: &str, instead: &str) -> Result<IpAddr, Fault> {
    let Ok(address) = host.parse::<IpAddr>() else { return Err(not_an_address(host)) };
    let refuse = |what: &str, fix: &str| Err(Fault::new(format!("{address} is {what}"), fix));
    match address {
        IpAddr::V4(a) if a.is_unspecified() => refuse("not a unicast address", instead),
        IpAddr::V6(a) if a.is_unspecified() => refuse("not a unicast address", instead),
        IpAddr::V4(a) if a.octets()[0] == 0 => refuse("not a unicast address", "use a unicast address"),
        IpAddr::V4(a) if a.is_broadcast() => refuse("a broadcast address", "use a unicast address"),
        _ if address.is_multicast() => refuse("a multicast address", "use a unicast address"),
        IpAddr::V6(a) if a.is_unicast_link_local() => {
            refuse("a link-local address, which needs a scope", NO_LINK_LOCAL)
        }
        IpAddr::V6(a) => match a.to_ipv4_mapped() {
            Some(v4) => refuse("an IPv4 address in IPv6 form", &format!("write {v4}")),
            None => Ok(address),
        },
        IpAddr::V4(_) => Ok(address),
    }
}

fn not_an_address(host: &str) -> Fault {
    let scoped = host.split_once('%').and_then(|(address, _)| address.parse::<Ipv6Addr>().ok());
    let name = host.contains(|c: char| c.is_ascii_alphabetic()) && !host.contains(':');
    let fix = match scoped {
        Some(address) if address.is_unicast_link_local() => NO_LINK_LOCAL,
        Some(_) => "remove the % and what follows",
        None if name => "write an IP address: names are not resolved",
        None => "check the address",
    };
    Fault::new(format!("invalid IP address {}", quoted(host)), fix)
}

const NO_LINK_LOCAL: &str = "use a global or a unique local (fd00::/8) address";
