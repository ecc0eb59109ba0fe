//! Conntrack flows: dumps, filters, deletion, resets and destroy events.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

use sluice_nft::{Ip, Protocol};

use super::in_namespace;
use crate::Proc;
use crate::conntrack::{Bytes, ConnectionState, Conntrack, DestroyEvents, Flow, Received, TcpState, wire};
use crate::socket::Socket;

const ACCOUNTING: &str = "net/netfilter/nf_conntrack_acct";

/// Adds an entry with arguments of `conntrack -I`.
fn insert(entry: &str) {
    let output =
        Command::new("conntrack").arg("-I").args(entry.split_whitespace()).output().expect("conntrack runs");
    assert!(output.status.success(), "{entry}: {}", String::from_utf8_lossy(&output.stderr));
}

fn tcp(client: u16, to: &str, backend: &str, more: &str) {
    let to: SocketAddr = to.parse().unwrap();
    let source = if to.is_ipv4() { "198.51.100.7" } else { "2001:db8:c::7" };
    insert(&format!(
        "-p tcp -s {source} --sport {client} -d {} --dport {} --dst-nat {backend} -t 100 {more}",
        to.ip(),
        to.port()
    ));
}

fn udp(client: u16, to: &str, more: &str) {
    let to: SocketAddr = to.parse().unwrap();
    insert(&format!(
        "-p udp -s 198.51.100.7 --sport {client} -d {} --dport {} -t 100 {more}",
        to.ip(),
        to.port()
    ));
}

fn all(conntrack: &mut Conntrack) -> Vec<Flow> {
    let mut flows = vec![];
    conntrack.each(|flow| flows.push(flow)).unwrap();
    flows.sort_by_key(|flow| flow.client.port());
    flows
}

fn of_version(flows: Vec<Flow>, ip: Ip) -> Vec<Flow> {
    flows.into_iter().filter(|flow| Ip::of(flow.to.ip()) == ip).collect()
}

/// Client ports of flows.
fn clients(flows: &[Flow]) -> Vec<u16> {
    flows.iter().map(|flow| flow.client.port()).collect()
}

/// Messages of the kernel about six flows.
pub(super) fn answers() -> Vec<Vec<u8>> {
    six();
    let (mut socket, mut answers) = (Socket::open().unwrap(), vec![]);
    socket.ask(wire::dump(), |answer| answers.push(answer.to_vec())).unwrap();
    answers
}

/// Six flows, by the port of their client.
fn six() -> Conntrack {
    tcp(1, "203.0.113.10:80", "10.0.2.11:8080", "--state ESTABLISHED");
    tcp(2, "203.0.113.10:81", "10.0.2.11:8081", "--state SYN_SENT");
    tcp(3, "203.0.113.11:80", "10.0.2.12:8080", "--state TIME_WAIT");
    tcp(4, "[2001:db8::10]:80", "[fd00::11]:8080", "--state ESTABLISHED");
    udp(5, "203.0.113.10:80", "--dst-nat 10.0.2.11:8080");
    udp(6, "203.0.113.10:80", "");
    Conntrack::open().unwrap()
}

#[test]
fn flows_of_both_versions_are_found_and_the_translated_ones_among_them() {
    in_namespace(|| {
        let flows = all(&mut six());
        assert_eq!(clients(&flows), [1, 2, 3, 4, 5, 6]);
        let translated: Vec<_> = flows.into_iter().filter(Flow::is_translated).collect();
        assert_eq!(clients(&translated), [1, 2, 3, 4, 5]);
    });
}

#[test]
fn flows_say_where_they_go_and_how_far_they_are() {
    in_namespace(|| {
        let flows = of_version(all(&mut six()), Ip::V4);
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!((flows[0].to, flows[0].backend), (address("203.0.113.10:80"), address("10.0.2.11:8080")));
        assert_eq!(
            (flows[0].client, flows[0].back_to),
            (address("198.51.100.7:1"), address("198.51.100.7:1"))
        );
        let states: Vec<_> = flows.iter().map(|flow| flow.connection).collect();
        let [established, opening, over] = [TcpState::Established, TcpState::SynSent, TcpState::TimeWait]
            .map(|state| Some(ConnectionState::Tcp(state)));
        assert_eq!(states, [established, opening, over, None, None]);
        assert_eq!(flows.iter().map(Flow::is_active).collect::<Vec<_>>(), [true, true, false, true, true]);
        assert_eq!(
            flows.iter().map(Flow::is_opening).collect::<Vec<_>>(),
            [false, true, false, false, false]
        );
    });
}

#[test]
fn flows_say_their_state_by_name_and_when_they_are_forgotten() {
    in_namespace(|| {
        let mut conntrack = six();
        udp(7, "203.0.113.10:80", "--dst-nat 10.0.2.11:8080 --status SEEN_REPLY");
        tcp(8, "203.0.113.10:80", "10.0.2.11:8080", "--state CLOSE_WAIT");
        let flows = of_version(all(&mut conntrack), Ip::V4);
        assert_eq!(
            flows.iter().map(Flow::state).collect::<Vec<_>>(),
            ["established", "syn-sent", "time-wait", "unreplied", "unreplied", "replied", "close-wait"]
        );
        assert!(flows.iter().all(|flow| (1..=100).contains(&flow.expires)), "{flows:?}");
    });
}

#[test]
fn flows_say_what_they_carried_only_if_bytes_were_counted_when_they_began() {
    in_namespace(|| {
        let proc = Proc::default();
        assert_eq!(proc.sysctl(ACCOUNTING).unwrap(), "0", "it is of the namespace, and off in a new one");
        tcp(1, "203.0.113.10:80", "10.0.2.11:8080", "--state ESTABLISHED");
        proc.set_sysctl(ACCOUNTING, "1").unwrap();
        tcp(2, "203.0.113.10:80", "10.0.2.11:8080", "--state ESTABLISHED");
        tcp(3, "[2001:db8::10]:80", "[fd00::11]:8080", "--state ESTABLISHED");
        let mut conntrack = Conntrack::open().unwrap();
        let bytes = |flows: Vec<Flow>| flows.iter().map(|flow| flow.bytes).collect::<Vec<_>>();
        let none = Some(Bytes::default());
        assert_eq!(bytes(all(&mut conntrack)), [None, none, none]);
    });
}

#[test]
fn endings_are_heard_of_translated_flows_with_what_they_carried() {
    in_namespace(|| {
        Proc::default().set_sysctl(ACCOUNTING, "1").unwrap();
        let mut events = DestroyEvents::open().unwrap();
        let mut conntrack = six();
        let flows = all(&mut conntrack);
        assert_eq!(conntrack.delete(&flows).unwrap(), 6);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut ended = vec![];
        while ended.len() < 5 {
            events.wait(ours.as_fd(), 5000).unwrap();
            let arrived = events.take(|flow| ended.push(flow)).unwrap();
            assert_eq!(arrived, Received::Events, "{ended:?}");
        }
        ended.sort_by_key(|flow| flow.client.port());
        let ports: Vec<_> = ended.iter().map(|flow| flow.client.port()).collect();
        assert_eq!(ports, [1, 2, 3, 4, 5], "but for the one that nobody translated");
        for end in &ended {
            let was = flows.iter().find(|flow| flow.client.port() == end.client.port()).unwrap();
            assert_eq!((end.id, end.to, end.backend), (was.id, was.to, was.backend));
            assert_eq!(end.bytes, Some(Bytes::default()));
        }
    });
}

#[test]
fn endings_that_are_too_many_to_take_are_lost_and_that_is_told() {
    in_namespace(|| {
        let mut events = DestroyEvents::open().unwrap();
        events.socket.make_room(1).unwrap();
        let mut conntrack = six();
        let flows = all(&mut conntrack);
        conntrack.delete(&flows).unwrap();
        let mut told = vec![];
        while !told.contains(&Received::Nothing) {
            told.push(events.take(|_| {}).unwrap());
        }
        assert!(told.contains(&Received::Lost), "{told:?}");
    });
}

#[test]
fn flow_that_is_forgotten_is_gone_and_one_that_took_its_place_is_not() {
    in_namespace(|| {
        let mut conntrack = six();
        let datagrams = |flow: &Flow| flow.protocol == Protocol::Udp;
        let flows: Vec<_> = all(&mut conntrack).into_iter().filter(datagrams).collect();
        assert_eq!(conntrack.delete(&flows[..1]).unwrap(), 1);
        assert_eq!(conntrack.delete(&flows[..1]).unwrap(), 0, "it is gone");
        let other = Flow { id: flows[1].id ^ 1, ..flows[1] };
        assert_eq!(conntrack.delete(&[other]).unwrap(), 0, "the entry is another's");
        assert_eq!(clients(&all(&mut conntrack)), [1, 2, 3, 4, 6]);
    });
}

#[test]
fn flows_of_another_zone_are_found_and_forgotten() {
    in_namespace(|| {
        udp(1, "203.0.113.10:53", "");
        udp(1, "203.0.113.10:53", "--zone 7");
        let mut conntrack = Conntrack::open().unwrap();
        let flows = all(&mut conntrack);
        let other: Vec<Flow> = flows.into_iter().filter(|flow| flow.zone == 7).collect();
        assert_eq!(conntrack.delete(&other).unwrap(), 1);
        assert_eq!(all(&mut conntrack).iter().map(|flow| flow.zone).collect::<Vec<_>>(), [0]);
    });
}

#[test]
fn flow_that_was_answered_since_it_was_found_is_reset_all_the_same() {
    const FIXED_TIMEOUT: u32 = 1 << 10;
    in_namespace(|| {
        tcp(1, "203.0.113.10:80", "10.0.2.11:8080", "--state ESTABLISHED --status SEEN_REPLY,ASSURED");
        let mut conntrack = Conntrack::open().unwrap();
        let mut found = all(&mut conntrack);
        let (seen_reply, assured) = (1 << 1, 1 << 2);
        assert_ne!(found[0].status & seen_reply, 0);
        found[0].status &= !(seen_reply | assured);
        let reset = conntrack.reset(&found, std::time::Duration::from_secs(10)).unwrap();
        assert_eq!(reset.ended, 1);
        assert_ne!(all(&mut conntrack)[0].status & FIXED_TIMEOUT, 0);
    });
}
