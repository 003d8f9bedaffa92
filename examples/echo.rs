//! The engine as a library: `GET /` answers `OK`, `POST /` echoes the decoded body.

use corepulse::engine::cores::serve;
use corepulse::http::handler::{Context, Handler, Reply};
use corepulse::http::problem::problem;
use corepulse::http::request::{Method, Request};
use corepulse::http::response::{Response, TEXT};
use corepulse::http::status::Status;

/// One for each core; it could hold what only that core needs.
pub struct Echo;

impl Handler for Echo {
    fn handle(&mut self, request: &Request<'_>, _: &Context<'_>, body: &mut Vec<u8>) -> Reply {
        match (request.method, request.path) {
            (Method::Get | Method::Head, "/") => body.extend_from_slice(b"OK"),
            (Method::Post, "/") => body.extend_from_slice(request.body),
            _ => return Reply::Now(problem(body, Status::NotFound, "GET or POST /", None, 0)),
        }
        Reply::Now(Response::ok(TEXT, 0))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cores = serve(([127, 0, 0, 1], 8080).into(), 2, |_core| Echo)?;
    println!("listening on http://{}", cores.address());
    Ok(cores.join()?)
}
