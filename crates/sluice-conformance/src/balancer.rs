//! A ruleset with one service, and a way to run nft.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use sluice_nft::{
    Base, Chain, Comparison, Data, Element, Field, Ip, Key, Octets, Operand, Protocol, Rule, Set, SlotExpr,
    Statement, Table,
};

/// Runs a command with `input` and returns what it printed.
///
/// # Panics
/// If it fails, with its errors.
pub fn run(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).unwrap_or_else(|e| panic!("{command:?}: writing its input: {e}"));
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}given:\n{input}", output.status);
    String::from_utf8(output.stdout).expect("it prints text")
}

/// One service on one address and port that both arriving and local packets reach, masqueraded: a verdict
/// map, a pick chain with its slots, and the source rule.
pub struct Balancer {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Address and port of the service.
    pub listener: SocketAddr,
    /// How slots are picked.
    pub pick: SlotExpr,
    /// One a slot, from the first of `pick` on.
    pub backends: Vec<SocketAddr>,
}

impl Balancer {
    /// The whole ruleset.
    pub fn table(&self) -> Table {
        let ip = Ip::of(self.listener.ip());
        let version = || Statement::is(Field::Nfproto, &[ip.nfproto()]);
        let fields = |fields: &[Field]| fields.iter().map(|field| Operand::Field(*field)).collect::<Vec<_>>();
        let service = || fields(&[Field::Daddr(ip), Field::L4proto, Field::Dport]);
        let source = || fields(&[Field::CtOriginalDaddr(ip), Field::L4proto, Field::Daddr(ip), Field::Dport]);
        let mut table = Table::default();
        let mut add = |name: &str, set: Set, elements: Vec<(Key, Data)>| {
            let elements = elements.into_iter().map(|(key, data)| (key, Element { data }));
            table.sets.insert(name.into(), Set { elements: elements.collect(), ..set });
        };
        let listener = Key::EMPTY.address(self.listener.ip()).protocol(self.protocol.number());
        add(
            "services",
            Set::verdicts(service()),
            vec![(listener.port(self.listener.port()), Data::Goto("pick".into()))],
        );
        let slot_number = Operand::Slot(SlotExpr::Inc { modulus: 65_536, offset: 0 });
        let slots = Set::counted_map(vec![slot_number], fields(&[Field::Daddr(ip), Field::Dport]));
        let first = self.pick.range().1;
        add(
            "slots",
            slots,
            (first..).zip(&self.backends).map(|(slot, to)| (Key::EMPTY.slot(slot), value(*to))).collect(),
        );
        let sources = self.backends.iter().map(|to| (listener.address(to.ip()).port(to.port()), Data::None));
        add("masqueraded", Set::plain(source()), sources.collect());

        let enter = || Rule(vec![version(), Statement::VerdictMap(service(), "services".into())]);
        let key = vec![Operand::Slot(self.pick.clone())];
        let pick = Rule(vec![
            version(),
            Statement::is(Field::L4proto, &[self.protocol.number()]),
            Statement::Dnat { ip, key, map: "slots".into(), port: true },
        ]);
        let leave = Rule(vec![
            version(),
            Statement::Match(Field::CtStatus, Comparison::AnyBit(Field::DNAT)),
            Statement::InSet(source(), "masqueraded".into()),
            Statement::Masquerade,
        ]);
        for (name, base, rules) in [
            ("output", Some(Base::OUTPUT), vec![enter()]),
            ("pick", None, vec![pick, Rule(vec![Statement::Counter, Statement::Drop])]),
            ("postrouting", Some(Base::POSTROUTING), vec![leave]),
            ("prerouting", Some(Base::PREROUTING), vec![enter()]),
        ] {
            table.chains.insert(name.into(), Chain { base, rules });
        }
        table
    }
}

/// What a map holds for a backend.
pub fn value(to: SocketAddr) -> Data {
    let address = match to.ip() {
        IpAddr::V4(address) => Octets::EMPTY.with(&address.octets()),
        IpAddr::V6(address) => Octets::EMPTY.with(&address.octets()),
    };
    Data::Value(address.with(&to.port().to_be_bytes()))
}
