//! Refusals of requests for what anybody can see of them: their path, method or query, or a
//! connection too many.

use super::query;
use super::route::{NAMES, Route};
use percore::http::handler::{Context, retry_after};
use percore::http::problem::problem;
use percore::http::request::{Method, Request};
use percore::http::request_error::RequestError;
use percore::http::response::{Field, Response, TEXT};
use percore::http::status::Status;

/// Returns the error of a method that a route does not answer. For GET of `/metrics`, the default
/// of Prometheus, it names the path of the exposition.
const fn method_error(route: Route<'_>, method: Method) -> &'static str {
    match (route, method) {
        (Route::Ingest, Method::Get | Method::Head) => {
            "method: devices POST to this path; for Prometheus GET /metrics/prometheus, for a \
             stored metric GET /metrics/{key}"
        }
        _ => "method: this path does not take it; see Allow",
    }
}

/// Answers for a path that is not served, and names the path that is if only a slash differs.
pub(super) fn unknown_path(path: &str, body: &mut Vec<u8>, index: usize) -> Response {
    let meant = Route::of(path.trim_end_matches('/'));
    let known = NAMES.get(meant.index()).filter(|name| name.starts_with('/'));
    match known {
        Some(name) => {
            let detail = format_args!("path: nothing is served here; {name} is, without the slash");
            problem(body, Status::NotFound, detail, None, index)
        }
        None => {
            let detail = "path: nothing is served here; GET / lists what is";
            problem(body, Status::NotFound, detail, None, index)
        }
    }
}

/// Answers OPTIONS, and requests that are refused for their connection, method or query.
pub(super) fn answer_early(
    route: Route<'_>,
    request: &Request<'_>,
    context: &Context<'_>,
    body: &mut Vec<u8>,
) -> Option<Response> {
    let probes = matches!(route, Route::Health | Route::Ready);
    if context.over_limit && !probes {
        let error = RequestError::ConnectionLimit;
        let (status, field) = (error.status(), Some(retry_after()));
        return Some(problem(body, status, error, field, route.index()));
    }
    if request.method == Method::Options {
        let is_asterisk = request.path == "*";
        let allow = if is_asterisk { "GET, HEAD, POST, OPTIONS" } else { route.allow() };
        let is_known = is_asterisk || route != Route::Unknown;
        if is_known {
            let field = Some(Field::Allow(allow));
            return Some(Response { field, ..Response::ok(TEXT, route.index()) });
        }
    }
    if !route.allows(request.method) {
        let field = Some(Field::Allow(route.allow()));
        let status = Status::MethodNotAllowed;
        let detail = method_error(route, request.method);
        return Some(problem(body, status, detail, field, route.index()));
    }
    if let Some(error) = query::find_error(route, request) {
        let status = Status::BadRequest;
        return Some(problem(body, status, error, None, route.index()));
    }
    None
}
