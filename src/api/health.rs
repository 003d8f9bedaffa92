//! `GET /health`, `/ready` and `/ping`: probes.

use percore::http::handler::retry_after;
use percore::http::problem::problem;
use percore::http::response::{JSON, Response, TEXT};
use percore::http::status::Status;

/// Answers that the process serves. The state of the store does not matter: a restart of this
/// process would not repair it.
pub fn health(body: &mut Vec<u8>, route: usize) -> Response {
    body.extend_from_slice(b"{\"status\":\"ok\"}\n");
    Response::ok(JSON, route)
}

/// Answers the probe of InfluxDB's clients. Some of them fail without a version; that they get ours
/// tells whoever reads it that this is another server.
pub const fn ping(route: usize) -> Response {
    let extra_headers = concat!("\r\nX-Influxdb-Version: corepulse-", env!("CARGO_PKG_VERSION"));
    Response { status: Status::NoContent, extra_headers, ..Response::ok(TEXT, route) }
}

/// Answers whether new connections are welcome, as they are until the server drains. The state of
/// the store does not matter: its outage must not take all replicas out of service, and `/analyze`
/// with them.
pub fn ready(draining: bool, body: &mut Vec<u8>, route: usize) -> Response {
    if draining {
        let detail = "draining: this process is being stopped";
        return problem(body, Status::ServiceUnavailable, detail, Some(retry_after()), route);
    }
    body.extend_from_slice(b"{\"status\":\"ready\"}\n");
    Response::ok(JSON, route)
}
