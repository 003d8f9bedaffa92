//! axum 0.8 with `serde_json`: on a current-thread tokio runtime.
//!
//! axum's own `Json` takes one document and nothing that borrows; the body is taken as bytes, as a
//! handler for NDJSON has to.

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE as TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use clap::Parser as _;
use corepulse_peers::listen::{Options, run};
use corepulse_peers::metric::{CONTENT_TYPE, Json, acknowledgement};
use std::io;

fn main() -> io::Result<()> {
    let options = Options::parse();
    run(options.listener("axum")?, async |listener| {
        let listener = listener.tap_io(|stream| {
            // A connection that has gone meanwhile is found out with its first read.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, Router::new().route("/metrics", post(answer))).await
    })
}

async fn answer(body: Bytes) -> Response {
    match Json::Serde.count(&body) {
        Some(count) => {
            (StatusCode::ACCEPTED, [(TYPE, CONTENT_TYPE)], acknowledgement(count)).into_response()
        }
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}
