//! TLS for the `http` probe.

use std::future::pending;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sluice_core::model::HttpProbe;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

use super::http;
use super::limited::Limited;
use crate::outcome::ProbeError;

/// Verifies with the trust store of this host (`/etc/ssl/certs`, or `SSL_CERT_FILE`), including private authorities.
static VERIFYING: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

static TRUSTING: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let anybody = Arc::new(Anybody(ring::default_provider()));
    Arc::new(builder().dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth())
});

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
}

/// The configuration of handshakes. The trust store is read once, on a blocking thread.
pub(super) async fn config(verify: bool) -> Arc<ClientConfig> {
    if !verify {
        return TRUSTING.clone();
    }
    // A task, so that an attempt that does not wait for the end does not make the next one begin anew.
    match tokio::spawn(VERIFYING.get_or_init(async || {
        spawn_blocking(verifying).await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }))
    .await
    {
        Ok(config) => config.clone(),
        // The panic is in the log; attempts are skipped.
        Err(_panicked) => pending().await,
    }
}

fn verifying() -> Arc<ClientConfig> {
    let found = rustls_native_certs::load_native_certs();
    found.errors.iter().for_each(|error| warn!("read trusted certificates: {error}"));
    let mut roots = RootCertStore::empty();
    let (_taken, refused) = roots.add_parsable_certificates(found.certs);
    if refused > 0 {
        warn!("read trusted certificates: {refused} are invalid");
    }
    Arc::new(builder().with_root_certificates(roots).with_no_client_auth())
}

pub(super) async fn wrap(
    probe: &HttpProbe,
    to: SocketAddr,
    stream: Limited<TcpStream>,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<Limited<TcpStream>>, ProbeError> {
    let failed = |error: String| ProbeError::Remote(format!("{}: {error}", http::what(probe, to)));
    let name = match &probe.host {
        Some(host) => ServerName::try_from(host.clone()).map_err(|error| failed(error.to_string()))?,
        None => ServerName::from(to.ip()),
    };
    let connected = TlsConnector::from(config).connect(name, stream).await;
    connected.map_err(|error| failed(error.to_string()))
}

/// Accepts any certificate: the probe checks that a server responds, not its identity.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
