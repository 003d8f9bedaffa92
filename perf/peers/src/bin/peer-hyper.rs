//! hyper 1 on a current-thread tokio runtime.

use bytes::Bytes;
use clap::Parser as _;
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

fn main() -> io::Result<()> {
    let options = Options::parse();
    let json = options.json;
    run(options.listener("hyper")?, async move |listener| accept(listener, json).await)
}

async fn accept(listener: tokio::net::TcpListener, json: Json) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| answer(request, json));
            let mut http = http1::Builder::new();
            // Whatever goes wrong with a connection ends it.
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
