//! `/debug/pprof/`: its pages, and the clients that may see them.

use crate::in_process::InProcessServer;
use testkit::http_client::metric;
use testkit::{HttpClient, HttpResponse, assert_problem, get_as_localhost, post};

const PAGES: [&str; 4] =
    ["/debug/pprof/", "/debug/pprof/latency", "/debug/pprof/threads", "/debug/pprof"];

/// A GET from this machine with further fields, each with its line end.
fn get_with(target: &str, fields: &str) -> Vec<u8> {
    get_at("localhost", target, fields)
}

fn get_at(host: &str, target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").into_bytes()
}

fn text(answer: &HttpResponse) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    String::from_utf8(answer.body.clone()).unwrap()
}

fn refuses(client: &mut HttpClient, request: &[u8], status: u16) {
    assert_problem(&client.request(request), status, request);
}

#[test]
fn who_asks_from_this_machine_is_answered() {
    let running = InProcessServer::start(&[]);
    for page in PAGES {
        assert_eq!(running.client().request(&get_as_localhost(page)).status, 200, "{page}");
    }
    // The slash at the end is easily forgotten.
    let [with, without] =
        [PAGES[0], PAGES[3]].map(|page| running.client().request(&get_as_localhost(page)));
    assert_eq!(with.text(), without.text());
    assert_eq!(running.client().request(&get_as_localhost("/debug/pprof/heap")).status, 404);
}

/// A page whose own name resolves to this machine (DNS rebinding) sends that name as its `Host`.
#[test]
fn a_name_that_is_not_this_machine_s_own_is_not_trusted() {
    let running = InProcessServer::start(&["--admin-token", "s3cret"]);
    let port = running.address.port();
    let mut client = running.client();
    let with_port = |name: &str| format!("{name}:{port}");
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "[::1]"] {
        for host in [host.to_owned(), with_port(host)] {
            let answer = client.request(&get_at(&host, PAGES[2], ""));
            assert_eq!(answer.status, 200, "{host}: {answer:?}");
        }
    }
    let strangers =
        ["attacker.example", "localhost.attacker.example", "127.0.0.1.nip.example", "10.0.0.1", ""];
    for host in strangers {
        for host in [host.to_owned(), with_port(host)].iter().filter(|host| !host.starts_with(':'))
        {
            for page in PAGES.iter().chain(&["/debug/pprof/profile?seconds=1"]) {
                let problem = client.request(&get_at(host, page, ""));
                let problem = assert_problem(&problem, 403, b"");
                let detail = problem["detail"].as_str().unwrap();
                assert!(
                    detail.contains("localhost") && detail.contains("--admin-token"),
                    "{detail}"
                );
            }
            let token = "Authorization: Bearer s3cret\r\n";
            assert_eq!(client.request(&get_at(host, PAGES[2], token)).status, 200, "{host}");
        }
    }
    // HTTP/1.0 may say no name at all.
    let mut client = running.client();
    refuses(&mut client, format!("GET {} HTTP/1.0\r\n\r\n", PAGES[2]).as_bytes(), 403);
}

/// A page elsewhere may not read an answer, but could keep the profiler busy by a picture.
#[test]
fn a_page_of_another_site_is_not_trusted() {
    let running = InProcessServer::start(&["--admin-token", "s3cret"]);
    let mut client = running.client();
    for field in [
        "Origin: http://attacker.example",
        "Origin: null",
        "Origin: https://localhost.attacker.example:8080",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        for page in PAGES.iter().chain(&["/debug/pprof/profile?seconds=1"]) {
            refuses(&mut client, &get_with(page, &format!("{field}\r\n")), 403);
        }
        let token = format!("{field}\r\nAuthorization: Bearer s3cret\r\n");
        assert_eq!(client.request(&get_with(PAGES[2], &token)).status, 200, "{field}");
    }
    for field in [
        "Sec-Fetch-Site: none",
        "Sec-Fetch-Site: same-origin",
        "Origin: http://localhost:8080\r\nSec-Fetch-Site: same-origin",
    ] {
        let answer = client.request(&get_with(PAGES[2], &format!("{field}\r\n")));
        assert_eq!(answer.status, 200, "{field}");
    }
}

#[test]
fn a_proxy_on_this_machine_speaks_for_others() {
    let running = InProcessServer::start(&["--admin-token", "s3cret"]);
    let mut client = running.client();
    for field in ["Forwarded: for=10.0.0.1", "X-Forwarded-For: 10.0.0.1", "via: 1.1 proxy"] {
        for page in PAGES {
            refuses(&mut client, &get_with(page, &format!("{field}\r\n")), 403);
        }
        let token = format!("{field}\r\nAuthorization: Bearer s3cret\r\n");
        assert_eq!(client.request(&get_with(PAGES[2], &token)).status, 200, "{field}");
        let wrong = format!("{field}\r\nAuthorization: Bearer secret\r\n");
        refuses(&mut client, &get_with(PAGES[2], &wrong), 403);
    }
}

#[test]
fn without_an_admin_token_no_token_is_right() {
    let running = InProcessServer::start(&["--ingest-token", "s3cret"]);
    let fields = "Via: 1.1 proxy\r\nAuthorization: Bearer s3cret\r\n";
    refuses(&mut running.client(), &get_with(PAGES[0], fields), 403);
}

#[test]
fn latency_counts_the_requests_of_a_route() {
    let running = InProcessServer::start(&["--workers", "1"]);
    let mut client = running.client();
    for second in 0..7 {
        let body = metric("d1", 1_700_000_000 + second);
        assert_eq!(client.request(&post(body.as_bytes())).status, 202);
    }
    let of = |route: &str| {
        text(&running.client().request(&get_as_localhost(&format!("{}{route}", PAGES[1]))))
    };
    let posts = of("?route=/metrics");
    assert!(posts.trim_start().starts_with("Value"), "{posts}");
    assert!(posts.contains("Total count    =            7]"), "{posts}");
    // The last line of the distribution counts all of them, and nothing lies behind it.
    let last = posts.lines().rfind(|line| !line.starts_with('#')).unwrap();
    let columns: Vec<&str> = last.split_whitespace().collect();
    assert_eq!(&columns[1..], ["1.000000000000", "7", "inf"], "{posts}");
    assert!(of("?route=%2Fhealth").contains("Total count    =            0]"));
    // The durations of these pages are left out of the sum over all routes, or a profile's ten
    // seconds would pass for a slow device; with their route as `?route=` they are shown.
    assert!(of("").contains("Total count    =            7]"), "{}", of(""));
    let pages = of("?route=/debug/pprof/latency");
    assert!(!pages.contains("Total count    =            0]"), "{pages}");
    refuses(&mut running.client(), &get_as_localhost("/debug/pprof/latency?route=/nothing"), 404);
    let problem = running.client().request(&get_as_localhost("/debug/pprof/latency?rout=/metrics"));
    let problem = assert_problem(&problem, 400, b"");
    assert_eq!(
        problem["detail"],
        "query: the only parameter of this path is route, found \"rout\""
    );
}

#[test]
fn threads_shows_what_each_core_has_taken() {
    let running = InProcessServer::start(&["--workers", "2"]);
    let mut clients: Vec<_> = (0..4).map(|_| running.client()).collect();
    for (second, client) in (0..).zip(&mut clients) {
        let body = metric("d1", 1_700_000_000 + second);
        assert_eq!(client.request(&post(body.as_bytes())).status, 202);
    }
    let page = text(&clients[0].request(&get_as_localhost(PAGES[2])));
    let rows: Vec<Vec<&str>> =
        page.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 2, "{page}");
    for (core, row) in rows.iter().enumerate() {
        assert_eq!([row[0], row[2], row[4]], [&core.to_string(), "2", "2"], "{page}");
        assert!(row[3].parse::<u64>().unwrap() > 0, "{page}");
    }
}
