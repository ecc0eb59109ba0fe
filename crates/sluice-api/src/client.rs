//! Client of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::{
    CONNECTIONS_PATH, Connections, ConnectionsQuery, ErrorReply, NODE_PATH, NodeReply, NodeRequest,
    OVERRIDE_PATH, OVERRIDES_PATH, OverrideReply, OverrideRequest, OverridesReply, OverridesRequest,
    PLAN_PATH, PlanReport, PlanRequest, READY_PATH, RELOAD_PATH, ReadyQuery, ReadyReply, ReloadStatus,
    STATUS_PATH, Status,
};

/// Time limit of requests that change the kernel. A round over a large configuration takes seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Time limit of requests that only read.
const LOOK_TIMEOUT: Duration = Duration::from_secs(15);

/// Client of a running daemon. Each request opens a connection.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// A request that failed. [`ClientError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens on the socket.
    #[error("sluiced is not running, or its socket is elsewhere: connect {}", .0.display())]
    NotRunning(PathBuf, #[source] io::Error),
    /// The mode of the socket does not permit it.
    #[error("not allowed to talk to sluiced: connect {}", .0.display())]
    NotAllowed(PathBuf, #[source] io::Error),
    /// Any other failure to connect.
    #[error("connect {}", .0.display())]
    Connect(PathBuf, #[source] io::Error),
    /// The connection failed after it was established.
    #[error("{0} {path} at {socket}", path = .1, socket = .2.display())]
    Exchange(Method, &'static str, PathBuf, #[source] hyper::Error),
    /// No response within the time limit.
    #[error("sluiced does not respond: no response to {0} {1} within {limit} s", limit = .2.as_secs())]
    TimedOut(Method, &'static str, Duration),
    /// As many connections wait on the socket as the kernel permits, because the daemon accepts none.
    #[error("sluiced does not respond: its queue of connections is full: connect {}", .0.display())]
    QueueFull(PathBuf, #[source] io::Error),
    /// The response is not what this version expects.
    #[error("unexpected response to {0} {1}")]
    Answer(Method, &'static str, #[source] serde_json::Error),
    /// The daemon refused the request.
    #[error("{}", .0.error)]
    Refused(ErrorReply),
}

impl ClientError {
    /// What to do about it.
    pub fn hint(&self) -> &str {
        match self {
            ClientError::NotRunning(..) => "start it with systemctl start sluiced, or set --socket",
            ClientError::NotAllowed(..) => "run as root, or join the group in control.group",
            ClientError::Connect(..) => "set --socket to the control socket of sluiced",
            ClientError::Exchange(..) => "sluiced may have stopped: see journalctl -u sluiced, and try again",
            ClientError::TimedOut(..) | ClientError::QueueFull(..) => {
                "it is busy or hangs; traffic continues. See journalctl -u sluiced. If it hangs, replace it with systemctl kill \
                 --signal=KILL sluiced"
            }
            ClientError::Answer(..) => {
                "use the same version of sluice and sluiced: after an upgrade, systemctl restart sluiced"
            }
            ClientError::Refused(reply) => &reply.hint,
        }
    }
}

impl Client {
    /// A client of the daemon that listens on `socket`. Does not connect yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Client { socket: socket.into() }
    }

    /// The path of the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Status of the daemon, with connection counts that are read from the kernel now.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.request(Method::GET, STATUS_PATH, None, Bytes::new(), LOOK_TIMEOUT).await
    }

    /// Live connections of all services, of one, or of one backend, read from conntrack now.
    pub async fn connections(&self, query: &ConnectionsQuery) -> Result<Connections, ClientError> {
        let query = serde_urlencoded::to_string(query).expect("keys are words, values text and numbers");
        self.request(Method::GET, CONNECTIONS_PATH, Some(query), Bytes::new(), LOOK_TIMEOUT).await
    }

    /// Whether services are ready, within this time.
    pub async fn ready(&self, query: &ReadyQuery, limit: Duration) -> Result<ReadyReply, ClientError> {
        let query = serde_urlencoded::to_string(query).expect("keys are words, values text");
        self.request(Method::GET, READY_PATH, Some(query), Bytes::new(), limit).await
    }

    /// The changes that a reload would make if the daemon's file had these texts; `None` for the file as it is.
    pub async fn plan(&self, request: Option<&PlanRequest>) -> Result<PlanReport, ClientError> {
        let body = request.map(|request| serde_json::to_vec(request).expect("texts are valid JSON"));
        self.request(Method::POST, PLAN_PATH, None, body.unwrap_or_default().into(), LOOK_TIMEOUT).await
    }

    /// Reloads the configuration and waits until it is applied. A refused file is a reply with `ok` false, not an
    /// error.
    pub async fn reload(&self) -> Result<ReloadStatus, ClientError> {
        self.request(Method::POST, RELOAD_PATH, None, Bytes::new(), TIMEOUT).await
    }

    /// Overrides the admin state or the weight of a backend, and waits until it is applied.
    pub async fn set_override(&self, request: &OverrideRequest) -> Result<OverrideReply, ClientError> {
        let body = serde_json::to_vec(request).expect("names and numbers are valid JSON");
        self.request(Method::POST, OVERRIDE_PATH, None, body.into(), TIMEOUT).await
    }

    /// Overrides the admin state or the weight of several backends, all or none, and waits until it is applied.
    pub async fn set_overrides(&self, request: &OverridesRequest) -> Result<OverridesReply, ClientError> {
        let body = serde_json::to_vec(request).expect("names and numbers are valid JSON");
        self.request(Method::POST, OVERRIDES_PATH, None, body.into(), TIMEOUT).await
    }

    /// Makes the node leave or join. The response to a leave comes `announce.withdraw_wait`, at most a minute, after addresses are
    /// withdrawn.
    pub async fn set_node(&self, request: &NodeRequest) -> Result<NodeReply, ClientError> {
        let body = serde_json::to_vec(request).expect("texts are valid JSON");
        self.request(Method::POST, NODE_PATH, None, body.into(), 2 * TIMEOUT).await
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &'static str,
        query: Option<String>,
        body: Bytes,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let uri = query.filter(|query| !query.is_empty()).map(|query| format!("{path}?{query}"));
        let uri = uri.as_deref().unwrap_or(path);
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.no_connection(error))?;
        let (status, body) = tokio::time::timeout(limit, exchange(stream, &method, uri, body))
            .await
            .map_err(|_| ClientError::TimedOut(method.clone(), path, limit))?
            .map_err(|error| ClientError::Exchange(method.clone(), path, self.socket.clone(), error))?;
        let unexpected = |error| ClientError::Answer(method, path, error);
        let refused: Result<ErrorReply, _> = serde_json::from_slice(&body);
        match (status, refused) {
            (StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY, _)
            | (StatusCode::SERVICE_UNAVAILABLE, Err(_)) => serde_json::from_slice(&body).map_err(unexpected),
            (_, refused) => Err(refused.map_or_else(unexpected, ClientError::Refused)),
        }
    }

    fn no_connection(&self, error: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning(socket, error)
            }
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed(socket, error),
            io::ErrorKind::WouldBlock => ClientError::QueueFull(socket, error),
            _ => ClientError::Connect(socket, error),
        }
    }
}

async fn exchange(
    stream: UnixStream,
    method: &Method,
    uri: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), hyper::Error> {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(HOST, "sluice")
        .header(CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(body));
    let request = request.expect("method, path, query and host are valid by construction");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    // The connection future moves the bytes; it ends when the sender is dropped, after the response.
    tokio::try_join!(answer, connection).map(|(answer, ())| answer)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    /// Sends a reload to a daemon that responds with `response`.
    async fn ask_a_daemon_that_says(response: &'static str) -> (Result<ReloadStatus, ClientError>, String) {
        ask(response, async |client| client.reload().await).await
    }

    /// Responds to one connection with `response`; returns the result and the request.
    async fn ask<T>(
        response: &'static str,
        question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> (Result<T, ClientError>, String) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(response.as_bytes()).await.unwrap();
            String::from_utf8(request[..length].to_vec()).unwrap()
        };
        let client = Client::new(&socket);
        tokio::join!(question(&client), daemon)
    }

    #[tokio::test]
    async fn reload_answered_with_422_is_a_reply_not_an_error() {
        let body = r#"{"at":"2025-01-02T03:04:05Z","ok":false,"problems":["x.yaml:1:1: error: bad (fix)"],
            "warnings":[],"summary":"s","generation":2}"#;
        let response = format!(
            "HTTP/1.1 422 Unprocessable Entity\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let (reply, asked) = ask_a_daemon_that_says(response.leak()).await;
        assert_eq!(reply.unwrap().problems, ["x.yaml:1:1: error: bad (fix)"]);
        assert!(asked.starts_with("POST /api/v1/reload HTTP/1.1\r\nhost: sluice\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn connections_are_asked_for_with_an_encoded_query() {
        let body = r#"{"total":53211,"connections":[]}"#;
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).leak();
        let all = ConnectionsQuery::default();
        let some = ConnectionsQuery {
            service: Some("web".into()),
            backend: Some("[2001:db8::1]:80 a&b=c/d?é".into()),
            client: Some("198.51.100.0/24".into()),
            state: Some("established".into()),
            limit: Some(5),
        };
        for (query, path) in [
            (all, "/api/v1/connections"),
            (
                some,
                "/api/v1/connections?service=web&backend=%5B2001%3Adb8%3A%3A1%5D%3A80+a%26b%3Dc%2Fd%3F%C3%A9&client=198.51.100.0%2F24&state=established&limit=5",
            ),
        ] {
            let (reply, asked) = ask(response, async |client| client.connections(&query).await).await;
            assert_eq!(reply.unwrap().total, 53211);
            assert!(asked.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{asked}");
            // The daemon decodes it to the same query.
            let sent = path.split_once('?').map_or("", |(_, query)| query);
            assert_eq!(serde_urlencoded::from_str::<ConnectionsQuery>(sent).unwrap(), query);
        }
    }

    #[tokio::test]
    async fn connections_that_are_refused_say_why() {
        let (reply, _) = ask(
            "HTTP/1.1 404 x\r\nconnection: close\r\n\r\n{\"error\":\"no service wob\",\"hint\":\"did you mean web?\"}",
            async |client| client.connections(&ConnectionsQuery::default()).await,
        )
        .await;
        let error = reply.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.hint()), ("no service wob", "did you mean web?"));
    }

    #[tokio::test]
    async fn answer_with_an_error_body_carries_its_hint() {
        let (reply, _) = ask_a_daemon_that_says(
            "HTTP/1.1 503 x\r\nconnection: close\r\n\r\n{\"error\":\"busy\",\"hint\":\"wait\"}",
        )
        .await;
        let error = reply.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.hint()), ("busy", "wait"));
    }

    #[tokio::test]
    async fn answer_that_is_no_json_or_breaks_off_is_an_error_with_the_request() {
        let (reply, _) = ask_a_daemon_that_says("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello").await;
        assert_eq!(reply.unwrap_err().to_string(), "unexpected response to POST /api/v1/reload");
        let (reply, _) = ask_a_daemon_that_says("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await;
        assert!(reply.unwrap_err().to_string().starts_with("POST /api/v1/reload at /"));
    }

    #[tokio::test(start_paused = true)]
    async fn daemon_that_never_answers_is_an_error_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sock");
        let _silent = UnixListener::bind(&socket).unwrap();
        let error = Client::new(&socket).plan(None).await.unwrap_err();
        let told = "sluiced does not respond: no response to POST /api/v1/plan within 15 s";
        assert_eq!(error.to_string(), told);
    }

    #[tokio::test]
    async fn connect_without_a_daemon_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sock");
        for _ in 0..2 {
            let error = Client::new(&socket).status().await.unwrap_err();
            assert!(matches!(error, ClientError::NotRunning(..)), "{error:?}");
            let hint = "start it with systemctl start sluiced, or set --socket";
            assert_eq!(error.hint(), hint);
            // The second time the file exists, but nothing listens.
            drop(std::os::unix::net::UnixListener::bind(&socket));
        }
        let error = Client::new(dir.path()).status().await.unwrap_err();
        assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    }
}
