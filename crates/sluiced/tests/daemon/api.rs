//! Requests to the control socket, by the client library and by hand-written HTTP.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use sluice_api::{Client, Connections};
use sluice_core::model::{BackendName, ServiceName};
use sluiced::conntrack::lister::{ListQuery, ListRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::host::Host;
use crate::{WEB, WEB3};

#[tokio::test]
async fn client_gets_status_and_reloads() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let client = Client::new(host.socket());
        let status = client.status().await.unwrap();
        assert_eq!(status, daemon.status().await);
        assert_eq!(status.daemon.pid, std::process::id());
        assert_eq!(status.services[0].listeners, ["203.0.113.10:80/tcp"]);
        assert_eq!(status.services[0].backends[0].share, 0.5);

        host.configure(WEB3);
        let reply = client.reload().await.unwrap();
        assert!(reply.ok, "{reply:?}");
        host.configure("services: 7");
        let reply = client.reload().await.unwrap();
        assert!(!reply.ok && !reply.problems.is_empty(), "{reply:?}");
        assert_eq!(client.status().await.unwrap().services[0].backends.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn readers_at_the_same_time_share_a_snapshot() {
    Host::new(WEB)
        .run(async |daemon| {
            let snapshots = join_all((0..100).map(|_| daemon.collector.collect())).await;
            let snapshots: Vec<_> = snapshots.into_iter().map(Result::unwrap).collect();
            let different: BTreeSet<_> = snapshots.iter().map(Arc::as_ptr).collect();
            // The first one, and one for all that came meanwhile.
            assert!(different.len() <= 2, "{}", different.len());
        })
        .await;
}

#[tokio::test]
async fn metrics_count_reloads_by_what_came_of_them() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        for yaml in [WEB3, "services: 7", "services: 8", WEB, WEB3] {
            daemon.reload_with(yaml).await;
        }
        let answer = ask(&host, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        for (result, count) in [("ok", 3), ("failed", 2)] {
            let line = format!("\nsluice_config_reloads_total{{result=\"{result}\"}} {count}\n");
            assert!(answer.contains(&line), "{line} is not in {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn request_for_anything_else_is_refused_in_json() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        for (request, code) in
            [("GET /nothing", 404), ("GET /api/v1/reload", 405), ("DELETE /api/v1/status", 405)]
        {
            let answer =
                ask(&host, &format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{request}: {answer}");
            assert!(answer.contains("\"error\":") && answer.contains("\"hint\":"), "{request}: {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn request_for_connections_passes_the_query_and_the_services_on() {
    let mut host = Host::new(WEB);
    let (sender, requests) = channel();
    host.listing = Some(sender);
    let (asking, asked) = channel();
    thread::spawn(move || {
        for ListRequest { services, query, answer } in requests {
            asking.send((services.len(), query)).unwrap();
            answer.send(Ok(Connections { total: 7, connections: vec![] })).unwrap();
        }
    });
    host.run(async |daemon| {
        daemon.status().await;
        for query in ["", "?service=web&limit=5", "?service=web&backend=10.0.2.11:8080"] {
            let request =
                format!("GET /api/v1/connections{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            let answer = ask(&host, &request).await;
            assert!(answer.ends_with(r#"{"total":7,"connections":[]}"#), "{query}: {answer}");
        }
        let misspelt =
            "GET /api/v1/connections?state=etablished HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer = ask(&host, misspelt).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("unknown state `etablished`"),
            "{answer}"
        );
        assert!(answer.contains("write one of ") && answer.contains(", established, "), "{answer}");
    })
    .await;
    let (service, backend) = (ServiceName::new("web").ok(), BackendName::new("10.0.2.11:8080").ok());
    let expected =
        |service, backend, limit| (1, ListQuery { service, backend, client: None, state: None, limit });
    assert_eq!(
        asked.try_iter().collect::<Vec<_>>(),
        [expected(None, None, 1000), expected(service.clone(), None, 5), expected(service, backend, 1000)]
    );
}

#[tokio::test]
async fn request_for_connections_that_nobody_can_list_says_so() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let answer =
            ask(&host, "GET /api/v1/connections HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 500 ") && answer.contains("conntrack could not be opened"),
            "{answer}"
        );
    })
    .await;
}

#[tokio::test]
async fn peers_that_say_nothing_or_nonsense_or_go_away_keep_nobody_waiting() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let mut silent = vec![];
        for _ in 0..50 {
            silent.push(UnixStream::connect(host.socket()).await.unwrap());
        }
        for _ in 0..50 {
            let mut gone = UnixStream::connect(host.socket()).await.unwrap();
            gone.write_all(b"GET /api/v1/status HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut nonsense = UnixStream::connect(host.socket()).await.unwrap();
            nonsense.write_all(&[0, 255, b'\r', b'\n', b'\r', b'\n']).await.unwrap();
        }
        assert!(Client::new(host.socket()).status().await.unwrap().table.synced);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn body_that_never_ends_or_is_too_large_is_refused_and_changes_nothing() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        for (path, length, sent, code) in [
            ("overrides", "content-length: 100", "{", 408),
            ("overrides", "transfer-encoding: chunked", "1\r\n{\r\n", 408),
            ("plan", "content-length: 60000000", "{", 408),
            ("overrides", "content-length: 3000000", "", 413),
            ("overrides", "transfer-encoding: chunked", &format!("300000\r\n{}", " ".repeat(0x30_0000)), 413),
            ("plan", "content-length: 70000000", "", 413),
        ] {
            let head = "host: x\r\ncontent-type: application/json\r\nconnection: close";
            let mut stream = UnixStream::connect(host.socket()).await.unwrap();
            let request = format!("POST /api/v1/{path} HTTP/1.1\r\n{head}\r\n{length}\r\n\r\n{sent}");
            // The daemon does not read all of a body that is too large.
            let _ = stream.write_all(request.as_bytes()).await;
            let mut answer = [0; 4096];
            let length = stream.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..length]);
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{path} {length}: {answer}");
            assert!(answer.contains("\"hint\":"), "{answer}");
        }
        assert_eq!(daemon.status().await.table.rounds, 1);
    })
    .await;
}

#[tokio::test]
async fn followers_are_sent_away_when_who_tells_them_panics_and_can_come_back() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let mut stream = follow(&host).await;
        read_until(&mut stream, "event: status").await;
        host.panics.store(true, Ordering::Relaxed);
        let mut rest = String::new();
        let end = timeout(Duration::from_secs(20), stream.read_to_string(&mut rest)).await;
        assert!(end.is_ok(), "it is told nothing, and does not know: {rest}");
        host.panics.store(false, Ordering::Relaxed);
        let mut stream = follow(&host).await;
        read_until(&mut stream, "event: changes").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn follower_stays_connected_far_longer_than_a_request_may_take() {
    let host = Host::new(WEB);
    host.run(async |daemon| {
        daemon.status().await;
        let mut stream = follow(&host).await;
        read_until(&mut stream, "event: status").await;
        for _ in 0..5 {
            sleep(Duration::from_secs(60)).await;
            daemon.reload_with(WEB3).await;
            read_until(&mut stream, "event: changes").await;
        }
    })
    .await;
}

/// Asks for the status and its changes.
async fn follow(host: &Host) -> UnixStream {
    let mut stream = UnixStream::connect(host.socket()).await.unwrap();
    stream.write_all(b"GET /api/v1/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    stream
}

async fn read_until(stream: &mut UnixStream, text: &str) {
    let mut read = String::new();
    while !read.contains(text) {
        let mut piece = [0; 4096];
        let length =
            timeout(Duration::from_secs(20), stream.read(&mut piece)).await.expect("in time").unwrap();
        assert!(length > 0, "it ended after {read}");
        read.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
}

/// Sends bytes and reads until the other side has said all.
async fn ask(host: &Host, request: &str) -> String {
    let mut stream = UnixStream::connect(host.socket()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
