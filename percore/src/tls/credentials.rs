//! The credentials of a server: its certificates and key, and the authority of its clients.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};

use super::certificate::CertificateFacts;
pub use super::client_verifier::NameCheck;
use super::client_verifier::NamedClientVerifier;

/// The protocol that is spoken inside (RFC 7301, section 6).
const PROTOCOL: &[u8] = b"http/1.1";

/// The texts that credentials are made of, as files have them: PEM (RFC 7468). One that could not
/// be read is `None`; the others are checked all the same.
#[derive(Clone, Copy)]
pub struct CredentialTexts<'a> {
    /// The server's certificate, and those between it and its authority.
    pub certificates: Option<&'a [u8]>,
    /// The private key of the server's certificate.
    pub key: Option<&'a [u8]>,
    /// The authorities that sign certificates of clients, and what a name in one has to be. With
    /// it, a client without a certificate is refused.
    pub client_authority: Option<(Option<&'a [u8]>, NameCheck)>,
}

impl fmt::Debug for CredentialTexts<'_> {
    /// Leaves out the key.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CredentialTexts").finish_non_exhaustive()
    }
}

crate::named_enum! {
    /// A text of credentials.
    pub enum CredentialPart {
        /// The server's certificates.
        Certificates = "certificates",
        /// Their private key.
        Key = "key",
        /// The authorities of clients.
        ClientAuthority = "client authority",
    }
}

/// A mistake in one of the texts, in words.
pub type Mistake = (CredentialPart, String);

/// Checked credentials.
#[derive(Debug)]
pub struct Credentials {
    pub(super) config: ServerConfig,
    /// The name in the server's certificate.
    pub name: String,
    /// The time at which the first of the server's certificates expires, in seconds since 1970.
    pub expires_unix_s: i64,
    /// The time at which the one that has this name does. Of those behind it, clients may not need
    /// all.
    pub own_expires_unix_s: i64,
}

impl Credentials {
    /// Makes credentials of texts.
    ///
    /// # Errors
    ///
    /// All mistakes in the texts that are there.
    pub fn read(texts: &CredentialTexts<'_>) -> Result<Self, Vec<Mistake>> {
        use CredentialPart::{Certificates, ClientAuthority, Key};
        let provider = Arc::new(ring::default_provider());
        let mut mistakes = Vec::new();
        let mut note = |part, mistake: String| mistakes.push((part, mistake));

        let chain = texts
            .certificates
            .and_then(|text| certificates(text).map_err(|what| note(Certificates, what)).ok());
        let facts = chain.as_deref().and_then(|chain| {
            let facts = chain.iter().map(|found| CertificateFacts::read(found));
            let facts: Option<Vec<_>> = facts.collect();
            if facts.is_none() {
                note(Certificates, "a certificate in it is malformed".to_owned());
            }
            facts
        });
        let key = texts.key.and_then(|text| {
            let kind = "private key (BEGIN PRIVATE KEY)";
            let key = PrivateKeyDer::from_pem_slice(text);
            key.map_err(|error| note(Key, pem_mistake(&error, kind))).ok()
        });
        let verifier = match &texts.client_authority {
            None => Some(WebPkiClientVerifier::no_client_auth()),
            Some((text, is_usable)) => text.and_then(|text| {
                let verifier = client_verifier(text, *is_usable, &provider);
                verifier.map_err(|what| note(ClientAuthority, what)).ok()
            }),
        };
        let (Some(chain), Some(facts), Some(key), Some(verifier)) = (chain, facts, key, verifier)
        else {
            return Err(mistakes);
        };
        let config = config(provider, verifier, chain, key).map_err(|error| vec![blame(&error)])?;
        let own = facts.first();
        let name = own.and_then(|own| own.name.clone()).unwrap_or_default();
        let own_expires_unix_s = own.map_or(0, |own| own.expires_unix_s);
        let expires_unix_s = facts.iter().map(|facts| facts.expires_unix_s).min().unwrap_or(0);
        Ok(Self { config, name, expires_unix_s, own_expires_unix_s })
    }
}

/// Reads certificates, at least one.
fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let kind = "certificate (BEGIN CERTIFICATE)";
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| pem_mistake(&error, kind))?;
    if found.is_empty() { Err(pem_mistake(&PemError::NoItemsFound, kind)) } else { Ok(found) }
}

fn pem_mistake(error: &PemError, kind: &str) -> String {
    match error {
        PemError::NoItemsFound => format!("expected PEM with a {kind}, found none"),
        // Of a key not even the part that could not be read is repeated.
        PemError::MissingSectionEnd { .. } => format!("the PEM of a {kind} does not end"),
        _ => format!("the PEM of a {kind} is malformed"),
    }
}

fn client_verifier(
    text: &[u8],
    is_usable: NameCheck,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(text)? {
        roots.add(authority).map_err(|error| format!("a certificate in it: {error}"))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let chain = builder.build().map_err(|error| error.to_string())?;
    Ok(Arc::new(NamedClientVerifier { chain, is_usable }))
}

fn config(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // The client keeps the session: here nothing is kept for those that do not come back.
    config.ticketer = ring::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // One connection is what a device resumes.
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// Returns the text that an error of the whole is about.
fn blame(error: &Error) -> Mistake {
    let (part, what) = match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            (CredentialPart::Key, "it is not the key of the certificate".to_owned())
        }
        Error::InvalidCertificate(_) => (CredentialPart::Certificates, error.to_string()),
        _ => (CredentialPart::Key, error.to_string()),
    };
    (part, what)
}
