//! `http` probe: a GET must get the expected response.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use rustls::ClientConfig;
use sluice_core::model::HttpProbe;
use tokio::io::{AsyncRead, AsyncWrite};

use super::limited::Limited;
use super::{tcp, tls};
use crate::outcome::ProbeError;

/// Maximum size of the head of the response, in bytes.
const HEAD: usize = 16 << 10;

/// Maximum of the body that is searched, in bytes.
const BODY: usize = 64 << 10;

/// Maximum of all that is read, in bytes: with TLS, interim responses, and the sizes of chunks.
const ANSWER: usize = 256 << 10;

/// Sends the request, over TLS if there is a configuration of it.
pub(super) async fn attempt(
    probe: &HttpProbe,
    to: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
) -> Result<String, ProbeError> {
    let stream = Limited::new(tcp::connect(to).await?, ANSWER);
    match tls {
        None => get(probe, to, stream).await,
        Some(config) => get(probe, to, tls::wrap(probe, to, stream, config).await?).await,
    }
}

/// `GET http://10.0.2.12:8080/healthz`
pub(super) fn what(probe: &HttpProbe, to: SocketAddr) -> String {
    format!("GET {}://{to}{}", if probe.tls { "https" } else { "http" }, probe.path)
}

async fn get<S>(probe: &HttpProbe, to: SocketAddr, stream: S) -> Result<String, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let what = || what(probe, to);
    let failed =
        |error: &dyn std::error::Error| ProbeError::Remote(format!("{}: {}", what(), innermost(error)));
    let handshake = http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| failed(&error))?;
    let request = Request::get(&probe.path)
        .header(header::HOST, probe.host.clone().unwrap_or_else(|| to.to_string()))
        .header(header::USER_AGENT, "sluice")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| ProbeError::Local(format!("{}: {error}", what())))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        if !probe.expect.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
            return Err(ProbeError::Remote(format!("{}: status {status}", what())));
        }
        if let Some(text) = &probe.body {
            let (mut stream, mut body) = (response.into_body(), Vec::new());
            while let Some(frame) = stream.frame().await.filter(|_| body.len() < BODY) {
                let frame = frame.map_err(|error| failed(&error))?;
                frame.data_ref().into_iter().for_each(|data| body.extend_from_slice(data));
            }
            // Linear in the length of both, whatever they are.
            if memmem::find(&body, text.as_bytes()).is_none() {
                return Err(ProbeError::Remote(format!(
                    "{}: status {status}, but the body lacks {text:?}",
                    what()
                )));
            }
        }
        Ok(format!("{}: status {status}", what()))
    };
    // The connection future moves the bytes until the response is complete.
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(failed(&error)),
        },
    }
}

/// The innermost error.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string().to_lowercase()
}
