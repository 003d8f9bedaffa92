//! The job on hyper 1, over a stream of any kind.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE as TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::metric::{CONTENT_TYPE, Json, acknowledgement};

/// Serves a connection until it ends. Whatever goes wrong with it ends it.
pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, json: Json) {
    let service = service_fn(move |request| answer(request, json));
    let mut http = http1::Builder::new();
    let _ = http.pipeline_flush(true).serve_connection(TokioIo::new(stream), service).await;
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
