//! `on_deny`: established TCP connections of refused clients.

use std::io::ErrorKind;

use sluice_testkit::{Conversation, Daemon, Host, Lab, eventually};

/// For each IP version: the service and another one, a refused client and another one.
const FAMILIES: [[&str; 4]; 2] = [
    ["203.0.113.10:80", "203.0.113.10:81", "198.51.100.66:0", "198.51.100.7:0"],
    ["[2001:db8::10]:80", "[2001:db8::10]:81", "[2001:db8:c::66]:0", "[2001:db8:c::7]:0"],
];

/// Lists that refuse the first client but not the second.
const LISTS: [&str; 2] =
    [", deny: [198.51.100.66, '2001:db8:c::66']", ", allow: [198.51.100.0/26, '2001:db8:c::/122']"];

/// One service with these keys, and one without them with the same backends.
fn two(keys: &str) -> String {
    let service = |port: u16, keys: &str| {
        format!(
            "{{listen: ['203.0.113.10:{port}', '[2001:db8::10]:{port}'], \
              backends: ['10.0.2.11:8080', '[fd00:2::11]:8080']{keys}}}"
        )
    };
    format!("services: {{web: {}, other: {}}}", service(80, keys), service(81, ""))
}

fn lab() -> Lab {
    let lab = Lab::with_backends(1);
    lab.serve(8080);
    lab
}

/// Connections of one IP version.
struct Open {
    refused: Conversation,
    /// Connections of the other client, and of the refused one to the other service.
    others: [Conversation; 2],
}

impl Open {
    fn all(lab: &Lab) -> Vec<Self> {
        let open = |[web, other, out, inside]: [&str; 4]| {
            let open = |from: &str, to: &str| lab.client.open_from(from, to).expect("a connection");
            Open { refused: open(out, web), others: [open(inside, web), open(out, other)] }
        };
        FAMILIES.map(open).into()
    }

    fn others_live(&mut self) {
        self.others.iter_mut().for_each(lives);
    }
}

#[track_caller]
fn lives(open: &mut Conversation) {
    assert_eq!(open.echo("still there?").expect("the connection goes on"), "still there?");
}

/// Number of connections of the backend.
fn established(backend: &Host) -> usize {
    backend.sh("ss -Htn state established sport = :8080").lines().count()
}

/// Checks that all connections of the refused client to the service get a reset at both ends, and no others.
fn are_reset(lab: &Lab, open: &mut [Open]) {
    for open in &mut *open {
        // A silent client also gets the reset.
        assert_eq!(open.refused.listen().unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    let backend = &lab.backends[0];
    eventually("the backend has only the others", || (established(backend) == 4).then_some(()));
    assert_eq!(backend.statistic("Tcp", "EstabResets"), 2, "by a reset");
    open.iter_mut().for_each(Open::others_live);
    assert_eq!(established(backend), 4);
}

#[test]
fn connections_of_a_client_that_a_reload_refuses_are_reset_and_no_others() {
    for list in LISTS {
        let lab = lab();
        let mut daemon = lab.start(&two(", on_deny: reset"));
        let mut open = Open::all(&lab);
        daemon.reload(&two(&format!(", on_deny: reset{list}")));
        are_reset(&lab, &mut open);
    }
}

#[test]
fn connections_of_a_client_that_a_reload_refuses_live_on_unless_they_are_to_be_reset() {
    let lab = lab();
    let mut daemon = lab.start(&two(""));
    let mut open = Open::all(&lab);
    for keys in [LISTS[0].to_owned(), format!("{}, on_deny: keep", LISTS[1])] {
        daemon.reload(&two(&keys));
        let refused = lab.client.open_from(FAMILIES[0][2], FAMILIES[0][0]);
        assert!(refused.is_err(), "it is refused");
        for open in &mut open {
            lives(&mut open.refused);
            open.others_live();
        }
    }
    assert_eq!(lab.backends[0].statistic("Tcp", "EstabResets"), 0);
    // It also applies to clients that are already refused.
    daemon.reload(&two(&format!("{}, on_deny: reset", LISTS[1])));
    are_reset(&lab, &mut open);
}

#[test]
fn connections_of_a_client_that_is_refused_since_a_crash_are_reset_at_the_start() {
    let lab = lab();
    let daemon = lab.start(&two(""));
    let mut open = Open::all(&lab);
    daemon.crash();
    lab.configure(&two(&format!(", on_deny: reset{}", LISTS[0])));
    let _daemon = Daemon::start(&lab);
    are_reset(&lab, &mut open);
}

#[test]
fn connections_with_the_clients_own_address_are_reset_too() {
    let lab = lab();
    let mut daemon = lab.start(&two(", source: preserve"));
    let mut open = Open::all(&lab);
    daemon.reload(&two(&format!(", source: preserve, on_deny: reset{}", LISTS[0])));
    are_reset(&lab, &mut open);
}

#[test]
fn connection_of_the_balancer_itself_that_a_reload_refuses_is_translated_for_ten_seconds_at_most() {
    let lab = lab();
    let mut daemon = lab.start(&two(""));
    let mut open = lab.balancer.open(FAMILIES[0][0]).expect("a connection");
    lives(&mut open);
    daemon.reload(&two(", on_deny: reset, deny: 10.0.1.1"));
    eventually("it has an end", || {
        let entry = lab.balancer.sh("conntrack -L -p tcp -s 10.0.1.1 2>/dev/null");
        let left: u32 = entry.split_whitespace().nth(2)?.parse().ok()?;
        (left <= 10).then_some(())
    });
}
