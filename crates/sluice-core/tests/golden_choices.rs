//! The backends that clients get from the schedulers that choose alike on every node.

mod common;

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use common::trial::host;
use common::{With, service, services};
use sluice_core::model::{HashOn, Protocol, Scheduler};
use sluice_core::render::render;
use sluice_nft::trace::{Outcome, Packet, Tracer};

const HEADER: &str = "\
# Backends of clients, in the order of the clients.
# Two nodes lead a client to the same backend because they compute the same, also while one of them has a newer version of
# sluice. If a line has to change, connections do not survive the upgrade of a pair: give the new computation another name in
# the configuration.
";

#[test]
fn clients_get_the_backends_that_they_got_from_every_version() {
    let mut text = HEADER.to_owned();
    for (name, scheduler) in [
        ("source-hash, source-address", Scheduler::SourceHash(HashOn::Address)),
        ("source-hash, source-address and source-port", Scheduler::SourceHash(HashOn::AddressAndPort)),
        ("maglev, source-address", Scheduler::Maglev(HashOn::Address, 251)),
        ("maglev, source-address and source-port", Scheduler::Maglev(HashOn::AddressAndPort, 1021)),
    ] {
        for (version, listener, backends) in [
            ("IPv4", "203.0.113.10:80", ["10.0.2.11:80", "10.0.2.12:80", "10.0.2.13:80*2", "10.0.2.14:80"]),
            (
                "IPv6",
                "2001:db8::10:80",
                ["[fd00::11]:80", "[fd00::12]:80", "[fd00::13]:80*2", "[fd00::14]:80"],
            ),
        ] {
            for down in [false, true] {
                let mut web = service(&[listener], &backends).scheduler(scheduler);
                web.nominal_weights = web.backends.iter().map(|it| it.weight).collect();
                web.backends[1].weight = if down { 0 } else { 1 };
                let table = render(&services([("web", web)]), None).table;
                let mut tracer = Tracer::new(host());
                let of_client = |n: u16| {
                    let (client, to) = match version {
                        "IPv4" => (format!("198.51.{}.{}:{}", n % 7, n, 20_000 + 37 * n), "203.0.113.10:80"),
                        _ => (format!("[2001:db8:{n:x}::7]:{}", 20_000 + 37 * n), "[2001:db8::10]:80"),
                    };
                    let [client, to] = [client.as_str(), to].map(|it| it.parse::<SocketAddr>().unwrap());
                    match tracer.trace(&table, &Packet::arriving(Protocol::Tcp, client, to)).outcome {
                        Outcome::Translated { to, .. } => to.ip().to_string().pop().unwrap(),
                        other => panic!("{client} met {other:?}"),
                    }
                };
                let chosen: String = (0..100).map(of_client).collect();
                let state = if down { ", the second is down" } else { "" };
                writeln!(text, "{name}, {version}{state}:\n    {chosen}").unwrap();
            }
        }
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/choices.txt");
    sluice_golden::assert_golden(&golden, &text);
}
