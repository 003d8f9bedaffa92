//! The engine as a library: `GET /` answers `OK`, `POST /` echoes the decoded body, and who asks
//! otherwise is told what there is.

use percore::cores::serve;
use percore::http::handler::{Context, Handler, Reply};
use percore::http::problem::problem;
use percore::http::request::{Method, Request};
use percore::http::response::{Field, Response, TEXT};
use percore::http::status::Status;
use percore::observer::Observer;

const ALLOW: Option<Field> = Some(Field::Allow("GET, HEAD, POST, OPTIONS"));

/// One for each core; it could hold what only that core needs.
pub struct Echo;

impl Observer for Echo {}

impl Handler for Echo {
    fn handle(&mut self, request: &Request<'_>, _: &Context<'_>, body: &mut Vec<u8>) -> Reply {
        let ok = Response::ok(TEXT, 0);
        Reply::Now(match (request.method, request.path) {
            (Method::Get | Method::Head, "/") => {
                body.extend_from_slice(b"OK");
                ok
            }
            (Method::Post, "/") => {
                body.extend_from_slice(request.body);
                ok
            }
            (Method::Options, "/" | "*") => Response { field: ALLOW, ..ok },
            (_, "/") => problem(body, Status::MethodNotAllowed, "GET or POST", ALLOW, 0),
            _ => problem(body, Status::NotFound, "GET or POST /", None, 0),
        })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = serve(([127, 0, 0, 1], 8080).into(), 2, |_core| Echo)?;
    println!("listening on {}", engine.bound());
    Ok(engine.join()?)
}
