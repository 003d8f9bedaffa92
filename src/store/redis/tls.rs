//! TLS to Redis: verified by the system's certificates, or not at all if the URL says so.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

use super::error::{RedisError, RedisResult};

/// Creates the client's side of a TLS connection to this host.
pub(super) fn client(host: &str, insecure: bool) -> RedisResult<ClientConnection> {
    let name = ServerName::try_from(host.to_owned()).map_err(RedisError::connect)?;
    let mut config = config(insecure)?.with_no_client_auth();
    config.enable_sni = !insecure;
    ClientConnection::new(Arc::new(config), name).map_err(RedisError::connect)
}

fn config(insecure: bool) -> RedisResult<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(RedisError::connect)?;
    if insecure {
        let verifier = Arc::new(NoVerification(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier));
    }
    // Read for each connection: they may be renewed while the server runs.
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or("there are none".to_owned(), ToString::to_string);
        return Err(RedisError::connect(format!("the system's certificates: {why}")));
    }
    Ok(builder.with_root_certificates(roots))
}

/// A verifier that accepts every certificate, as `#insecure` asks for. Signatures are still
/// checked.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _server: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
