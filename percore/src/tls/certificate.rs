//! The names and the end of a certificate.

use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

/// The attribute of a subject that has its name, `id-at-commonName` (RFC 5280, appendix A.1).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The facts of a certificate that this crate asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The common name of the subject or, without one, the first name of a host.
    pub name: Option<String>,
    /// The last second in which it is valid, since 1970.
    pub expires_unix_s: i64,
}

impl CertificateFacts {
    /// Reads a certificate in DER; `None` if it is malformed. Who has signed it is not looked at.
    pub fn read(der: &[u8]) -> Option<Self> {
        let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
        let body = certificate.tbs_certificate();
        let common_name = body.subject().iter().find(|named| named.oid == COMMON_NAME);
        let name = match common_name {
            Some(named) => Some(DirectoryString::try_from(&named.value).ok()?.value().into_owned()),
            None => body.get_extension::<SubjectAltName>().ok()?.and_then(|(_, names)| {
                names.0.iter().find_map(|name| match name {
                    GeneralName::DnsName(name) => Some(name.to_string()),
                    _ => None,
                })
            }),
        };
        let expires = body.validity().not_after.to_unix_duration().as_secs();
        Some(Self { name, expires_unix_s: i64::try_from(expires).unwrap_or(i64::MAX) })
    }
}
