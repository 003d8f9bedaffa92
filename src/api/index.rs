//! `GET /`: the list of paths, for those who do not prefer HTML.

use serde::Serialize;

use super::json::append_line;
use crate::limits::{PROFILE_SECONDS_DEFAULT, PROFILE_SECONDS_MAX};
use percore::http::response::{Field, JSON, Response};

/// Paths with their purposes.
const LINKS: [(&str, &str); 21] = [
    ("/metrics", "POST device metrics: an object, an array of objects, or NDJSON"),
    ("/write", "POST InfluxDB's line protocol, as clients of version 1 do; ?precision="),
    ("/api/v2/write", "POST the same, as clients of version 2 do"),
    ("/ping", "GET no content, as clients of InfluxDB ask whether it serves"),
    ("/page/{part}", "GET a part of the page that a browser gets at /"),
    ("/metrics/{key}", "GET a stored metric by <timestamp> or <device_id>:<timestamp>"),
    ("/analyze", "GET rolling averages, z-scores and anomalies; ?device_id= for one device"),
    (
        "/devices",
        "GET the devices; ?limit=, after=, prefix=, sort=id|last_seen|anomalies|z, field=",
    ),
    ("/devices/{id}", "GET all that is known of a device, with the values of its windows"),
    ("/devices/{id}/latest", "GET the stored metric that a device sent last"),
    ("/anomalies", "GET the last anomalies; ?since= with `next` of an answer for later ones"),
    ("/stats", "GET the state of this server: rates, latency, problems; ?history= with seconds"),
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

#[derive(Serialize)]
struct Index {
    name: &'static str,
    version: &'static str,
    links: [Link; LINKS.len()],
}

#[derive(Serialize)]
struct Link {
    href: &'static str,
    title: String,
}

/// Answers with the list of paths.
pub fn answer(body: &mut Vec<u8>, route: usize) -> Response {
    let links = LINKS.map(|(href, purpose)| {
        let title = if purpose.ends_with("?seconds=") {
            format!("{purpose} 1 to {PROFILE_SECONDS_MAX}, else {PROFILE_SECONDS_DEFAULT}")
        } else {
            purpose.to_owned()
        };
        Link { href, title }
    });
    append_line(body, &Index { name: "corepulse", version: env!("CARGO_PKG_VERSION"), links });
    // A browser gets the page here.
    let field = Some(Field::Negotiated { gzipped: false });
    Response { field, ..Response::ok(JSON, route) }
}
