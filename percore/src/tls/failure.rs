//! The failure of a TLS connection, in words for the log.

use std::fmt;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use crate::observer::HandshakeOutcome;

/// The failure of a handshake, or of a connection after it.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsFailure(pub(super) Error);

impl TlsFailure {
    /// Returns the failure of a client whose certificate has expired since it was given a ticket.
    pub const fn expired() -> Self {
        Self(Error::InvalidCertificate(CertificateError::Expired))
    }

    /// Returns the outcome that it is counted as.
    pub const fn outcome(&self) -> HandshakeOutcome {
        match self.0 {
            Error::NoCertificatesPresented | Error::InvalidCertificate(_) => {
                HandshakeOutcome::Certificate
            }
            Error::AlertReceived(_) => HandshakeOutcome::Aborted,
            _ => HandshakeOutcome::Refused,
        }
    }
}

/// In words of this side, where there are better ones than those of the crate.
impl fmt::Display for TlsFailure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match &self.0 {
            Error::NoCertificatesPresented => "the client has shown no certificate",
            Error::InvalidCertificate(error) => match error {
                CertificateError::ApplicationVerificationFailure => {
                    "the name in the client's certificate is no device id"
                }
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    "the client's certificate is signed by none of the authorities"
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "the client's certificate has expired"
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "the client's certificate is not valid yet"
                }
                error if is_of_old_version(error) => {
                    "the client's certificate is of X.509 version 1, and version 3 is taken"
                }
                error => return write!(out, "the client's certificate: {error}"),
            },
            Error::AlertReceived(alert) => match alert {
                AlertDescription::UnknownCA => {
                    "the client does not know the authority of the server's certificate"
                }
                AlertDescription::CertificateExpired => {
                    "the client holds the server's certificate to be expired"
                }
                AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
                    "the client does not take the server's certificate"
                }
                alert => return write!(out, "the client ends the handshake: {alert:?}"),
            },
            Error::PeerIncompatible(
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls13RequiredForQuic,
            ) => "the client offers neither TLS 1.2 nor TLS 1.3",
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
                "the client offers no cipher suite that is taken"
            }
            Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => {
                "the client offers no key exchange that is taken"
            }
            Error::NoApplicationProtocol => "the client does not offer http/1.1",
            Error::InvalidMessage(_) => "what the client sent is no TLS",
            error => return error.fmt(out),
        };
        out.write_str(words)
    }
}

/// Returns true if a certificate has no extensions, as `openssl x509 -req` alone makes them. The
/// crate tells that only in its text.
fn is_of_old_version(error: &CertificateError) -> bool {
    let is_other = matches!(error, CertificateError::Other(_));
    is_other && error.to_string().contains("UnsupportedCertVersion")
}
