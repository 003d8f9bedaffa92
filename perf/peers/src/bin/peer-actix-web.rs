//! actix-web 4 with one worker, a current-thread runtime.

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
    let listener = options.listener("actix-web")?;
    let app = move || {
        let answer = move |body: Bytes| async move { answer(&body, json) };
        App::new().app_data(PayloadConfig::new(BODY_MAX)).route("/metrics", post().to(answer))
    };
    let server = HttpServer::new(app).workers(1).listen(listener)?;
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
