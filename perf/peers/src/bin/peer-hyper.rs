//! hyper 1: a current-thread tokio runtime for each core, a listener each.

use bytes::Bytes;
use clap::Parser as _;
use corepulse_peers::listen::{Options, runtime_per_core};
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
    runtime_per_core(options.listeners("hyper")?, async move |listener| {
        accept(listener, json).await
    })
}

async fn accept(listener: tokio::net::TcpListener, json: Json) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| answer(request, json));
            let mut http = http1::Builder::new();
            let connection =
                http.pipeline_flush(true).serve_connection(TokioIo::new(stream), service);
            // Whatever goes wrong with a connection ends it.
            let _ = connection.await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    json: Json,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (status, body) = if request.method() != Method::POST {
        (StatusCode::METHOD_NOT_ALLOWED, String::new())
    } else if request.uri().path() != "/metrics" {
        (StatusCode::NOT_FOUND, String::new())
    } else {
        let body = request.into_body().collect().await?.to_bytes();
        match json.count(&body) {
            Some(count) => (StatusCode::ACCEPTED, acknowledgement(count)),
            None => (StatusCode::BAD_REQUEST, String::new()),
        }
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(CONTENT_TYPE);
    response.headers_mut().insert(TYPE, kind);
    Ok(response)
}
