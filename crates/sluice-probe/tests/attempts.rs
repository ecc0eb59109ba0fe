//! One attempt of each kind against real sockets that behave and misbehave.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use sluice_core::model::{HttpProbe, Probe, ProbeTarget, UdpProbe};
use sluice_probe::{ProbeOutcome, ProbeResult, Slots, attempt, has_sctp};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn ask(probe: &Probe, port: u16) -> ProbeOutcome {
    ask_for(probe, port, Duration::from_secs(5)).await
}

async fn ask_for(probe: &Probe, port: u16, timeout: Duration) -> ProbeOutcome {
    attempt(probe, ProbeTarget { address: LOCALHOST, port }, timeout, &Slots::default()).await
}

/// A server that does this to each connection.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            serve(listener.accept().await.unwrap().0).await;
        }
    });
    port
}

async fn answering(text: &'static str) -> u16 {
    server(move |mut stream| async move {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(text.as_bytes()).await;
    })
    .await
}

async fn unused() -> u16 {
    TcpListener::bind((LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port()
}

fn http(expect: (u16, u16), body: Option<&str>) -> Probe {
    Probe::Http(HttpProbe {
        path: "/healthz".into(),
        host: None,
        expect: vec![expect],
        body: body.map(str::to_owned),
        tls: false,
        verify: false,
    })
}

#[tokio::test]
async fn tcp_to_a_listener_succeeds_and_to_none_says_why_not() {
    let port = server(|stream| async move { drop(stream) }).await;
    assert_eq!(ask(&Probe::Tcp, port).await.verdict, ProbeResult::Success);
    let port = unused().await;
    let outcome = ask(&Probe::Tcp, port).await;
    assert_eq!(outcome.verdict, ProbeResult::Failure);
    assert_eq!(outcome.detail, format!("connect 127.0.0.1:{port}: connection refused"));
}

#[tokio::test]
async fn sctp_to_no_listener_fails_and_without_sctp_sockets_is_skipped() {
    let outcome = ask(&Probe::Sctp, 2905).await;
    let expected = match has_sctp() {
        true => (ProbeResult::Failure, "sctp 127.0.0.1:2905: connection refused"),
        false => {
            (ProbeResult::Skipped, "sctp 127.0.0.1:2905: the kernel has no SCTP sockets (modprobe sctp)")
        }
    };
    assert_eq!((outcome.verdict, &*outcome.detail), expected);
}

#[tokio::test]
async fn http_judges_status_and_body() {
    let port = answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nready").await;
    assert_eq!(ask(&http((200, 399), None), port).await.verdict, ProbeResult::Success);
    assert_eq!(ask(&http((200, 399), Some("read")), port).await.verdict, ProbeResult::Success);
    let lacking = ask(&http((200, 399), Some("steady")), port).await;
    let expected = format!("GET http://127.0.0.1:{port}/healthz: status 200, but the body lacks \"steady\"");
    assert_eq!((lacking.verdict, lacking.detail), (ProbeResult::Failure, expected));
    let port = answering("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n").await;
    let broken = ask(&http((200, 399), None), port).await;
    let expected = format!("GET http://127.0.0.1:{port}/healthz: status 500");
    assert_eq!((broken.verdict, broken.detail), (ProbeResult::Failure, expected));
    assert_eq!(ask(&http((500, 500), None), port).await.verdict, ProbeResult::Success);
}

#[tokio::test]
async fn http_from_whoever_is_silent_resets_or_talks_nonsense_fails() {
    let silent = server(|stream| async move {
        tokio::spawn(async move {
            let _kept_open = stream;
            std::future::pending::<()>().await;
        });
    })
    .await;
    let outcome = ask_for(&http((200, 399), None), silent, Duration::from_millis(100)).await;
    let expected = format!("GET http://127.0.0.1:{silent}/healthz: no answer within 100ms");
    assert_eq!((outcome.verdict, outcome.detail), (ProbeResult::Failure, expected));
    let resetting = server(|stream| async move {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    assert_eq!(ask(&http((200, 399), None), resetting).await.verdict, ProbeResult::Failure);
    let talking = answering("hello\r\n").await;
    assert_eq!(ask(&http((200, 399), None), talking).await.verdict, ProbeResult::Failure);
}

/// A server that answers with a text and then with another one for as long as it can.
async fn flooding(first: &'static str, more: &'static str) -> u16 {
    server(move |mut stream| async move {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let mut sent = stream.write_all(first.as_bytes()).await;
        while sent.is_ok() {
            sent = stream.write_all(more.as_bytes()).await;
        }
    })
    .await
}

#[tokio::test]
async fn http_that_never_ends_is_read_up_to_a_limit() {
    for (first, more, reason) in [
        (
            "HTTP/1.1 200 OK\r\n",
            "x: 0123456789abcdef0123456789abcdef0123456789abcdef\r\n",
            "head is too large",
        ),
        ("HTTP/1.1 200 ", "O", "head is too large"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n", "more than 262144 bytes"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n", "more than 262144 bytes"),
        ("HTTP/1.1 200 OK\r\n\r\n", "0123456789abcdef", "the body lacks \"ready\""),
    ] {
        let port = flooding(first, more).await;
        let outcome = ask_for(&http((200, 399), Some("ready")), port, Duration::from_secs(60)).await;
        assert_eq!(outcome.verdict, ProbeResult::Failure);
        assert!(outcome.detail.ends_with(reason), "{first}{more}: {}", outcome.detail);
    }
}

#[tokio::test]
async fn timeout_that_this_host_notices_too_late_is_not_a_failure() {
    let silent = server(|stream| async move {
        tokio::spawn(async move {
            let _kept_open = stream;
            std::future::pending::<()>().await;
        });
    })
    .await;
    let (probe, timeout) = (http((200, 399), None), Duration::from_millis(100));
    // The only thread does something else.
    let busy = async {
        tokio::time::sleep(timeout / 2).await;
        std::thread::sleep(Duration::from_secs(1));
    };
    let (outcome, ()) = tokio::join!(ask_for(&probe, silent, timeout), busy);
    assert_eq!(outcome.verdict, ProbeResult::Skipped, "{}", outcome.detail);
    let expected = format!("GET http://127.0.0.1:{silent}/healthz: no answer within 100ms, but this host");
    assert!(outcome.detail.starts_with(&expected), "{}", outcome.detail);
}

#[tokio::test]
async fn tls_to_whoever_speaks_none_fails() {
    let port = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let Probe::Http(plain) = http((200, 399), None) else { unreachable!() };
    let outcome = ask(&Probe::Http(HttpProbe { tls: true, ..plain }), port).await;
    assert_eq!(outcome.verdict, ProbeResult::Failure, "{}", outcome.detail);
    assert!(
        outcome.detail.starts_with(&format!("GET https://127.0.0.1:{port}/healthz: ")),
        "{}",
        outcome.detail
    );
}

#[tokio::test]
async fn udp_judges_the_answer_or_the_lack_of_a_refusal() {
    let socket = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut datagram = [0; 64];
        loop {
            let (length, peer): (usize, SocketAddr) = socket.recv_from(&mut datagram).await.unwrap();
            if length > 0 {
                socket.send_to(b"pong!", peer).await.unwrap();
            }
        }
    });
    let udp = |send: &str, expect: Option<&str>| {
        Probe::Udp(UdpProbe { send: send.into(), expect: expect.map(Into::into) })
    };
    assert_eq!(ask(&udp("ping", Some("pong")), port).await.verdict, ProbeResult::Success);
    assert_eq!(ask(&udp("ping", Some("ping")), port).await.verdict, ProbeResult::Failure);
    assert_eq!(ask(&udp("", None), port).await.verdict, ProbeResult::Success);
    let short = ask_for(&udp("", Some("")), port, Duration::from_millis(100)).await;
    assert_eq!(short.verdict, ProbeResult::Failure, "{}", short.detail);
    let unused = unused().await;
    let refused = ask(&udp("ping", None), unused).await;
    let expected = format!("udp 127.0.0.1:{unused}: connection refused");
    assert_eq!((refused.verdict, refused.detail), (ProbeResult::Failure, expected));
}

#[tokio::test]
async fn ping_of_this_machine_is_answered() {
    for address in [LOCALHOST, "::1".parse().unwrap()] {
        let target = ProbeTarget { address, port: 0 };
        let outcome = attempt(&Probe::Icmp, target, Duration::from_secs(5), &Slots::default()).await;
        assert_eq!(outcome.verdict, ProbeResult::Success, "{}", outcome.detail);
    }
}

/// TLS with a certificate that nobody vouches for.
fn server_config() -> rustls::ServerConfig {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["example.org".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap()
}

/// A server that answers with this text over TLS.
async fn answering_tls(config: rustls::ServerConfig, text: String) -> u16 {
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    server(move |stream| {
        let (acceptor, text) = (acceptor.clone(), text.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.flush().await;
        }
    })
    .await
}

const WELL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn https() -> HttpProbe {
    let Probe::Http(plain) = http((200, 399), None) else { unreachable!() };
    HttpProbe { tls: true, host: Some("example.org".into()), ..plain }
}

#[tokio::test]
async fn tls_that_never_ends_is_read_up_to_a_limit() {
    // 200,000 bytes are permitted, but not in records of which each has a header and a tag.
    let long = "HTTP/1.1 100 Continue\r\n\r\n".repeat(8000) + WELL;
    let mut config = server_config();
    for (size, verdict) in [(None, ProbeResult::Success), (Some(32), ProbeResult::Failure)] {
        config.max_fragment_size = size;
        let port = answering_tls(config.clone(), long.clone()).await;
        let outcome = ask_for(&Probe::Http(https()), port, Duration::from_secs(60)).await;
        assert_eq!(outcome.verdict, verdict, "{}", outcome.detail);
        assert_eq!(outcome.detail.ends_with("more than 262144 bytes"), size.is_some(), "{}", outcome.detail);
    }
    // A handshake message of 16 MB, in records of 16 KB.
    let record = [&[22, 3, 3, 0x40, 0][..], &[2, 0xff, 0xff, 0xff], &[0; 0x4000 - 4]].concat();
    let endless = server(move |mut stream| {
        let record = record.clone();
        async move { while stream.write_all(&record).await.is_ok() {} }
    })
    .await;
    let outcome = ask_for(&Probe::Http(https()), endless, Duration::from_secs(60)).await;
    assert_eq!(outcome.verdict, ProbeResult::Failure, "{}", outcome.detail);
    assert!(!outcome.detail.contains("no answer within"), "{}", outcome.detail);
}

#[tokio::test]
async fn udp_from_whoever_sends_large_or_many_datagrams_is_judged_by_the_first() {
    let socket = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (_, peer) = socket.recv_from(&mut [0; 64]).await.unwrap();
        // Until nobody listens any more.
        while socket.send_to(&[0; 65_000], peer).await.is_ok() {}
    });
    let probe = Probe::Udp(UdpProbe { send: b"ping".to_vec(), expect: Some(b"pong".to_vec()) });
    let outcome = ask_for(&probe, port, Duration::from_secs(60)).await;
    let expected = format!("udp 127.0.0.1:{port}: unexpected reply");
    assert_eq!((outcome.verdict, outcome.detail), (ProbeResult::Failure, expected));
}

#[tokio::test]
async fn certificate_that_nobody_vouches_for_is_taken_unless_it_is_to_be_verified() {
    let port = answering_tls(server_config(), WELL.to_owned()).await;
    let trusting = https();
    let outcome = ask(&Probe::Http(trusting.clone()), port).await;
    assert_eq!(outcome.verdict, ProbeResult::Success, "{}", outcome.detail);
    let outcome = ask(&Probe::Http(HttpProbe { verify: true, ..trusting }), port).await;
    assert_eq!(outcome.verdict, ProbeResult::Failure, "{}", outcome.detail);
    assert!(outcome.detail.contains("certificate"), "{}", outcome.detail);
}
