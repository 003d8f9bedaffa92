//! The check of queries.

use std::borrow::Cow;

use super::authorization::is_token_parameter;
use super::page;
use super::route::Route;
use crate::limits::ECHO_BYTES_MAX;
use percore::http::request::Request;

/// Returns the error in the query of a request, if there is one: a parameter that the path does not
/// know, or one that occurs twice. If either were ignored, the answer would pass for one to the
/// question that was meant.
#[must_use]
pub fn find_error(route: Route<'_>, request: &Request<'_>) -> Option<String> {
    // Most requests have none.
    request.query?;
    // The page has no use for one, and some programs add theirs to what they show to people.
    if matches!(route, Route::Index) && page::is_wanted(&request.headers) {
        return None;
    }
    let known = route.query_parameters()?;
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    for (name, _) in request.parameters() {
        if is_token_parameter(&name) {
            return Some(format!(
                "query: a token belongs into Authorization, as proxies and browsers keep URLs; \
                 found {name:?}"
            ));
        }
        if !known.contains(&&*name) {
            let name = name.get(..name.floor_char_boundary(ECHO_BYTES_MAX)).unwrap_or_default();
            return Some(match known {
                [] => format!("query: this path takes no parameters, found {name:?}"),
                [one] => format!("query: the only parameter of this path is {one}, found {name:?}"),
                [others @ .., last] => {
                    let others = others.join(", ");
                    format!(
                        "query: the parameters of this path are {others} and {last}, found \
                         {name:?}"
                    )
                }
            });
        }
        if seen.contains(&name) {
            return Some(format!("{name}: expected once, found it again"));
        }
        seen.push(name);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use percore::http::headers::Headers;
    use percore::http::request::Method;

    fn found(path: &str, query: Option<&str>) -> Option<String> {
        let headers = Headers::NONE;
        let request = Request { method: Method::Get, path, query, headers, body: b"" };
        find_error(Route::of(path), &request)
    }

    #[test]
    fn what_a_path_does_not_know_is_named_with_what_it_knows() {
        for (path, query) in [
            ("/analyze", None),
            ("/analyze", Some("")),
            ("/analyze", Some("&")),
            ("/analyze", Some("device_id=")),
            ("/analyze", Some("device%5Fid=d1")),
            ("/debug/pprof/latency", Some("route=/metrics")),
            ("/debug/pprof/flamegraph", Some("seconds=1")),
            ("/health", Some("a=b&a=b")),
            ("/ready", Some("1795872076")),
        ] {
            assert_eq!(found(path, query), None, "{path} {query:?}");
        }
        for (path, query, named) in [
            ("/analyze", "deviceId=d1", "are device_id and scope, found \"deviceId\""),
            ("/analyze", "device_id=d1&x", "are device_id and scope, found \"x\""),
            ("/analyze", "DEVICE_ID=d1", "are device_id and scope, found \"DEVICE_ID\""),
            ("/analyze", "device_id=a&device_id=a", "device_id: expected once"),
            ("/debug/pprof/latency", "rout=/", "is route, found \"rout\""),
            ("/debug/pprof/profile", "second=1", "is seconds, found \"second\""),
            ("/stats", "access_token=a", "belongs into Authorization"),
            ("/metrics", "Token=a", "found \"Token\""),
            (
                "/anomalies",
                "after=1",
                "parameters of this path are limit, since, kind and scope, found",
            ),
            ("/devices", "q=1", "are limit, after, prefix, sort, field and scope, found \"q\""),
            ("/debug/pprof/threads", "core=1", "no parameters, found \"core\""),
            ("/debug/pprof", "debug=1", "no parameters, found \"debug\""),
            ("/metrics", "key", "is ack, found \"key\""),
            ("/metrics/1", "device_id=d1", "no parameters"),
            ("/metrics/prometheus", "x", "no parameters, found \"x\""),
            ("/", "%00%ff", "no parameters, found \"\\0\u{fffd}\""),
            ("/openapi.json", "v=3", "no parameters"),
        ] {
            let found = found(path, Some(query)).unwrap_or_default();
            assert!(found.contains(named), "{path}?{query}: {found}");
        }
        let long = found("/", Some(&"%C3%A9".repeat(ECHO_BYTES_MAX))).unwrap_or_default();
        assert!(long.len() < 2 * ECHO_BYTES_MAX && long.contains('\u{e9}'), "{long}");
    }
}
