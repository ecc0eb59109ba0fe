//! Services as text for `iptables-restore` and `ip6tables-restore`: the classic recipe, corrected.
//!
//! The daemon never loads it. It is there to compare with, to learn from, and for hosts without
//! nftables. Options: iptables-extensions(8), `addrtype`, `conntrack`, `statistic`, `DNAT`,
//! `MASQUERADE` and `REDIRECT`.

#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::net::IpAddr;

use sluice_core::model::{
    Address, Backend, BackendPort, EffectiveServices, Midstream, Ports, Scheduler, ServiceName, Source,
    SourcePorts,
};
use sluice_core::render::slots::slots;
use sluice_core::render::{Frontend, frontends};
use sluice_nft::Ip;

/// A service that iptables has no rules for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("render service {service} for iptables: {reason}")]
pub(crate) struct Unsupported {
    /// The service.
    service: ServiceName,
    /// What iptables lacks.
    reason: &'static str,
}

/// Renders all enabled services of one IP version.
///
/// The text loads with `iptables-restore --noflush` (`ip6tables-restore` for [`Ip::V6`]), and without
/// `--noflush` where no other rules need to stay. Fails on the first service that has no iptables form.
pub(crate) fn render<'a>(services: impl Into<EffectiveServices<'a>>, ip: Ip) -> Result<String, Unsupported> {
    let mut frontends: Vec<_> =
        frontends(services.into()).into_iter().filter(|frontend| frontend.ip == ip).collect();
    frontends.sort_by_key(Frontend::rank);
    frontends.iter().try_for_each(check_supported)?;
    Ok(header(ip) + &nat(&frontends))
}

fn check_supported(frontend: &Frontend<'_>) -> Result<(), Unsupported> {
    let refuse = |reason| Err(Unsupported { service: frontend.name.clone(), reason });
    match frontend.service.scheduler {
        Scheduler::SourceHash(_) => {
            return refuse(
                "source-hash has no iptables form: `statistic` picks by count or by chance, and HMARK would \
                 overwrite packet marks (use round-robin or random)",
            );
        }
        Scheduler::Maglev(..) => {
            return refuse(
                "maglev has no iptables form: `statistic` picks by count or by chance, and HMARK would \
                 overwrite packet marks (use round-robin or random)",
            );
        }
        _ => {}
    }
    match &frontend.service.interface {
        Some(name) if name.as_str().ends_with('+') => {
            refuse("iptables takes an interface name that ends in '+' for a prefix (rename the interface)")
        }
        _ => Ok(()),
    }
}

fn header(ip: Ip) -> String {
    let (version, command, sysctl) = match ip {
        Ip::V4 => ("IPv4", "iptables-restore", "net.ipv4.ip_forward"),
        Ip::V6 => ("IPv6", "ip6tables-restore", "net.ipv6.conf.all.forwarding"),
    };
    format!(
        "\
# {version} services of sluice. Load with: {command} --noflush
# (without --noflush it replaces every other rule of the nat table). Needs {sysctl}=1.
"
    )
}

fn nat(frontends: &[Frontend<'_>]) -> String {
    let mut hooks = Hooks::default();
    let mut picks = Chains::default();
    hooks.dispatch_all(frontends);
    for frontend in frontends {
        if !frontend.backends.is_empty() {
            picks.declare(&pick_chain(frontend));
            pick(&mut picks.rules, frontend);
        }
    }
    hooks.masquerade(frontends);

    let mut chains = Chains::default();
    chains.hook(
        "PREROUTING",
        "sluice-prerouting",
        "Who is a new connection for? The first match takes it: an address and port beat an interface,\n\
         # that beats *, and that beats a range. (Later packets never get here: conntrack knows them.)\n\
         # Where there is no backend, port 1 of this host refuses: nothing listens there.",
        &hooks.prerouting,
    );
    chains.hook(
        "OUTPUT",
        "sluice-output",
        "Clients on this host never pass PREROUTING. An interface is nothing they arrive on.",
        &hooks.output,
    );
    chains.hook(
        "POSTROUTING",
        "sluice-postrouting",
        "Replies must come back through this host. Only what was translated above is masqueraded,\n\
         # told by the destination the client asked for; the host's other traffic is left alone.",
        &hooks.postrouting,
    );
    if !picks.rules.is_empty() {
        chains.declarations.push_str(&picks.declarations);
        chains.rules.push_str(
            "\n# The picks. A rule sees only the connections that the rules before it left, so n equal shares\n\
             # are every n, n-1, ... 1; by chance, a probability of share / what is left.\n",
        );
        chains.rules.push_str(&picks.rules);
    }
    format!("*nat\n{}{}COMMIT\n", chains.declarations, chains.rules)
}

/// Refuses: nothing listens on port 1 (tcpmux), so the host answers with a reset or with port
/// unreachable. A nat table can't reject, and filter tables see only packets that have a route, which
/// those to a listener's address need not have.
const NO_BACKEND: &str = "REDIRECT --to-ports 1";

/// Rules of the three hooks.
#[derive(Default)]
struct Hooks {
    prerouting: String,
    output: String,
    postrouting: String,
}

impl Hooks {
    /// Leads new connections to the pick chains. Packets in the middle of connections that conntrack does not know pass
    /// where listeners ignore them, and those of clients on this host always.
    fn dispatch_all(&mut self, frontends: &[Frontend<'_>]) {
        let is_tcp = |frontend: &&Frontend<'_>| frontend.listener.protocol.has_midstream();
        let ignores =
            |frontend: &Frontend<'_>| is_tcp(&frontend) && frontend.service.midstream == Midstream::Ignore;
        let all_ignore = frontends.iter().filter(is_tcp).all(ignores);
        if all_ignore && frontends.iter().any(ignores) {
            line(&mut self.prerouting, format_args!("-A sluice-prerouting -p tcp ! --syn -j RETURN"));
        }
        if frontends.iter().filter(is_tcp).any(|frontend| frontend.service.interface.is_none()) {
            line(&mut self.output, format_args!("-A sluice-output -p tcp ! --syn -j RETURN"));
        }
        for frontend in frontends {
            if ignores(frontend) && !all_ignore {
                let matches = arriving(frontend);
                line(&mut self.prerouting, format_args!("-A sluice-prerouting {matches} ! --syn -j RETURN"));
            }
            self.dispatch(frontend);
        }
    }

    fn dispatch(&mut self, frontend: &Frontend<'_>) {
        let target = match frontend.backends.is_empty() {
            true => NO_BACKEND.to_owned(),
            false => pick_chain(frontend),
        };
        line(&mut self.prerouting, format_args!("-A sluice-prerouting {} -j {target}", arriving(frontend)));
        if frontend.service.interface.is_none() {
            line(&mut self.output, format_args!("-A sluice-output {} -j {target}", local(frontend)));
        }
    }

    /// In order of precedence. A listener that preserves the source stands here only where its
    /// connections would be taken for those of a later one.
    fn masquerade(&mut self, frontends: &[Frontend<'_>]) {
        let masquerades = |frontend: &Frontend<'_>| {
            !frontend.service.source.preserves_client() && !frontend.backends.is_empty()
        };
        for (n, frontend) in frontends.iter().enumerate() {
            let translated = original(frontend);
            let mut rule = |to: &str, target: &str| {
                line(
                    &mut self.postrouting,
                    format_args!("-A sluice-postrouting {translated}{to} -j {target}"),
                );
            };
            let target = match frontend.service.source {
                Source::Addresses(_, _, ports) => {
                    let flag = match ports {
                        SourcePorts::Random => "--random-fully",
                        SourcePorts::Keep => "--persistent",
                    };
                    format!("SNAT --to-source {} {flag}", frontend.service.source)
                }
                _ => "MASQUERADE --random-fully".to_owned(),
            };
            match (frontend.service.source, frontend.listener.address) {
                _ if frontend.backends.is_empty() => {}
                (Source::Preserve | Source::Auto, _) => {
                    if frontends[n + 1..].iter().any(|later| masquerades(later) && frontend.overlaps(later)) {
                        rule("", "RETURN");
                    }
                }
                (_, Address::Exact(_)) => rule("", &target),
                // Somebody else may translate the same port of another address, so ask for the backend too.
                (_, Address::Any) => {
                    for backend in &frontend.backends {
                        rule(&reached(frontend, backend), &target);
                    }
                }
            }
        }
    }
}

/// The cascade: each rule takes its share of what the ones before it left.
fn pick(rules: &mut String, frontend: &Frontend<'_>) {
    let Frontend { name, service, listener, backends, .. } = frontend;
    line(rules, format_args!("# {name}, {listener}: {}", service.scheduler.as_str()));
    if service.guard.is_some() {
        line(rules, format_args!("# (without its allow, deny and limits: a nat table cannot drop)"));
    }
    if service.synproxy {
        line(rules, format_args!("# (without its synproxy)"));
    }

    let weights: Vec<_> = backends.iter().map(|backend| backend.weight).collect();
    let shares: Vec<(usize, u32)> = match service.scheduler {
        Scheduler::Random => weights.iter().map(|weight| u32::from(*weight)).enumerate().collect(),
        Scheduler::First => vec![(0, 1)],
        _ => slots(&weights).into_iter().map(|backend| (backend, 1)).collect(),
    };
    let mut left: u32 = shares.iter().map(|(_, share)| share).sum();
    for (backend, share) in shares {
        let condition = match service.scheduler {
            _ if share == left => "-m comment --comment \"all that is left\"".to_owned(),
            Scheduler::Random => format!(
                "-m comment --comment \"{share} of {left} left\" -m statistic --mode random --probability {:.10}",
                f64::from(share) / f64::from(left)
            ),
            _ => format!(
                "-m comment --comment \"1 of {left} left\" -m statistic --mode nth --every {left} --packet 0"
            ),
        };
        let to = translation(frontend, backends[backend]);
        line(
            rules,
            format_args!(
                "-A {} -p {} {condition} -j DNAT --to-destination {to}",
                pick_chain(frontend),
                listener.protocol
            ),
        );
        left -= share;
    }
}

/// What `DNAT` rewrites to: the address alone where the port stays.
fn translation(frontend: &Frontend<'_>, backend: &Backend) -> String {
    let ports = frontend.listener.ports;
    let address = backend.address;
    let port = match backend.port {
        port if port.keeps(ports) => return address.to_string(),
        BackendPort::Range(Ports { first, last }) if first < last => {
            format!("{first}-{last}/{}", ports.first)
        }
        port => port.translate(ports, ports.first).to_string(),
    };
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

/// Matches packets that arrive.
fn arriving(frontend: &Frontend<'_>) -> String {
    let address = match (frontend.listener.address, &frontend.service.interface, frontend.ip) {
        (Address::Exact(address), ..) => format!("-d {address}"),
        (Address::Any, None, _) => "-m addrtype --dst-type LOCAL".to_owned(),
        (Address::Any, Some(_), Ip::V4) => "-m addrtype ! --dst-type BROADCAST,MULTICAST".to_owned(),
        (Address::Any, Some(_), Ip::V6) => "-m addrtype ! --dst-type MULTICAST".to_owned(),
    };
    format!("{}{address} {}", interface(frontend), transport(frontend))
}

/// Matches packets of local processes. `*` leaves loopback destinations alone: translated, their
/// source address would have no way back.
fn local(frontend: &Frontend<'_>) -> String {
    let address = match (frontend.listener.address, frontend.ip) {
        (Address::Exact(address), _) => format!("-d {address}"),
        (Address::Any, Ip::V4) => "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL".to_owned(),
        (Address::Any, Ip::V6) => "! -d ::1 -m addrtype --dst-type LOCAL".to_owned(),
    };
    format!("{address} {}", transport(frontend))
}

/// Matches translated connections by the destination that the client asked for. `-i` is known at
/// postrouting since Linux 5.7; iptables takes it in chains of our own only.
fn original(frontend: &Frontend<'_>) -> String {
    let mut text =
        format!("{}-p {} -m conntrack --ctstate DNAT", interface(frontend), frontend.listener.protocol);
    if let Address::Exact(address) = frontend.listener.address {
        text += &format!(" --ctorigdst {address}");
    }
    text + &ports(" --ctorigdstport ", frontend.listener.ports)
}

/// Matches what `backend` receives.
fn reached(frontend: &Frontend<'_>, backend: &Backend) -> String {
    format!(" -d {}{}", backend.address, ports(" --dport ", frontend.backend_ports(backend)))
}

fn interface(frontend: &Frontend<'_>) -> String {
    frontend.service.interface.as_ref().map(|name| format!("-i {name} ")).unwrap_or_default()
}

fn transport(frontend: &Frontend<'_>) -> String {
    format!("-p {}{}", frontend.listener.protocol, ports(" --dport ", frontend.listener.ports))
}

fn ports(option: &str, ports: Ports) -> String {
    match ports {
        Ports::ALL => String::new(),
        Ports { first, last } if first == last => format!("{option}{first}"),
        Ports { first, last } => format!("{option}{first}:{last}"),
    }
}

/// Chain of one listener: `tcp/web/203.0.113.10/80`, or with a hash in place of the address where
/// that has more than the 28 characters iptables allows. Only characters that nft reads too.
fn pick_chain(frontend: &Frontend<'_>) -> String {
    const LONGEST: usize = 28;
    let Frontend { name, listener, .. } = frontend;
    let address = match listener.address {
        Address::Any => "any".to_owned(),
        Address::Exact(address) => address.to_string().replace(':', "-"),
    };
    let ports = match listener.ports {
        Ports::ALL => "any".to_owned(),
        ports => ports.to_string(),
    };
    let full = format!("{}/{name}/{address}/{ports}", listener.protocol);
    if full.len() <= LONGEST {
        return full;
    }
    // 48 bits: among 50,000 listeners two share a name once in 200,000 files.
    let hash = fnv1a(full.as_bytes()) >> 16;
    let protocol = listener.protocol.as_str();
    let room = LONGEST - protocol.len() - "//".len() - 12;
    format!("{protocol}/{name:.room$}/{hash:012x}")
}

/// FNV-1a, 64 bits: the same on every machine and in every release.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Chains and their rules.
#[derive(Default)]
struct Chains {
    declarations: String,
    rules: String,
}

impl Chains {
    fn declare(&mut self, chain: &str) {
        line(&mut self.declarations, format_args!(":{chain} - [0:0]"));
    }

    /// A chain of our own that a built-in one jumps to, if it has any rules.
    fn hook(&mut self, built_in: &str, chain: &str, why: &str, rules: &str) {
        if !rules.is_empty() {
            self.declare(chain);
            line(&mut self.rules, format_args!("\n# {why}\n-A {built_in} -j {chain}"));
            self.rules.push_str(rules);
        }
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string does not fail");
}
