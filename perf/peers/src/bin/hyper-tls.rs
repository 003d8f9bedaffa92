//! hyper 1 over rustls, on a current-thread tokio runtime.

use bytes::Bytes;
use clap::Parser;
use corepulse_peers::listen::{Options, run};
use corepulse_peers::metric::{CONTENT_TYPE, Json, acknowledgement};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE as TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
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
            let service = service_fn(move |request| answer(request, json));
            let mut http = http1::Builder::new();
            let _ = http.pipeline_flush(true).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    json: Json,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let is_post = request.method() == Method::POST && request.uri().path() == "/metrics";
    let body = request.into_body().collect().await?.to_bytes();
    let (status, body) = match json.count(&body).filter(|_| is_post) {
        Some(count) => (StatusCode::ACCEPTED, acknowledgement(count)),
        None => (StatusCode::BAD_REQUEST, String::new()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(CONTENT_TYPE);
    response.headers_mut().insert(TYPE, kind);
    Ok(response)
}
