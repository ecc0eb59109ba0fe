//! Rulesets that are not sluice's.

use std::fmt::Write;

use super::pool::{BACKEND_PORT, LISTENERS, PORT, Pool};

/// Enables connection tracking, which the kernel does only if a rule needs it.
pub(super) fn forward() -> String {
    "table ip t {\nchain c { type filter hook forward priority 0; ct state invalid drop; }\n}\n".to_owned()
}

pub(super) fn dnat() -> String {
    format!(
        "table ip t {{\nchain prerouting {{\ntype nat hook prerouting priority dstnat;\n\
         ip daddr {LISTENERS} udp dport {PORT} dnat to 10.0.0.1:{BACKEND_PORT}\n}}\n}}\n"
    )
}

pub(super) fn dnat_masquerade() -> String {
    format!(
        "{}table ip t {{\nchain postrouting {{\ntype nat hook postrouting priority srcnat;\nmasquerade\n}}\n}}\n",
        dnat()
    )
}

/// For each backend: `-m statistic --mode random --probability 1/remaining`.
pub(super) fn linear(pool: Pool) -> String {
    let mut text = "table ip t {\nchain prerouting {\ntype nat hook prerouting priority dstnat;\n".to_owned();
    for (listener, backends) in pool.services() {
        for (n, backend) in backends.iter().enumerate() {
            let chance = match backends.len() - n {
                1 => String::new(),
                left => format!("numgen random mod {left} 0 "),
            };
            writeln!(text, "ip daddr {listener} udp dport {PORT} {chance}dnat to {backend}:{BACKEND_PORT}")
                .expect("a string takes all");
        }
    }
    text.push_str("}\n}\n");
    text
}

/// Only the balancing of Kubernetes, without marks, hairpins, affinity and policies.
pub(super) fn kube_proxy(pool: Pool) -> String {
    let (mut chains, mut elements) = (String::new(), Vec::new());
    for (n, (listener, backends)) in pool.services().enumerate() {
        let mut choice = Vec::new();
        for (m, backend) in backends.iter().enumerate() {
            writeln!(chains, "chain e{n}-{m} {{\nmeta l4proto udp dnat to {backend}:{BACKEND_PORT}\n}}")
                .expect("a string takes all");
            choice.push(format!("{m} : goto e{n}-{m}"));
        }
        let (mod_, choice) = (choice.len(), choice.join(", "));
        writeln!(chains, "chain s{n} {{\nnumgen random mod {mod_} vmap {{ {choice} }}\n}}")
            .expect("a string takes all");
        elements.push(format!("{listener} . udp . {PORT} : goto s{n}"));
    }
    let look_up = "ip daddr . meta l4proto . th dport vmap @services";
    format!(
        "table ip t {{\n{chains}map services {{\ntype ipv4_addr . inet_proto . inet_service : verdict\n\
         elements = {{ {} }}\n}}\n\
         chain prerouting {{\ntype nat hook prerouting priority dstnat;\n{look_up}\n}}\n\
         chain output {{\ntype nat hook output priority -100;\n{look_up}\n}}\n}}\n",
        elements.join(", ")
    )
}
