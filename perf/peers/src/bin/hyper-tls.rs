//! hyper 1 over rustls, on a current-thread tokio runtime.

use clap::Parser;
use corepulse_peers::hyper_job::serve;
use corepulse_peers::listen::{Options, run};
use corepulse_peers::metric::Json;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Debug, Parser)]
struct Secure {
    #[command(flatten)]
    options: Options,
    /// The certificate, as PEM.
    #[arg(long)]
    certificate: PathBuf,
    /// Its key, as PEM.
    #[arg(long)]
    key: PathBuf,
}

fn main() -> io::Result<()> {
    let secure = Secure::parse();
    let json = secure.options.json;
    let acceptor = acceptor(&secure).map_err(io::Error::other)?;
    let listener = secure.options.listener("hyper-tls")?;
    run(listener, async move |listener| accept(listener, acceptor, json).await)
}

fn acceptor(secure: &Secure) -> Result<TlsAcceptor, Box<dyn std::error::Error + Send + Sync>> {
    let chain = CertificateDer::pem_file_iter(&secure.certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&secure.key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new()?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
    json: Json,
) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        tokio::task::spawn_local(async move {
            // Whatever goes wrong with a connection ends it.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            serve(stream, json).await;
        });
    }
}
