//! actix-web 4: its own workers, each a current-thread runtime, which share one listener.

use actix_web::web::{Bytes, PayloadConfig, post};
use actix_web::{App, HttpResponse, HttpServer};
use clap::Parser as _;
use corepulse_peers::listen::Options;
use corepulse_peers::metric::{CONTENT_TYPE, Json, acknowledgement};
use std::io;

/// As much as the server takes.
const BODY_MAX: usize = 1024 * 1024;

fn main() -> io::Result<()> {
    let options = Options::parse();
    let json = options.json;
    // One listener: its accepting thread hands connections to the workers.
    let mut listeners = Options { workers: 1, ..options }.listeners("actix-web")?;
    let listener = listeners.pop().ok_or_else(|| io::Error::other("no listener"))?;
    let app = move || {
        let answer = move |body: Bytes| async move { answer(&body, json) };
        App::new().app_data(PayloadConfig::new(BODY_MAX)).route("/metrics", post().to(answer))
    };
    let server = HttpServer::new(app).workers(usize::from(options.workers)).listen(listener)?;
    actix_web::rt::System::new().block_on(server.run())
}

fn answer(body: &[u8], json: Json) -> HttpResponse {
    match json.count(body) {
        Some(count) => {
            HttpResponse::Accepted().content_type(CONTENT_TYPE).body(acknowledgement(count))
        }
        None => HttpResponse::BadRequest().finish(),
    }
}
