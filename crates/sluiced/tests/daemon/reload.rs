//! A reload applies the whole file or nothing.

use sluice_api::{OverrideChange, ReloadStatus};
use sluice_core::flows::Target;
use sluice_core::model::Ports;
use sluice_nft::Errno;
use sluiced::digest::Digest;
use sluiced::request::Request;
use tokio::sync::oneshot;

use crate::host::{FORWARD6, Host};
use crate::{WEB, WEB3};

const ENOMEM: Errno = Errno(12);

#[tokio::test(start_paused = true)]
async fn reload_of_an_unchanged_file_commits_nothing() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let commits = host.commits();
        let reply = daemon.reload().await;
        assert!(reply.ok);
        assert_eq!((reply.summary.as_str(), reply.generation), ("nothing changed in the kernel", 2));
        assert_eq!(reply.warnings, [""; 0]);
        assert_eq!(host.commits(), commits);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reload_of_a_good_file_changes_the_kernel_and_tells_the_service_manager() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        let before = daemon.status().await;
        host.notified();
        let reply = daemon.reload_with(WEB3).await;
        assert!(reply.ok && reply.problems.is_empty(), "{reply:?}");

        let status = daemon.status().await;
        let backends = &status.services[0].backends;
        assert_eq!(backends.len(), 3);
        assert_eq!(backends[0].since, before.services[0].backends[0].since);
        assert_eq!(status.reload, reply);
        assert!(status.table.synced && status.table.last_commit >= before.table.last_commit);

        let notified = host.notified();
        assert_eq!(notified[0], "RELOADING=1");
        assert!(notified[1].starts_with("MONOTONIC_USEC="), "{notified:?}");
        assert_eq!(notified[2..], ["READY=1", "STATUS=1 service with 3 backends, in sync"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reload_of_a_bad_file_changes_nothing_and_shows_every_problem() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        let before = daemon.status().await;
        let commits = host.commits();
        host.notified();
        let reply =
            daemon.reload_with("services: {web: {listen: '127.0.0.1:80', backends: [nonsense]}}").await;
        assert!(!reply.ok);
        assert_eq!(reply.problems.len(), 2, "{reply:?}");
        assert_eq!(reply.summary, "1 service with 2 backends as before");

        let status = daemon.status().await;
        assert_eq!((status.services, status.reload), (before.services, reply));
        assert_eq!(host.commits(), commits);
        let last = host.notified().pop().unwrap();
        assert_eq!(last, "STATUS=1 service with 2 backends, in sync; reload failed with 2 problems");

        // The next good one makes up for it.
        assert!(daemon.reload_with(WEB).await.ok);
        assert!(daemon.status().await.reload.ok);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn digest_of_the_status_is_that_of_the_services_in_force() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        let digest = async || daemon.status().await.config.digest;
        let of = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            Digest::of(sluice_config::load(file.path()).unwrap().config.shared()).short().to_owned()
        };
        assert_eq!(digest().await, of(WEB));
        assert!(!daemon.reload_with("services: 7").await.ok);
        host.kernel().fail_commit(0, ENOMEM);
        assert!(!daemon.reload_with(WEB3).await.ok);
        assert_eq!(digest().await, of(WEB));
        assert!(daemon.reload_with(WEB3).await.ok);
        assert_eq!(digest().await, of(WEB3));
        assert_ne!(of(WEB), of(WEB3));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reload_that_the_kernel_refuses_keeps_the_old_configuration() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let before = host.kernel().table().cloned();
        host.kernel().fail_commit(0, ENOMEM);
        let reply = daemon.reload_with(WEB3).await;
        assert_eq!(
            (reply.ok, reply.problems.as_slice()),
            (false, &["commit a batch: Cannot allocate memory (os error 12)".to_owned()][..])
        );
        let status = daemon.status().await;
        assert_eq!(status.services[0].backends.len(), 2);
        assert!(!status.table.synced && status.table.retry_at.is_some());

        // The retry finds the old configuration in the kernel.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert!(daemon.status().await.table.synced);
        assert_eq!(host.kernel().table(), before.as_ref());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reload_that_fails_after_the_switch_is_finished_by_a_retry() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let commits = host.commits();
        // The last batch of this plan; what comes before it depends on the shapes in use.
        let batches = batches_of(WEB, WEB3).await;
        assert!(batches > 1);
        host.kernel().fail_commit(batches - 1, ENOMEM);
        let reply = daemon.reload_with(WEB3).await;
        assert!(!reply.ok);
        let status = daemon.status().await;
        assert_eq!((host.commits(), status.services[0].backends.len()), (commits + batches - 1, 3));
        assert!(!status.table.synced);

        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert!(daemon.status().await.table.synced);
        assert!(daemon.reload().await.summary.starts_with("nothing changed"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reload_with_another_ip_version_switches_its_forwarding_on_first() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        assert_eq!(host.sysctl(FORWARD6), "0");
        let six = "services: {web: {listen: '[2001:db8::10]:80', backends: ['[fd00::11]:8080']}}";
        assert!(daemon.reload_with(six).await.ok);
        assert_eq!(host.sysctl(FORWARD6), "1");

        // Required, but switched off by somebody: refused, and the file before stays.
        host.proc().set_sysctl(FORWARD6, "0").unwrap();
        let reply = daemon.reload_with(&format!("{six}\nforwarding: require")).await;
        assert!(!reply.ok && reply.problems[0].contains("net.ipv6.conf.all.forwarding"), "{reply:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reload_with_another_socket_or_state_directory_warns_and_stays_where_it_is() {
    let host = Host::new(WEB);
    let (file, directory) = (host.path("sluice.yaml"), host.path("run"));
    host.run(async |daemon| {
        let state = daemon.status().await.state.directory;
        let socket = |path: &str| format!("{WEB3}\ncontrol: {{socket: {}}}", host.path(path).display());
        let warning = |key| format!("{}: warning: {key} takes effect at a restart", file.display());
        // Each time, not only the first.
        for _ in 0..2 {
            let elsewhere = format!("{}\nstate: {}", socket("elsewhere.sock"), directory.display());
            std::fs::write(&file, elsewhere).unwrap();
            let reply = daemon.reload().await;
            assert_eq!((reply.ok, reply.warnings), (true, vec![warning("control")]));
            std::fs::write(&file, format!("{}\nstate: {}", socket("run/sluice.sock"), file.display()))
                .unwrap();
            let reply = daemon.reload().await;
            assert_eq!((reply.ok, reply.warnings), (true, vec![warning("state")]));
        }
        assert!(host.socket().exists() && !host.path("elsewhere.sock").exists());
        let status = daemon.status().await;
        assert_eq!(status.daemon.socket, host.socket());
        assert_eq!(status.state.directory, state);
    })
    .await;
}

// A clock that is paused stands still while a file is read.
#[tokio::test]
async fn file_that_takes_long_to_read_delays_nobody_else_and_those_who_ask_meanwhile_get_one_more() {
    let host = Host::new(&format!("{WEB}\nrefresh: 0"));
    host.run(async |daemon| {
        daemon.status().await;
        let comments = "# It takes a while to read all this, and to find nothing.\n".repeat(200_000);
        host.configure(&(comments + WEB));
        // Returns when the daemon was asked; the reply comes later.
        let ask = async |reply: oneshot::Sender<ReloadStatus>| {
            daemon.requests.send(Request::Reload(Some(reply))).await.unwrap();
        };
        let (sender, mut first) = oneshot::channel();
        ask(sender).await;
        let mut later = vec![];
        for _ in 0..3 {
            let (sender, reply) = oneshot::channel();
            ask(sender).await;
            later.push(reply);
        }
        assert_eq!(daemon.status().await.reload.generation, 1);
        daemon.set("web/10.0.2.11:8080", OverrideChange::Weight(Some(3))).await.unwrap();
        assert_eq!(
            first.try_recv().unwrap_err(),
            oneshot::error::TryRecvError::Empty,
            "the file is not loaded yet"
        );
        // The load that runs keeps its file.
        let socket = host.socket();
        std::fs::write(host.path("next.yaml"), format!("{WEB3}\ncontrol: {{socket: {}}}", socket.display()))
            .unwrap();
        std::fs::rename(host.path("next.yaml"), host.path("sluice.yaml")).unwrap();
        let first = first.await.unwrap();
        assert_eq!((first.ok, first.generation), (true, 2), "{first:?}");
        for reply in later {
            assert_eq!(reply.await.unwrap().generation, 3);
        }
        let backends = daemon.status().await.services.remove(0).backends;
        assert_eq!(backends.iter().map(|backend| backend.weight).collect::<Vec<_>>(), [3, 1, 1]);
    })
    .await;
}

/// How many commits it takes to go from one configuration to another.
async fn batches_of(from: &str, to: &str) -> usize {
    let host = Host::new(from);
    let mut commits = 0;
    host.run(async |daemon| {
        daemon.status().await;
        let before = host.commits();
        assert!(daemon.reload_with(to).await.ok);
        commits = host.commits() - before;
    })
    .await;
    commits
}

#[tokio::test(start_paused = true)]
async fn flows_of_a_removed_backend_are_looked_at_a_little_later() {
    let host = Host::new(WEB3);
    host.run(async |daemon| {
        daemon.status().await;
        host.forgotten.1.try_iter().for_each(drop);
        assert!(daemon.reload_with(WEB).await.ok);
        let orders: Vec<_> = host.forgotten.1.try_iter().collect();
        let [order] = &orders[..] else { panic!("{orders:?}") };
        let selectors: Vec<_> = order.affected.later.selectors.iter().map(|look| look.target).collect();
        let ports = Ports::single(8080);
        assert_eq!(selectors, [Target::Backend { address: "10.0.2.13".parse().unwrap(), ports }]);
        assert!(order.affected.soon.is_empty(), "it still answers");
        assert!(daemon.reload_with(WEB3).await.ok);
        let orders: Vec<_> = host.forgotten.1.try_iter().collect();
        let [order] = &orders[..] else { panic!("{orders:?}") };
        assert!(order.affected.soon.is_empty() && order.affected.later.is_empty(), "{order:?}");
    })
    .await;
}
