//! With `source: auto` and `preserve`, the rules follow the networks of the host.

use sluice_core::model::Networks;
use sluice_nft::Protocol;
use sluice_nft::trace::{Outcome, Packet};
use sluiced::request::Request;

use crate::host::{Daemon, Host};
use crate::{WEB, WEB3};

const ETH1: (&str, &str) = ("eth1", "10.0.2.1/24");

fn networks(all: &[(&str, &str)]) -> Networks {
    Networks::of(all.iter().map(|(name, net)| ((*name).to_owned(), net.parse().unwrap())))
}

/// A service that keeps the source of clients.
fn keeps(web: &str) -> String {
    web.replace("listen:", "source: auto, listen:")
}

async fn tell(daemon: &Daemon<'_>, networks: Networks) {
    daemon.requests.send(Request::Networks(networks)).await.unwrap();
    assert!(daemon.status().await.table.synced);
}

/// Whether a client in the network of the backends, behind eth1, gets the source of the balancer.
fn is_masqueraded(host: &Host) -> bool {
    let packet = Packet::arriving(
        Protocol::Tcp,
        "10.0.2.7:10000".parse().unwrap(),
        "203.0.113.10:80".parse().unwrap(),
    );
    match host.kernel().send(&Packet { leaves: "eth1".to_owned(), ..packet }).outcome {
        Outcome::Translated { masqueraded, .. } => masqueraded,
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn networks_of_the_start_and_later_ones_tell_who_is_beside_a_backend() {
    let mut host = Host::new(&keeps(WEB));
    host.networks = networks(&[ETH1]);
    host.run(async |daemon| {
        daemon.status().await;
        assert!(is_masqueraded(&host));
        tell(daemon, networks(&[])).await;
        assert!(!is_masqueraded(&host));
        tell(daemon, networks(&[ETH1, ("eth2", "10.0.3.1/24")])).await;
        assert!(is_masqueraded(&host));
        assert!(daemon.reload_with(&keeps(WEB3)).await.ok);
        assert!(is_masqueraded(&host), "a reload moves no interface");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn networks_make_no_round_if_they_are_the_same_or_concern_no_service() {
    let mut host = Host::new(&format!("{}\nrefresh: 0", keeps(WEB)));
    host.networks = networks(&[ETH1]);
    host.run(async |daemon| {
        daemon.status().await;
        tell(daemon, networks(&[ETH1])).await;
        assert_eq!(daemon.status().await.table.rounds, 1);
        assert!(daemon.reload_with(&format!("{WEB}\nrefresh: 0")).await.ok);
        tell(daemon, networks(&[])).await;
        assert_eq!(daemon.status().await.table.rounds, 2);
        // They are known when a service needs them.
        assert!(daemon.reload_with(&keeps(WEB)).await.ok);
        assert!(!is_masqueraded(&host));
    })
    .await;
}
