//! `http` probe: a GET must get the expected response.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use sluice_core::model::HttpProbe;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{tcp, tls};
use crate::outcome::ProbeError;

/// Maximum of the body that is searched, in bytes.
const BODY: usize = 64 << 10;

pub(super) async fn attempt(probe: &HttpProbe, to: SocketAddr) -> Result<String, ProbeError> {
    let stream = tcp::connect(to).await?;
    match probe.tls {
        false => get(probe, to, stream).await,
        true => get(probe, to, tls::wrap(probe, to, stream).await?).await,
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
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
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
            if !text.is_empty() && !body.windows(text.len()).any(|part| part == text.as_bytes()) {
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
