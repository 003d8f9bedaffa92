//! CORS: the pages in browsers that may read answers. Other answers stay as they are without it.

use crate::in_process::InProcessServer;
use testkit::http_client::post_with;
use testkit::{HttpClient, HttpResponse, get};

const PAGE: &str = "https://app.example";
const OTHER: &str = "http://localhost:3000";

/// All fields of the protocol in an answer, and `Vary`.
fn said(answer: &HttpResponse) -> Vec<(&str, &str)> {
    let is_about_it =
        |name: &str| name.starts_with("access-control-") || name == "vary" && !name.is_empty();
    let fields = answer.fields.iter().filter(|(name, _)| is_about_it(name));
    fields.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn allowed(answer: &HttpResponse) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

fn request(method: &str, target: &str, origin: &str, fields: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n{fields}\r\n")
        .into_bytes()
}

fn preflight(target: &str, method: &str, origin: &str) -> Vec<u8> {
    let fields = format!(
        "Access-Control-Request-Method: {method}\r\n\
         Access-Control-Request-Headers: authorization,content-type\r\n"
    );
    request("OPTIONS", target, origin, &fields)
}

#[test]
fn without_it_no_answer_has_a_word_of_it() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    for request in [
        request("GET", "/analyze", PAGE, ""),
        preflight("/metrics", "POST", PAGE),
        post_with(&format!("Origin: {PAGE}\r\n"), br#"{"cpu":1,"rps":1}"#),
    ] {
        let answer = client.request(&request);
        assert!(answer.status < 300 && said(&answer).is_empty(), "{answer:?}");
    }
}

#[test]
fn a_page_of_a_listed_origin_may_ask_first_and_read_and_post() {
    let list = format!("{PAGE}:443/, {OTHER}");
    let running = InProcessServer::start(&["--cors-origin", &list, "--ingest-token", "t"]);
    let mut client = running.client();
    for origin in [PAGE, OTHER] {
        let answer = client.request(&preflight("/metrics", "POST", origin));
        assert_eq!((answer.status, allowed(&answer)), (200, Some(origin)), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
        let headers = answer.header("access-control-allow-headers").unwrap();
        for needed in ["Authorization", "Content-Type", "Content-Encoding", "*"] {
            assert!(headers.split(", ").any(|header| header == needed), "{headers}");
        }
        assert_eq!(answer.header("access-control-max-age"), Some("7200"));
        assert_eq!(answer.header("vary"), Some("Origin"));
        assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
        let answer = client.request(&preflight("/analyze", "GET", origin));
        assert_eq!(answer.header("access-control-allow-methods"), Some("GET, HEAD"));
        let fields = format!("Origin: {origin}\r\nAuthorization: Bearer t\r\n");
        let answer = client.request(&post_with(&fields, br#"{"cpu":1,"rps":1}"#));
        assert_eq!((answer.status, allowed(&answer)), (202, Some(origin)), "{answer:?}");
        // An answer from another thread.
        let answer = client.request(&request("GET", "/analyze", origin, ""));
        assert_eq!((answer.status, allowed(&answer)), (200, Some(origin)), "{answer:?}");
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("Retry-After"), "{exposed}");
    }
}

/// A page that may not read an error knows only that there was one.
#[test]
fn errors_are_for_the_page_as_well() {
    let running = InProcessServer::start(&["--cors-origin", PAGE, "--ingest-token", "t"]);
    let token = "Authorization: Bearer t\r\n";
    let wrong = |fields: &str, body: &[u8]| post_with(&format!("Origin: {PAGE}\r\n{fields}"), body);
    for (status, request) in [
        (400, wrong(token, b"{}")),
        (400, request("GET", "/analyze?deviceId=d1", PAGE, "")),
        (401, wrong("", b"{}")),
        (404, request("GET", "/nothing", PAGE, "")),
        (404, request("GET", "/analyze?device_id=nobody", PAGE, "")),
        (405, request("DELETE", "/metrics", PAGE, "")),
        (415, wrong(&format!("{token}Content-Type: text/html\r\n"), b"{}")),
        // If framing fails before the origin is known, the only permitted origin is named.
        (413, request("POST", "/metrics", PAGE, "Content-Length: 9999999\r\n")),
        (431, request("GET", "/", PAGE, &"A: b\r\n".repeat(101))),
    ] {
        let answer = running.client().request(&request);
        assert_eq!((answer.status, allowed(&answer)), (status, Some(PAGE)), "{answer:?}");
        assert_eq!(answer.header("vary"), Some("Origin"), "{answer:?}");
    }
}

#[test]
fn a_page_of_another_origin_is_told_nothing_and_caches_are_told_why() {
    let list = format!("{PAGE},{OTHER}");
    let running = InProcessServer::start(&["--cors-origin", &list]);
    let mut client = running.client();
    let https = "https://localhost:3000";
    for origin in ["https://app.example.evil", "https://app.example:8443", https, "null", "*", ""] {
        for asked in [request("GET", "/analyze", origin, ""), preflight("/metrics", "POST", origin)]
        {
            assert_eq!(said(&client.request(&asked)), [("vary", "Origin")], "{origin}");
        }
    }
    // Nor a request with two origins, or with none.
    let two = request("GET", "/analyze", PAGE, &format!("Origin: {OTHER}\r\n"));
    for asked in [two, get("/analyze")] {
        assert_eq!(said(&client.request(&asked)), [("vary", "Origin")]);
    }
    // The scrape varies by more.
    let answer = client.request(&request("GET", "/metrics/prometheus", PAGE, ""));
    let vary: Vec<_> = answer.fields.iter().filter(|(name, _)| name == "vary").collect();
    let values: Vec<_> = vary.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["Accept, Accept-Encoding", "Origin"]);
    assert_eq!(allowed(&answer), Some(PAGE));
}

#[test]
fn any_origin_is_one_answer_for_all() {
    let running = InProcessServer::start(&["--cors-origin", "*"]);
    let mut client = running.client();
    for asked in [request("GET", "/analyze", "null", ""), get("/health")] {
        let answer = client.request(&asked);
        assert_eq!((allowed(&answer), answer.header("vary")), (Some("*"), None), "{answer:?}");
    }
    let answer = client.request(&preflight("/metrics/1", "GET", PAGE));
    assert_eq!((answer.status, allowed(&answer)), (200, Some("*")), "{answer:?}");
    let refused = running.client().request(b"nonsense\r\n\r\n");
    assert_eq!((refused.status, allowed(&refused)), (400, Some("*")), "{refused:?}");
}

/// A page must not read through the browser of a developer what is for that machine alone, nor have
/// it made; with the token it may ask, and its script still reads nothing.
#[test]
fn the_pages_under_debug_are_for_no_page_elsewhere() {
    let running = InProcessServer::start(&["--cors-origin", "*", "--admin-token", "t"]);
    let mut client: HttpClient = running.client();
    for (fields, status) in
        [("", 403), ("Authorization: Bearer t\r\n", 200), ("Via: 1.1 a\r\n", 403)]
    {
        let answer = client.request(&request("GET", "/debug/pprof/threads", PAGE, fields));
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(said(&answer).is_empty(), "{answer:?}");
    }
    for path in ["/debug/pprof/profile", "/debug/pprof/nope", "/debug/nope"] {
        assert!(said(&client.request(&preflight(path, "GET", PAGE))).is_empty(), "{path}");
        assert!(said(&client.request(&request("GET", path, PAGE, ""))).is_empty(), "{path}");
    }
}
