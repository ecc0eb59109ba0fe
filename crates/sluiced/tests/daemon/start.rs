//! Conditions for a start, and the state when the daemon reports that it is ready.

use std::fs;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use sluice_nft::Errno;
use sluiced::fatal::Exit;
use tokio::time::sleep;

use crate::host::{FORWARD4, FORWARD6, Host};
use crate::{WEB, WEB3};

const EPERM: Errno = Errno(1);
const ENOMEM: Errno = Errno(12);
const ERESTART: Errno = Errno(85);

#[tokio::test(start_paused = true)]
async fn start_with_a_good_file_commits_switches_forwarding_on_and_is_ready() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        let status = daemon.status().await;
        assert!(status.table.present && status.table.synced && status.reload.ok);
        assert_eq!((status.table.services, status.reload.generation), (1, 1));
        assert_eq!(host.kernel().table().map(|table| table.sets.is_empty()), Some(false));
        assert_eq!((host.sysctl(FORWARD4), host.sysctl(FORWARD6)), ("1".into(), "0".into()));
        assert_eq!(host.notified(), ["READY=1", "STATUS=1 service with 2 backends, in sync"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn start_on_what_an_earlier_daemon_left_commits_nothing() {
    let host = Host::new(&format!("{WEB}\non_stop: keep"));
    host.run(async |daemon| drop(daemon.status().await)).await;
    let commits = host.commits();
    assert!(commits > 0);
    host.run(async |daemon| assert!(daemon.status().await.table.synced)).await;
    assert_eq!(host.commits(), commits);
}

#[tokio::test(start_paused = true)]
async fn start_on_another_configuration_makes_the_kernel_equal_to_the_file() {
    let host = Host::new(&format!("{WEB3}\non_stop: keep"));
    host.run(async |daemon| drop(daemon.status().await)).await;
    let three = host.kernel().table().cloned();
    host.configure(WEB);
    host.run(async |daemon| assert!(daemon.status().await.table.synced)).await;
    assert_ne!(host.kernel().table(), three.as_ref());
}

#[tokio::test(start_paused = true)]
async fn start_with_a_bad_file_names_every_problem_and_touches_nothing() {
    let host = Host::new("services: {web: {listen: '127.0.0.1:80', backends: [nonsense]}}");
    let fatal = host.refused().await;
    assert_eq!(fatal.exit(), Exit::Config);
    let lines: Vec<_> = fatal.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("sluice.yaml:1:")), "{lines:#?}");
    assert_eq!((host.commits(), host.sysctl(FORWARD4)), (0, "0".into()));
    assert!(!host.socket().exists());
}

#[tokio::test(start_paused = true)]
async fn start_without_the_capability_says_so() {
    let host = Host::new(WEB);
    host.kernel().fail_commit(0, EPERM);
    let fatal = host.refused().await;
    assert_eq!(fatal.exit(), Exit::Permission);
    let line = fatal.to_string();
    assert!(line.contains("Operation not permitted") && line.contains("CAP_NET_ADMIN"), "{line}");
    assert!(!host.socket().exists(), "the socket goes with the daemon");
}

#[tokio::test(start_paused = true)]
async fn start_that_the_kernel_refuses_is_one_line_with_the_cause() {
    let host = Host::new(WEB);
    host.kernel().fail_commit(0, ENOMEM);
    let fatal = host.refused().await;
    assert_eq!(fatal.exit(), Exit::Runtime);
    let line = fatal.to_string();
    assert!(
        line.starts_with("commit a batch: Cannot allocate memory") && line.lines().count() == 1,
        "{line}"
    );
}

#[tokio::test(start_paused = true)]
async fn start_while_somebody_else_changes_the_ruleset_tries_again_at_once() {
    let host = Host::new(WEB);
    for n in 0..3 {
        host.kernel().fail_commit(n, ERESTART);
    }
    host.run(async |daemon| assert!(daemon.status().await.table.synced)).await;
}

#[tokio::test(start_paused = true)]
async fn start_with_forwarding_required_but_off_is_refused() {
    let host = Host::new(&format!("{WEB}\nforwarding: require"));
    let fatal = host.refused().await;
    assert_eq!(fatal.exit(), Exit::Runtime);
    assert!(fatal.to_string().contains("net.ipv4.ip_forward is 0"), "{fatal}");
    assert_eq!(host.commits(), 0);
}

#[tokio::test(start_paused = true)]
async fn start_with_ipv6_backends_on_a_kernel_without_ipv6_is_refused_with_what_to_do() {
    let host = Host::new("services: {web: {listen: '[2001:db8::10]:80', backends: ['[fd00::11]:8080']}}");
    fs::remove_dir_all(host.path("proc/sys/net/ipv6")).unwrap();
    let fatal = host.refused().await.to_string();
    assert!(fatal.contains("services have IPv6 backends, but this kernel has no IPv6"), "{fatal}");
    assert!(fatal.contains("ipv6.disable=1"), "{fatal}");
    assert_eq!(host.commits(), 0);
}

#[tokio::test(start_paused = true)]
async fn start_beside_a_running_daemon_is_refused_and_the_first_goes_on() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let fatal = host.refused().await.to_string();
        let other = format!("another sluiced (pid {}) answers on ", std::process::id());
        assert!(
            fatal.contains(&other) && fatal.contains("use `sluice reload` to apply your file"),
            "{fatal}"
        );

        // With a socket of its own, but the same state directory.
        let other = format!("{WEB}\ncontrol: {{socket: {}}}", host.path("other.sock").display());
        let other = format!("{other}\nstate: {}", host.path("run").display());
        fs::write(host.path("sluice.yaml"), other).unwrap();
        let fatal = host.refused().await.to_string();
        let owner = format!("another sluiced (pid {}) uses the state directory", std::process::id());
        assert!(fatal.contains(&owner), "{fatal}");
        assert!(!host.path("other.sock").exists());
        assert!(daemon.status().await.table.synced);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn start_after_a_crash_replaces_the_socket_and_survives_corrupt_state() {
    let host = Host::new(WEB);
    fs::create_dir(host.path("run")).unwrap();
    drop(UnixListener::bind(host.socket()).unwrap());
    fs::write(host.path("run/state.json"), "{\"version\": 1, \"sys").unwrap();
    host.run(async |daemon| assert!(daemon.status().await.table.synced)).await;
    assert!(!host.socket().exists());
}

#[tokio::test(start_paused = true)]
async fn start_without_a_state_directory_serves_and_says_so_until_there_is_one() {
    let host = Host::new("");
    let state = host.path("state");
    host.configure(&format!("{WEB}\nrefresh: 60s\nstate: {}", state.display()));
    fs::write(&state, "").unwrap();
    host.run(async |daemon| {
        let status = daemon.status().await;
        assert!(status.table.synced && status.table.present);
        assert_eq!(status.state.directory, state.display().to_string());
        let why = format!("open the state directory {}: Not a directory (os error 20)", state.display());
        assert!(status.state.problems.contains(&why), "{:?}", status.state.problems);

        fs::remove_file(&state).unwrap();
        sleep(Duration::from_secs(61)).await;
        assert_eq!(daemon.status().await.state.problems, [""; 0]);
        assert!(fs::read_to_string(state.join("state.json")).unwrap().contains(FORWARD4));
    })
    .await;
    assert_eq!(host.sysctl(FORWARD4), "0");
}

#[tokio::test(start_paused = true)]
async fn change_of_others_before_the_daemon_listens_for_them_is_repaired_at_once() {
    let mut host = Host::new(&format!("{WEB}\nrefresh: 0"));
    host.on_listen = Some(|host| host.kernel().edit(|table| *table = None));
    host.run(async |daemon| {
        let table = daemon.status().await.table;
        assert!(table.present && table.synced);
        assert_eq!(table.rounds, 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn start_where_nobody_else_may_change_the_table_does_not_listen_for_changes() {
    let mut host = Host::new(WEB);
    host.own_tables();
    host.on_listen = Some(|_| panic!("listens for changes that cannot be"));
    host.run(async |daemon| assert_eq!(daemon.status().await.table.flags, ["owner"])).await;
}
