//! The files of TLS: what the server shows and asks for, read at the start and again when they
//! change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use crate::config::Config;
use crate::metric::device_id::is_device_id;
use crate::reload::Reload;
use crate::telemetry::log;
use percore::clock::{Clock, Now};
use percore::tls::acceptor::Acceptor;
use percore::tls::credentials::{CredentialPart, CredentialTexts, Credentials, NameCheck};

/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// Days before a certificate expires, within which the start and each reading warn of it.
const EXPIRY_WARNING_DAYS: i64 = 14;

/// The files that flags name.
#[derive(Clone, Debug)]
struct Paths {
    certificate: PathBuf,
    key: PathBuf,
    client_authority: Option<PathBuf>,
}

/// The state of a file by which a change of it is seen: also where a link leads elsewhere, as in
/// the volumes of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    /// The path behind all links.
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

/// The files, and the credentials that new connections get of them.
#[derive(Debug)]
pub struct TlsFiles {
    paths: Paths,
    acceptor: Arc<Acceptor>,
    /// The time at which the first of the server's certificates expires, in seconds since 1970.
    expires_unix_s: Arc<AtomicI64>,
    clock: Clock,
    /// The state of the files when they were read.
    read: Vec<Option<Stamp>>,
    /// Their state at the last look.
    seen: Vec<Option<Stamp>>,
}

impl TlsFiles {
    /// Reads the files of a configuration; `None` if TLS is spoken nowhere.
    ///
    /// # Errors
    ///
    /// Every mistake in them, with the flag that names the file.
    pub fn open(config: &Config, clock: Clock) -> Result<Option<Self>, Vec<String>> {
        let (Some(certificate), Some(key)) = (&config.tls_cert, &config.tls_key) else {
            return Ok(None);
        };
        let paths = Paths {
            certificate: certificate.clone(),
            key: key.clone(),
            client_authority: config.tls_client_ca.clone(),
        };
        let read = paths.stamps();
        let credentials = paths.read()?;
        let expires_unix_s = Arc::new(AtomicI64::new(credentials.expires_unix_s));
        let acceptor = Arc::new(Acceptor::new(credentials));
        Ok(Some(Self { paths, acceptor, expires_unix_s, clock, seen: read.clone(), read }))
    }

    /// Returns the time at which the first of the server's certificates expires, in seconds since
    /// 1970, as it is from one reading to the next.
    pub fn expires_unix_s(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.expires_unix_s)
    }

    /// Returns the credentials that new connections get.
    pub fn acceptor(&self) -> Arc<Acceptor> {
        Arc::clone(&self.acceptor)
    }
}

impl Paths {
    fn stamps(&self) -> Vec<Option<Stamp>> {
        let paths = [Some(&self.certificate), Some(&self.key), self.client_authority.as_ref()];
        paths.into_iter().flatten().map(|path| Stamp::of(path)).collect()
    }

    /// Returns the flag that names a file, and its path.
    fn of(&self, part: CredentialPart) -> (&'static str, &Path) {
        match part {
            CredentialPart::Certificates => ("tls-cert", &self.certificate),
            CredentialPart::Key => ("tls-key", &self.key),
            CredentialPart::ClientAuthority => {
                ("tls-client-ca", self.client_authority.as_deref().unwrap_or(Path::new("")))
            }
        }
    }

    fn read(&self) -> Result<Credentials, Vec<String>> {
        let mistake = |part, what: &str| {
            let (flag, path) = self.of(part);
            format!("--{flag}: {}: {what}", path.display())
        };
        let mut mistakes = Vec::new();
        let mut read = |part| {
            let text = fs::read(self.of(part).1);
            text.map_err(|error| mistakes.push(mistake(part, &error.to_string()))).ok()
        };
        let certificates = read(CredentialPart::Certificates);
        let key = read(CredentialPart::Key);
        let has_authority = self.client_authority.is_some();
        let authority = has_authority.then(|| read(CredentialPart::ClientAuthority));
        let texts = CredentialTexts {
            certificates: certificates.as_deref(),
            key: key.as_deref(),
            client_authority: authority
                .as_ref()
                .map(|text| (text.as_deref(), is_name_of_device as NameCheck)),
        };
        Credentials::read(&texts).map_err(|found| {
            mistakes.extend(found.into_iter().map(|(part, what)| mistake(part, &what)));
            mistakes
        })
    }
}

fn is_name_of_device(name: &str) -> bool {
    is_device_id(name.as_bytes())
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let path = fs::canonicalize(path).ok()?;
        let found = fs::metadata(&path).ok()?;
        Some(Self { path, bytes: found.len(), modified: found.modified().ok()? })
    }
}

/// Describes the time for which a certificate is valid; the second part is true if that is worth a
/// warning.
pub fn describe_expiry(expires_unix_s: i64, now: Now) -> (String, bool) {
    let now_s = now.wall_us / 1_000_000;
    let left_s = expires_unix_s.saturating_sub(now_s);
    let days = left_s.div_euclid(DAY_SECONDS);
    let words = match days {
        ..-2 => format!("expired {} days ago", -days - 1),
        -2 => "expired a day ago".to_owned(),
        -1 => "expired less than a day ago".to_owned(),
        0 => "valid for less than a day".to_owned(),
        1 => "valid for another day".to_owned(),
        _ => format!("valid for another {days} days"),
    };
    (words, days < EXPIRY_WARNING_DAYS)
}

impl Reload for TlsFiles {
    fn name(&self) -> &'static str {
        "tls"
    }

    fn reload(&mut self) -> Result<String, Vec<String>> {
        // A change while they are read is seen by the next look.
        self.read = self.paths.stamps();
        self.seen.clone_from(&self.read);
        let credentials = self.paths.read()?;
        let now = self.clock.now();
        let (expiry, is_soon) = describe_expiry(credentials.expires_unix_s, now);
        let is_valid = |until_unix_s: i64| until_unix_s >= now.wall_us / 1_000_000;
        if !is_valid(credentials.own_expires_unix_s)
            && is_valid(self.expires_unix_s.load(Ordering::Relaxed))
        {
            let (flag, path) = self.paths.of(CredentialPart::Certificates);
            return Err(vec![format!("--{flag}: {}: it has expired already", path.display())]);
        }
        if is_soon {
            log::warn!(expiry, "the certificate of TLS soon has to be renewed");
        }
        let news = format!("the certificate of {:?}, {expiry}", credentials.name);
        self.expires_unix_s.store(credentials.expires_unix_s, Ordering::Relaxed);
        self.acceptor.replace(credentials);
        Ok(news)
    }

    /// Returns true once for each change, when the files have not changed any more since the look
    /// before: certificate and key are seldom written at the same moment.
    fn changed(&mut self) -> bool {
        let stamps = self.paths.stamps();
        let is_settled = stamps == self.seen && stamps != self.read;
        self.seen = stamps;
        is_settled
    }
}
