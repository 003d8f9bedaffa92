//! TLS for tests: an authority, the certificates that it signs, and a client.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
pub use rustls::ClientConfig;
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
pub use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, RootCertStore,
    StreamOwned, SupportedProtocolVersion,
};

/// An authority that signs certificates of servers and clients.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, as PEM.
    pub certificate: String,
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// The time at which a certificate ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Not in the time of any test.
    Late,
    /// In three days.
    Soon,
    /// Long ago.
    Past,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Creates an authority with a key of its own.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("there is chance");
        let mut params = params(&format!("authority {:x}", fastrand::u64(..)), &[], Ends::Late);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("it can sign").pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Signs a certificate of a common name, and of these hosts. Without a name it has none.
    pub fn sign(&self, name: &str, hosts: &[&str], ends: Ends) -> Identity {
        let key = KeyPair::generate().expect("there is chance");
        let certificate = params(name, hosts, ends).signed_by(&key, &self.issuer);
        let certificate = certificate.expect("it can sign").pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    /// Signs a certificate for a server on this machine.
    pub fn server(&self) -> Identity {
        self.sign("localhost", &["localhost", "127.0.0.1"], Ends::Late)
    }

    /// Signs a certificate for a client of this name.
    pub fn client(&self, name: &str) -> Identity {
        self.sign(name, &[], Ends::Late)
    }

    /// Returns the configuration of a client that trusts this authority, and shows an identity if
    /// there is one.
    pub fn client_config(&self, identity: Option<&Identity>) -> ClientConfig {
        self.client_config_of(identity, rustls::ALL_VERSIONS)
    }

    /// The same for a client of some versions of TLS.
    pub fn client_config_of(
        &self,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        roots.add(own.expect("it was just written")).expect("it is an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions that exist")
            .with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().expect("it was just written");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("it is a key");
                builder.with_client_auth_cert(chain, key).expect("they belong together")
            }
        }
    }
}

fn params(name: &str, hosts: &[&str], ends: Ends) -> CertificateParams {
    let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names of hosts");
    params.distinguished_name = DistinguishedName::new();
    if !name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = match ends {
        Ends::Late => date_time_ymd(2200, 1, 1),
        Ends::Soon => (SystemTime::now() + Duration::from_hours(72)).into(),
        Ends::Past => date_time_ymd(2020, 2, 1),
    };
    params
}

/// A folder with the files that a server is given, which goes with this value.
#[derive(Debug)]
pub struct TlsFolder(PathBuf);

impl TlsFolder {
    /// Writes the files of a server, and the authority of its clients.
    pub fn new(server: &Identity, client_authority: Option<&Authority>) -> Self {
        let name = format!("corepulse-tls-{}-{:x}", std::process::id(), fastrand::u64(..));
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir(&folder.0).expect("there is room for a folder");
        folder.write(server);
        if let Some(authority) = client_authority {
            fs::write(folder.path("clients.pem"), &authority.certificate).expect("room");
        }
        folder
    }

    /// Replaces the files of the server.
    pub fn write(&self, server: &Identity) {
        fs::write(self.path("cert.pem"), &server.certificate).expect("room for a file");
        fs::write(self.path("key.pem"), &server.key).expect("room for a file");
    }

    /// Returns the path of one of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Returns the flags that have a server listen with TLS on a free port.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = vec!["--tls-listen".to_owned(), "127.0.0.1:0".to_owned()];
        let files = [
            ("--tls-cert", "cert.pem"),
            ("--tls-key", "key.pem"),
            ("--tls-client-ca", "clients.pem"),
        ];
        for (flag, name) in files {
            let path = self.path(name);
            if path.exists() {
                flags.extend([flag.to_owned(), shown(&path)]);
            }
        }
        flags
    }
}

impl Drop for TlsFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Returns the side of a client in a connection with a server on this machine, without a stream.
pub fn client_of(config: ClientConfig) -> ClientConnection {
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a configuration that works")
}

/// A stream of TLS over TCP, from the client's side.
#[derive(Debug)]
pub struct TlsStream(StreamOwned<ClientConnection, TcpStream>);

impl TlsStream {
    /// Begins TLS on a connection; the handshake is made with the first bytes.
    pub fn new(stream: TcpStream, config: ClientConfig) -> Self {
        Self(StreamOwned::new(client_of(config), stream))
    }

    /// Returns the TCP connection beneath it.
    pub const fn tcp(&self) -> &TcpStream {
        &self.0.sock
    }

    /// Returns the state of TLS.
    pub const fn connection(&mut self) -> &mut ClientConnection {
        &mut self.0.conn
    }

    /// Makes the handshake.
    ///
    /// # Errors
    ///
    /// The other side does not agree, or is gone.
    pub fn handshake(&mut self) -> io::Result<()> {
        while self.0.conn.is_handshaking() {
            self.0.conn.complete_io(&mut self.0.sock)?;
        }
        Ok(())
    }

    /// Says that nothing more is sent.
    ///
    /// # Errors
    ///
    /// The other side is gone.
    pub fn close_notify(&mut self) -> io::Result<()> {
        self.0.conn.send_close_notify();
        self.0.flush()
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A maker of TLS records that no client sends, with the keys of one that has made a handshake by
/// TLS 1.3.
pub struct RecordForge {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl std::fmt::Debug for RecordForge {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RecordForge").finish_non_exhaustive()
    }
}

impl RecordForge {
    /// Takes the place of a client, whose configuration has to permit it
    /// (`enable_secret_extraction`).
    pub fn new(client: ClientConnection) -> Self {
        let suite = client.negotiated_cipher_suite().and_then(|suite| suite.tls13());
        let suite = suite.expect("a handshake by TLS 1.3");
        let secrets = client.dangerous_extract_secrets().expect("it is permitted");
        let (sequence, secrets) = secrets.tx;
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
        else {
            panic!("a suite that is not known");
        };
        Self { encrypter: suite.aead_alg.encrypter(key, iv), sequence }
    }

    /// Returns a record of this type (RFC 8446, section 5.1) with this content.
    pub fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: ContentType::from(kind),
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(content),
        };
        let record = self.encrypter.encrypt(message, self.sequence);
        self.sequence += 1;
        record.expect("a record of a length that there may be").encode()
    }
}
