//! Certificates for a Redis with TLS, made by `openssl`: an authority and a certificate that it has
//! signed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A key of this kind is made in no time.
const NEW_KEY: &str = "-nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1";

/// Extensions that verifiers ask for: the names of the server, and that it signs nothing itself.
const EXTENSIONS: &str = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n";

/// The authority, and what it has signed for a Redis on this machine.
#[derive(Debug)]
pub struct Certificates {
    /// The file with the authority's own certificate.
    pub authority: PathBuf,
}

impl Certificates {
    /// Arguments that tell a Redis in that folder to use them.
    pub const REDIS_ARGUMENTS: [&'static str; 6] = [
        "--tls-cert-file",
        "server.crt",
        "--tls-key-file",
        "server.key",
        "--tls-ca-cert-file",
        "authority.crt",
    ];

    /// Creates them in a folder.
    pub fn make(folder: &Path) -> Self {
        let openssl = |line: String| {
            let arguments = line.split_whitespace();
            let run = Command::new("openssl").current_dir(folder).args(arguments).output();
            let run = run.expect("ci/setup installs openssl");
            assert!(run.status.success(), "{line}: {}", String::from_utf8_lossy(&run.stderr));
        };
        openssl(format!(
            "req -x509 {NEW_KEY} -days 2 -subj /CN=corepulse-tests \
             -keyout authority.key -out authority.crt"
        ));
        openssl(format!(
            "req -new {NEW_KEY} -subj /CN=127.0.0.1 -keyout server.key -out server.csr"
        ));
        fs::write(folder.join("extensions"), EXTENSIONS).expect("there is room for a file");
        openssl(
            "x509 -req -days 2 -CA authority.crt -CAkey authority.key -CAcreateserial \
             -extfile extensions -in server.csr -out server.crt"
                .to_owned(),
        );
        Self { authority: folder.join("authority.crt") }
    }
}
