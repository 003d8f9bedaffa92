//! `GET /`: what is served here.

use super::json::Object;
use crate::limits::{PROFILE_SECONDS_DEFAULT, PROFILE_SECONDS_MAX};
use percore::http::response::{JSON, Response};

/// Paths with what they are for.
const SERVED: [(&str, &str); 12] = [
    ("/metrics", "POST device metrics: an object, an array of objects, or NDJSON"),
    ("/metrics/{key}", "GET a stored metric by <timestamp> or <device_id>:<timestamp>"),
    ("/analyze", "GET rolling averages, z-scores and anomalies; ?device_id= for one device"),
    ("/metrics/prometheus", "GET this server's own metrics, for Prometheus"),
    ("/health", "GET whether the process serves"),
    ("/ready", "GET whether new connections are welcome"),
    ("/debug/pprof/", "GET what performance engineers look at; needs the admin token or loopback"),
    ("/debug/pprof/latency", "GET percentiles of request durations; ?route= for one route"),
    ("/debug/pprof/threads", "GET what each core does"),
    ("/debug/pprof/profile", "GET where CPU time goes, for go tool pprof; ?seconds="),
    ("/debug/pprof/flamegraph", "GET the same as a picture"),
    ("/openapi.json", "GET this API in OpenAPI 3.1"),
];

/// Lists what is served.
pub fn index(body: &mut Vec<u8>, route: usize) -> Response {
    {
        let mut object = Object::open(body);
        object.text("name", "corepulse");
        object.text("version", env!("CARGO_PKG_VERSION"));
        object.objects("links", SERVED, |link, (path, purpose)| {
            link.text("href", path);
            if purpose.ends_with("?seconds=") {
                let (most, else_) = (PROFILE_SECONDS_MAX, PROFILE_SECONDS_DEFAULT);
                link.text("title", format_args!("{purpose} 1 to {most}, else {else_}"));
            } else {
                link.text("title", purpose);
            }
        });
    }
    body.push(b'\n');
    Response::ok(JSON, route)
}
