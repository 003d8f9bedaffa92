//! `openapi.json` says what is served: its paths, methods, statuses, limits and version.
//!
//! That every answer has the shape it says is for `ci/openapi` to find out.

use std::collections::BTreeSet;

use crate::in_process::InProcessServer;
use corepulse::api::route::{NAMES, REFUSED, Route};
use corepulse::limits::{
    ANSWER_ITEMS_MAX, BATCH_EVENTS_MAX, DEVICE_ID_BYTES_MAX, RECENT_ANOMALIES_MAX,
};
use serde_json::Value;
use testkit::http_client::post_with;
use testkit::{assert_problem, get, post};

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

fn document() -> Value {
    serde_json::from_str(include_str!("../../openapi.json")).expect("it is JSON")
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// The routes that have a path.
fn routes() -> impl Iterator<Item = (&'static str, Route<'static>)> {
    let paths = NAMES.into_iter().filter(|name| name.starts_with('/'));
    // `{key}` is a key as good as any.
    paths.map(|path| (path, Route::of(path)))
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = document();
    let served: BTreeSet<&str> = routes().map(|(path, _)| path).collect();
    assert_eq!(keys(&document["paths"]), served);
    let without_a_path = NAMES.len() - served.len();
    assert_eq!(without_a_path, 2, "{} and unknown", NAMES[REFUSED]);
    for (path, route) in routes() {
        assert_eq!(NAMES[route.index()], path);
    }
}

#[test]
fn every_path_has_the_methods_of_its_allow_list() {
    let document = document();
    for (path, route) in routes() {
        let described = keys(&document["paths"][path]);
        let is_described = |method: &&str| described.contains(method.to_lowercase().as_str());
        let described: BTreeSet<&str> = METHODS.into_iter().filter(is_described).collect();
        let allowed: BTreeSet<&str> = route.allow().split(", ").collect();
        assert_eq!(described, allowed, "{path}");
        let options = &document["paths"][path]["options"]["responses"]["200"]["$ref"];
        let options = options.as_str().unwrap().trim_start_matches('#');
        let said = &document.pointer(options).unwrap()["headers"]["Allow"]["schema"]["const"];
        assert_eq!(said, route.allow(), "{path}");
    }
}

#[test]
fn the_index_links_to_every_other_path() {
    let index = InProcessServer::start(&[]).client().request(&get("/")).json();
    let links = index["links"].as_array().unwrap();
    let mut linked: BTreeSet<&str> = links.iter().map(|l| l["href"].as_str().unwrap()).collect();
    assert_eq!(linked.len(), links.len());
    linked.insert("/");
    assert_eq!(linked, keys(&document()["paths"]));
}

#[test]
fn the_document_is_served_as_it_stands() {
    let answer = InProcessServer::start(&[]).client().request(&get("/openapi.json"));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.text(), include_str!("../../openapi.json"));
}

#[test]
fn the_version_is_that_of_the_crate() {
    let document = document();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let index = &document["components"]["responses"]["Index"]["content"]["application/json"];
    assert_eq!(index["example"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn limits_are_those_of_the_server() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let number = |value: &Value| value.as_f64().expect("a number");
    let count = |value: &Value| usize::try_from(value.as_u64().expect("a count")).unwrap();
    let metric = &schemas["Metric"]["properties"];
    assert_eq!(number(&metric["cpu"]["maximum"]).total_cmp(&1e6), std::cmp::Ordering::Equal);
    assert_eq!(number(&metric["rps"]["maximum"]).total_cmp(&1e12), std::cmp::Ordering::Equal);
    let id = format!("[A-Za-z0-9._:-]{{1,{DEVICE_ID_BYTES_MAX}}}");
    assert_eq!(schemas["DeviceId"]["pattern"], format!("^{id}$"));
    let series = &schemas["Analysis"]["properties"]["series"]["pattern"];
    assert_eq!(*series, format!("^(all|device:{id})$"));
    assert_eq!(count(&schemas["Metrics"]["anyOf"][1]["maxItems"]), BATCH_EVENTS_MAX);
    assert_eq!(count(&schemas["EventErrors"]["maxItems"]), ANSWER_ITEMS_MAX);
    let taken = &schemas["Taken"]["properties"];
    assert_eq!(count(&taken["anomalous"]["maxItems"]), ANSWER_ITEMS_MAX);
    let recent = &schemas["Anomalies"]["properties"]["recent"];
    assert_eq!(count(&recent["maxItems"]), RECENT_ANOMALIES_MAX);
}

/// Requests that each get another status, beside those that take their time: 408 and 503.
fn provocations() -> Vec<(u16, Vec<u8>)> {
    let token = "Authorization: Bearer t\r\n";
    let posting = |fields: &str, body: &[u8]| post_with(&format!("{token}{fields}"), body);
    let metric = br#"{"cpu":1,"rps":1}"#;
    let raw = |line: &str, fields: &str| {
        format!("{line}\r\nHost: test\r\n{token}{fields}\r\n").into_bytes()
    };
    let line = "POST /metrics HTTP/1.1";
    let long = format!("POST /metrics?{} HTTP/1.1", "a".repeat(9000));
    vec![
        (202, posting("", metric)),
        (400, posting("", b"[]")),
        (401, post(metric)),
        (413, raw(line, "Content-Length: 2000000\r\n")),
        (414, raw(&long, "Content-Length: 0\r\n")),
        (415, posting("Content-Type: text/html\r\n", metric)),
        (415, posting("Content-Encoding: br\r\n", metric)),
        (417, posting("Expect: more\r\n", metric)),
        (431, raw(line, &"A: b\r\n".repeat(101))),
        (421, raw("POST https://test/metrics HTTP/1.1", "Content-Length: 0\r\n")),
        (501, raw(line, "Transfer-Encoding: br, chunked\r\n")),
        (505, raw("POST /metrics HTTP/2.0", "Content-Length: 0\r\n")),
    ]
}

#[test]
fn every_status_of_ingestion_is_described_and_can_be_had() {
    let running = InProcessServer::start(&["--ingest-token", "t"]);
    let document = document();
    let mut had = BTreeSet::from(["408".to_owned(), "503".to_owned()]);
    for (status, request) in provocations() {
        let answer = running.client().request(&request);
        assert_eq!(answer.status, status, "{answer:?}");
        if status >= 400 {
            assert_problem(&answer, status, b"");
        }
        had.insert(status.to_string());
    }
    let described = keys(&document["paths"]["/metrics"]["post"]["responses"]);
    assert_eq!(described, had.iter().map(String::as_str).collect());
}
