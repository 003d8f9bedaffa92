//! `/health` and `/ready`: for probes.

use percore::http::handler::retry_after;
use percore::http::problem::problem;
use percore::http::response::{JSON, Response};
use percore::http::status::Status;

/// Whether the process serves: it does, or nobody would read this. The store is not asked: a
/// restart would not mend it.
pub fn health(body: &mut Vec<u8>, route: usize) -> Response {
    body.extend_from_slice(b"{\"status\":\"ok\"}\n");
    Response::ok(JSON, route)
}

/// Whether new connections are welcome. Nothing but the stop of this process changes that: a
/// store's outage must not take every replica out of service, and `/analyze` with it.
pub fn ready(draining: bool, body: &mut Vec<u8>, route: usize) -> Response {
    if draining {
        let detail = "draining: this process is being stopped";
        return problem(body, Status::ServiceUnavailable, detail, Some(retry_after()), route);
    }
    body.extend_from_slice(b"{\"status\":\"ready\"}\n");
    Response::ok(JSON, route)
}
