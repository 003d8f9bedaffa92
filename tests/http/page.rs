//! The page: `/` for browsers and its parts, which are what stands in `web/`; JSON for all others.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;

use crate::in_process::InProcessServer;
use corepulse::api::page;
use flate2::read::GzDecoder;
use serde_json::Value;
use testkit::{HttpResponse, assert_problem, get};

/// The `Accept` of browsers.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn request(method: &str, target: &str, fields: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").into_bytes()
}

fn get_with(target: &str, fields: &str) -> Vec<u8> {
    request("GET", target, fields)
}

fn written(name: &str) -> Vec<u8> {
    fs::read(format!("{}/web/{name}", env!("CARGO_MANIFEST_DIR"))).expect("it is in web/")
}

/// Each file with the path that it is served at.
fn files() -> Vec<(String, String)> {
    let parts = page::names().map(|name| (format!("/page/{name}"), name.to_owned()));
    std::iter::once(("/".to_owned(), "index.html".to_owned())).chain(parts).collect()
}

fn tag(answer: &HttpResponse) -> &str {
    answer.header("etag").expect("every file has a tag")
}

#[test]
fn a_browser_gets_the_page_and_everyone_else_json() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    for accept in [BROWSER, "text/html", "TEXT/HTML;q=0.3, application/json;q=0.2"] {
        let answer = client.request(&get_with("/", &format!("Accept: {accept}\r\n")));
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{accept}");
        assert_eq!(answer.header("vary"), Some("Accept, Accept-Encoding"));
        assert_eq!(answer.body, written("index.html"));
    }
    // A query is of no harm to the page, and some tools add one to what they show.
    let answer = client.request(&get_with("/?x=1", &format!("Accept: {BROWSER}\r\n")));
    assert_eq!((answer.status, answer.body), (200, written("index.html")));
    assert_problem(&client.request(&get("/?x=1")), 400, b"");
    let others = [
        "Accept: */*\r\n",
        "Accept: application/json, text/html;q=0.9\r\n",
        "Accept: text/html;q=0\r\n",
        "Accept: text/*\r\n",
        "",
    ];
    for fields in others {
        let answer = client.request(&get_with("/", fields));
        assert_eq!(answer.header("content-type"), Some("application/json"), "{fields}");
        assert_eq!(answer.header("vary"), Some("Accept, Accept-Encoding"));
        assert_eq!(answer.json()["name"], "corepulse");
    }
}

#[test]
fn each_file_is_served_as_it_is_written_plain_and_in_gzip() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    for (path, name) in files() {
        let accept = format!("Accept: {BROWSER}\r\n");
        let plain = client.request(&get_with(&path, &accept));
        assert_eq!((plain.status, plain.header("content-encoding")), (200, None), "{path}");
        assert_eq!(plain.body, written(&name), "{path}");
        let gzipped =
            client.request(&get_with(&path, &format!("{accept}Accept-Encoding: gzip, br\r\n")));
        assert_eq!(gzipped.header("content-encoding"), Some("gzip"), "{path}");
        let mut inflated = Vec::new();
        GzDecoder::new(&*gzipped.body).read_to_end(&mut inflated).unwrap();
        assert_eq!(inflated, plain.body, "{path}");
        assert_ne!(tag(&plain), tag(&gzipped), "{path}: different bytes, different tags");
    }
}

#[test]
fn head_is_told_how_long_each_file_is() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    for (path, name) in files() {
        client.send(&request("HEAD", &path, &format!("Accept: {BROWSER}\r\n")));
        let head = client.receive_response_to_head();
        let length = written(&name).len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()), "{path}");
    }
}

#[test]
fn a_file_that_is_known_is_not_sent_again() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    for (path, _) in files() {
        let fields = format!("Accept: {BROWSER}\r\nAccept-Encoding: gzip\r\n");
        let first = client.request(&get_with(&path, &fields));
        assert_eq!(first.header("cache-control"), Some("no-cache"));
        let known = tag(&first);
        let weak = format!("\"x\", W/{known}");
        for condition in [known, &weak, "*"] {
            let fields = format!("{fields}If-None-Match: {condition}\r\n");
            let again = client.request(&get_with(&path, &fields));
            assert_eq!((again.status, again.body.len()), (304, 0), "{path} {condition}");
            assert_eq!(tag(&again), known);
            assert_eq!(again.header("vary"), first.header("vary"));
            assert_eq!(again.header("content-encoding"), None);
        }
        for condition in ["\"x\"", "", known.trim_end_matches('"')] {
            let fields = format!("{fields}If-None-Match: {condition}\r\n");
            let again = client.request(&get_with(&path, &fields));
            assert_eq!((again.status, &again.body), (200, &first.body), "{path} {condition}");
        }
    }
}

/// Nothing inline, nothing from elsewhere, no markup from text; whatever else is configured.
#[test]
fn each_file_has_the_same_strict_policy() {
    for flags in [&[][..], &["--cors-origin", "*", "--ingest-token", "t"]] {
        let running = InProcessServer::start(flags);
        let mut client = running.client();
        for (path, _) in files() {
            let fields = format!("Accept: {BROWSER}\r\nOrigin: https://app.example\r\n");
            let answer = client.request(&get_with(&path, &fields));
            let policy = answer.header("content-security-policy").expect("a policy");
            assert!(policy.starts_with("default-src 'none'; "), "{policy}");
            for directive in ["trusted-types 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
                assert!(policy.split("; ").any(|other| other == directive), "{policy}");
            }
            for word in ["unsafe", "http:", "https:", "*", "data:"] {
                assert!(!policy.contains(word), "{policy}");
            }
            for (name, value) in [
                ("cross-origin-resource-policy", "same-origin"),
                ("referrer-policy", "no-referrer"),
                ("x-content-type-options", "nosniff"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{path}");
            }
            assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
        }
        // The JSON is for pages of other origins as before.
        let answer = client.request(&get_with("/", "Origin: https://app.example\r\n"));
        let permitted = (!flags.is_empty()).then_some("*");
        assert_eq!(answer.header("access-control-allow-origin"), permitted);
    }
}

#[test]
fn what_is_no_part_is_not_found() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    let cases = [
        ("/page/index.html", 404, "no such part"),
        ("/page/none.js", 404, "no such part"),
        ("/page/..%2fmain.js", 404, "no such part"),
        ("/page/Main.js", 404, "no such part"),
        ("/page", 404, "nothing is served here"),
        ("/page/", 404, "nothing is served here"),
        ("/page/a/main.js", 404, "nothing is served here"),
        ("/main.js", 404, "nothing is served here"),
        ("/page/main.js?v=1", 400, "no parameters"),
    ];
    for (path, status, detail) in cases {
        let problem = assert_problem(&client.request(&get(path)), status, path.as_bytes());
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{path}: {problem}");
    }
}

/// Each file that there is, is served; and the page names no file that is not.
#[test]
fn the_list_of_parts_is_that_of_the_folder() {
    let folder = fs::read_dir(format!("{}/web", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let files = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let parts: BTreeSet<String> = files.filter(|name| name != "index.html").collect();
    let served: BTreeSet<String> = page::names().map(str::to_owned).collect();
    assert_eq!(parts, served);
    let mut named = 0;
    for name in parts.iter().filter(|name| name.ends_with(".js")) {
        let text = String::from_utf8(written(name)).unwrap();
        for line in text.lines().filter(|line| line.contains(" from './")) {
            let import = line.split('\'').nth(1).and_then(|path| path.strip_prefix("./"));
            assert!(import.is_some_and(|import| served.contains(import)), "{name}: {line}");
            named += 1;
        }
    }
    assert!(named > 20, "imports were looked for: {named}");
}

/// `openapi.json` says which parts there are.
#[test]
fn the_description_names_each_part() {
    let document: Value = serde_json::from_slice(&written("../openapi.json")).unwrap();
    let parameter = &document["paths"]["/page/{part}"]["parameters"][0];
    let named = parameter["schema"]["enum"].as_array().unwrap();
    let named: BTreeSet<&str> = named.iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(named, page::names().collect());
}
