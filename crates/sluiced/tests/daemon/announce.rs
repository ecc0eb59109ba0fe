//! Announced addresses, and a node that leaves and joins.

use std::time::Duration;

use nix::errno::Errno;
use sluice_api::{AddressState, NodeChange, NodeReply, NodeRequest, Status};
use sluice_core::model::Networks;
use sluiced::request::Request;
use tokio::time::{Instant, sleep};

use crate::host::{Daemon, Host};

const FILE: &str = "services:
  web: {listen: '203.0.113.10:80', announce: true, health: {tcp: {}}, backends: ['10.0.2.11:8080']}
  dns: {listen: ['203.0.113.10:53/udp', '203.0.113.53:53/udp'], announce: true, backends: ['10.0.2.21:53']}
  plain: {listen: '203.0.113.99:80', backends: ['10.0.2.31:80']}";

const ALL: [&str; 2] = ["203.0.113.10", "203.0.113.53"];

/// The same without the service that has both addresses.
const WEB_ONLY: &str = "services:
  web: {listen: '203.0.113.10:80', announce: true, health: {tcp: {}}, backends: ['10.0.2.11:8080']}";

const BACKEND: &str = "10.0.2.11:8080";

/// Longer than `hold`.
const HOLD: Duration = Duration::from_millis(2100);

/// Time in which probes notice that a backend is down or back, and longer than `hold`.
const NOTICED: Duration = Duration::from_secs(12);

fn host(yaml: &str) -> Host {
    let host = Host::new(yaml);
    host.network.only(&[BACKEND]);
    host
}

/// The states of all addresses.
fn states(status: &Status) -> Vec<(String, AddressState)> {
    status.announce.addresses.iter().map(|it| (it.address.to_string(), it.state)).collect()
}

/// What events say of addresses.
fn told(status: &Status) -> Vec<&str> {
    let all = status.events.iter().map(|event| event.text.as_str());
    all.filter(|text| text.contains("announced ") || text.contains("withdrew ")).collect()
}

async fn node(daemon: &Daemon<'_>, change: NodeChange) -> NodeReply {
    let request = NodeRequest { change, reason: Some("kernel update".into()) };
    daemon.ask(|answer| Request::Node(request, 1000, answer)).await
}

#[tokio::test(start_paused = true)]
async fn addresses_of_ready_services_are_announced_after_the_hold() {
    let host = host(FILE);
    host.run(async |daemon| {
        let status = daemon.status().await;
        assert_eq!(states(&status), ALL.map(|it| (it.to_owned(), AddressState::Held)));
        assert_eq!(host.addresses.announced(), [""; 0]);
        sleep(HOLD).await;
        let status = daemon.status().await;
        assert_eq!(states(&status), ALL.map(|it| (it.to_owned(), AddressState::Announced)));
        assert_eq!(status.announce.addresses[0].services, ["dns", "web"]);
        assert_eq!((status.announce.interface.as_str(), &status.announce.error), ("lo", &None));
        assert_eq!(host.addresses.announced(), ALL);
        assert_eq!(told(&status), ["announced 203.0.113.10, 203.0.113.53 on lo"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn address_of_a_service_that_is_not_ready_is_withdrawn_and_comes_back_after_the_hold() {
    let host = host(WEB_ONLY);
    host.run(async |daemon| {
        sleep(HOLD).await;
        assert_eq!(host.addresses.announced(), ["203.0.113.10"]);
        host.network.only(&[]);
        sleep(NOTICED).await;
        assert_eq!(host.addresses.announced(), [""; 0]);
        assert_eq!(states(&daemon.status().await)[0].1, AddressState::Withdrawn);
        host.network.only(&[BACKEND]);
        sleep(NOTICED).await;
        assert_eq!(host.addresses.announced(), ["203.0.113.10"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn address_stays_while_another_service_on_it_is_ready() {
    let host = host(FILE);
    host.run(async |daemon| {
        sleep(HOLD).await;
        host.network.only(&[]);
        sleep(NOTICED).await;
        let status = daemon.status().await;
        assert!(!status.services.iter().find(|service| service.name == "web").unwrap().ready);
        assert_eq!(host.addresses.announced(), ALL);
        assert_eq!(told(&status).len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reload_withdraws_before_the_commit_and_announces_only_after_one_that_succeeds() {
    const ENOMEM: sluice_nft::Errno = sluice_nft::Errno(12);
    let host = host(FILE);
    host.run(async |daemon| {
        sleep(HOLD).await;
        // The commit fails, so what was withdrawn was withdrawn before.
        host.kernel().fail_commit(0, ENOMEM);
        assert!(!daemon.reload_with(WEB_ONLY).await.ok);
        sleep(Duration::from_millis(10)).await;
        let status = daemon.status().await;
        let again = ["withdrew 203.0.113.53 on lo", "announced 203.0.113.53 on lo"];
        assert_eq!(told(&status)[1..], again[..1]);
        sleep(2 * HOLD).await;
        // The address that nothing takes away stayed during the retry.
        assert_eq!(told(&daemon.status().await)[1..], again);
        assert_eq!(host.addresses.announced(), ALL);

        assert!(daemon.reload_with(WEB_ONLY).await.ok);
        assert_eq!(host.addresses.announced(), ["203.0.113.10"]);
        // A service that has been ready for long is announced without a hold.
        let moved = WEB_ONLY.replace("203.0.113.10", "203.0.113.11");
        assert!(daemon.reload_with(&moved).await.ok);
        daemon.answers().await;
        sleep(Duration::from_millis(1)).await;
        assert_eq!(host.addresses.announced(), ["203.0.113.11"]);
        for (from, to) in [("announce: true", "announce: false"), ("announce", "enabled: false, announce")] {
            assert!(daemon.reload_with(&moved.replace(from, to)).await.ok);
            assert_eq!(host.addresses.announced(), [""; 0]);
            assert!(daemon.reload_with(&moved).await.ok);
            sleep(HOLD).await;
            assert_eq!(host.addresses.announced(), ["203.0.113.11"]);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn commit_that_keeps_failing_withdraws_and_one_that_fails_once_does_not() {
    const ENOMEM: sluice_nft::Errno = sluice_nft::Errno(12);
    let host = host(WEB_ONLY);
    host.run(async |daemon| {
        sleep(HOLD).await;
        let fail = async |times: usize| {
            (0..times).for_each(|n| host.kernel().fail_commit(n, ENOMEM));
            host.kernel().corrupt(|table| table.chains.clear());
            daemon.requests.send(Request::Foreign(sluice_netlink::Event::Lost)).await.unwrap();
            daemon.answers().await;
            sleep(Duration::from_millis(1500)).await;
        };
        fail(1).await;
        assert_eq!(told(&daemon.status().await).len(), 1);
        fail(5).await;
        assert_eq!(told(&daemon.status().await)[1..], ["withdrew 203.0.113.10 on lo"]);
        sleep(NOTICED).await;
        assert_eq!(host.addresses.announced(), ["203.0.113.10"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn renamed_service_keeps_its_address() {
    let host = host(WEB_ONLY);
    host.run(async |daemon| {
        sleep(HOLD).await;
        assert!(daemon.reload_with(&WEB_ONLY.replace("web:", "www:")).await.ok);
        sleep(HOLD).await;
        assert_eq!(told(&daemon.status().await), ["announced 203.0.113.10 on lo"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reload_of_the_block_moves_addresses_to_another_interface() {
    let host = host(WEB_ONLY);
    host.run(async |daemon| {
        sleep(HOLD).await;
        assert!(daemon.reload_with(&format!("{WEB_ONLY}\nannounce: {{interface: dummy0}}")).await.ok);
        sleep(Duration::from_millis(1)).await;
        let all = host.addresses.all();
        assert_eq!(all.iter().map(|it| it.interface.as_str()).collect::<Vec<_>>(), ["dummy0"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stop_withdraws_first_and_waits_whatever_it_leaves() {
    for on_stop in ["remove", "keep"] {
        let host = host(&format!("{FILE}\non_stop: {on_stop}\nannounce: {{withdraw_wait: 30s}}"));
        let mut end = None;
        host.run(async |_| {
            sleep(HOLD).await;
            assert_eq!(host.addresses.announced(), ALL);
            end = Some(Instant::now());
        })
        .await;
        assert_eq!(host.addresses.announced(), [""; 0]);
        let waited = end.unwrap().elapsed();
        assert!((Duration::from_secs(30)..Duration::from_secs(31)).contains(&waited), "{waited:?}");
        // The service manager would take a daemon that waits for one that hangs.
        assert!(host.notified().iter().filter(|told| *told == "WATCHDOG=1").count() >= 29);
    }
}

#[tokio::test(start_paused = true)]
async fn next_daemon_keeps_addresses_without_a_gap_and_removes_what_nothing_announces() {
    let host = host(FILE);
    host.run_until(Request::HandOver, async |_| sleep(HOLD).await).await.unwrap();
    assert_eq!(host.addresses.announced(), ALL);
    host.run_and_crash(async |daemon| {
        sleep(HOLD).await;
        assert_eq!(told(&daemon.status().await), [""; 0]);
        assert_eq!(host.addresses.announced(), ALL);
    })
    .await;
    assert_eq!(host.addresses.announced(), ALL);
    host.configure(WEB_ONLY);
    host.run(async |daemon| {
        daemon.answers().await;
        sleep(Duration::from_millis(1)).await;
        assert_eq!(told(&daemon.status().await), ["withdrew 203.0.113.53 on lo"]);
        assert_eq!(host.addresses.announced(), ["203.0.113.10"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn next_daemon_keeps_an_address_until_it_knows_that_the_service_is_not_ready() {
    let file = WEB_ONLY.replace("tcp: {}", "tcp: {}, initial: down");
    let host = host(&file);
    host.run_and_crash(async |_| sleep(NOTICED).await).await;
    assert_eq!(host.addresses.announced(), ["203.0.113.10"]);
    // Health that was saved counts.
    host.run_and_crash(async |daemon| {
        sleep(Duration::from_millis(1)).await;
        assert!(daemon.status().await.services[0].ready);
        assert_eq!(host.addresses.announced(), ["203.0.113.10"]);
        host.network.only(&[]);
    })
    .await;
    // Nothing is known of the backends, until a probe fails.
    std::fs::remove_file(host.path("run/backends.json")).unwrap();
    host.run_and_crash(async |daemon| {
        daemon.answers().await;
        sleep(Duration::from_millis(1)).await;
        assert!(!daemon.status().await.services[0].ready);
        assert_eq!(host.addresses.announced(), ["203.0.113.10"]);
        sleep(NOTICED).await;
        assert_eq!(host.addresses.announced(), [""; 0]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn address_of_somebody_else_counts_as_present_and_stays() {
    let host = host(WEB_ONLY);
    host.addresses.put("203.0.113.10".parse().unwrap());
    host.run(async |daemon| {
        sleep(HOLD).await;
        assert_eq!(states(&daemon.status().await)[0].1, AddressState::Foreign);
        host.network.only(&[]);
        sleep(NOTICED).await;
        let status = daemon.status().await;
        assert_eq!((states(&status)[0].1, told(&status).len()), (AddressState::Foreign, 0));
    })
    .await;
    assert_eq!(host.addresses.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn address_that_somebody_removes_comes_back_when_interfaces_change() {
    let host = host(WEB_ONLY);
    host.run(async |daemon| {
        sleep(HOLD).await;
        host.addresses.remove("203.0.113.10".parse().unwrap());
        daemon.requests.send(Request::Networks(Networks::default())).await.unwrap();
        daemon.answers().await;
        sleep(Duration::from_millis(1)).await;
        assert_eq!(host.addresses.announced(), ["203.0.113.10"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn refused_address_is_told_and_tried_again_and_the_service_is_ready() {
    let host = host(WEB_ONLY);
    host.addresses.refuse(Some(Errno::EPERM));
    host.run(async |daemon| {
        sleep(HOLD).await;
        let status = daemon.status().await;
        let why = "add 203.0.113.10 to lo: Operation not permitted (os error 1)";
        assert_eq!(status.announce.error.as_deref(), Some(why));
        assert_eq!(states(&status)[0].1, AddressState::Failed);
        assert!(status.services[0].ready && status.table.synced);
        sleep(NOTICED).await;
        let told: Vec<_> = daemon.status().await.events.into_iter().map(|event| event.text).collect();
        assert_eq!(told.iter().filter(|text| *text == why).count(), 1, "{told:?}");
        host.addresses.refuse(None);
        sleep(Duration::from_secs(31)).await;
        let status = daemon.status().await;
        assert_eq!((states(&status)[0].1, status.announce.error), (AddressState::Announced, None));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn missing_interface_is_an_error_until_it_exists() {
    let host = host(&format!("{WEB_ONLY}\nannounce: {{interface: dummy0, hold: 0}}"));
    host.addresses.has_dummy(false);
    host.run(async |daemon| {
        sleep(Duration::from_millis(1)).await;
        let why = "add 203.0.113.10 to dummy0: No such device (os error 19)";
        assert_eq!(daemon.status().await.announce.error.as_deref(), Some(why));
        host.addresses.has_dummy(true);
        daemon.requests.send(Request::Networks(Networks::default())).await.unwrap();
        daemon.answers().await;
        sleep(Duration::from_millis(1)).await;
        assert_eq!(states(&daemon.status().await)[0].1, AddressState::Announced);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn node_that_has_left_announces_nothing_over_reloads_and_restarts_until_it_joins() {
    let host = host(FILE);
    let check = async |daemon: &Daemon<'_>| {
        sleep(NOTICED).await;
        let status = daemon.status().await;
        let left = status.node.left.clone().unwrap();
        assert_eq!((left.uid, left.reason.as_deref()), (1000, Some("kernel update")));
        let why: Vec<_> = status.services.iter().map(|service| service.not_ready.as_deref()).collect();
        assert_eq!(why, [Some("the node has left"); 3]);
        assert_eq!(host.addresses.announced(), [""; 0]);
        assert!(status.table.synced && status.services[0].backends[0].eligible);
    };
    host.run_and_crash(async |daemon| {
        sleep(HOLD).await;
        let (asked, reply) = (Instant::now(), node(daemon, NodeChange::Leave).await);
        assert_eq!((reply.withdrawn, reply.not_withdrawn, reply.not_remembered), (2, None, None));
        // It waits for routers.
        assert!(asked.elapsed() >= Duration::from_secs(1));
        check(daemon).await;
        assert_eq!(node(daemon, NodeChange::Leave).await.withdrawn, 0);
        assert!(daemon.reload_with(&FILE.replace("203.0.113.99", "203.0.113.98")).await.ok);
        check(daemon).await;
    })
    .await;
    host.run(async |daemon| check(daemon).await).await;
    host.run(async |daemon| {
        check(daemon).await;
        let reply = node(daemon, NodeChange::Join).await;
        assert_eq!((reply.left, reply.not_remembered), (None, None));
        assert_eq!(host.addresses.announced(), [""; 0]);
        sleep(HOLD).await;
        assert_eq!(host.addresses.announced(), ALL);
        assert_eq!(daemon.status().await.node.left, None);
    })
    .await;
    host.run(async |daemon| assert_eq!(daemon.status().await.node.left, None)).await;
}

#[tokio::test(start_paused = true)]
async fn leave_that_cannot_withdraw_or_be_saved_says_so() {
    let host = host(WEB_ONLY);
    host.run(async |daemon| {
        sleep(HOLD).await;
        host.addresses.refuse(Some(Errno::EPERM));
        std::fs::create_dir(host.path("run/backends.json.new")).unwrap();
        let reply = node(daemon, NodeChange::Leave).await;
        let why = "delete 203.0.113.10 from lo: Operation not permitted (os error 1)";
        assert_eq!((reply.withdrawn, reply.not_withdrawn.as_deref()), (0, Some(why)));
        assert!(reply.not_remembered.unwrap().contains("Is a directory"));
        host.addresses.refuse(None);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(host.addresses.announced(), [""; 0]);
        std::fs::remove_dir(host.path("run/backends.json.new")).unwrap();
    })
    .await;
}
