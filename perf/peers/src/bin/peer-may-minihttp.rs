//! `may_minihttp`: coroutines on one worker.

use clap::Parser as _;
use corepulse_peers::listen::Options;
use corepulse_peers::metric::{CONTENT_TYPE, Json, acknowledgement};
use may_minihttp::{HttpService, HttpServiceFactory, Request, Response};
use std::io::{self, Read as _};
use std::net::TcpListener;

/// Stack of a coroutine, in words: the parser needs more than the default of 32 KiB.
const STACK_WORDS: usize = 16 * 1024;

const TYPE: &str = "Content-Type: application/json";

/// One connection.
struct Service {
    json: Json,
    body: Vec<u8>,
}

struct Services(Json);

impl HttpServiceFactory for Services {
    type Service = Service;

    fn new_service(&self, _id: usize) -> Service {
        Service { json: self.0, body: Vec::new() }
    }
}

impl HttpService for Service {
    fn call(&mut self, request: Request, response: &mut Response) -> io::Result<()> {
        let is_post = request.method() == "POST" && request.path() == "/metrics";
        self.body.clear();
        request.body().read_to_end(&mut self.body)?;
        match self.json.count(&self.body).filter(|_| is_post) {
            Some(count) => {
                response.status_code(202, "Accepted").header(TYPE);
                response.body_vec(acknowledgement(count).into_bytes());
            }
            None => {
                response.status_code(if is_post { 400 } else { 404 }, "Refused");
            }
        }
        Ok(())
    }
}

fn main() -> io::Result<()> {
    debug_assert!(TYPE.ends_with(CONTENT_TYPE));
    let options = Options::parse();
    // Pinning is done from outside, the same way for all.
    may::config().set_workers(1).set_stack_size(STACK_WORDS).set_worker_pin(false);
    // may_minihttp listens by itself and does not say where: a free port is found first.
    let address = TcpListener::bind(options.listen)?.local_addr()?;
    let server = Services(options.json).start(address)?;
    eprintln!("may-minihttp: listening on {address}");
    server.join().map_err(|_| io::Error::other("the server panicked"))
}
