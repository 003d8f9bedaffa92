//! The guarantees to one connection: its header fields, the order of its answers, its metrics, the
//! rights of its token, and time to read its answers.

use crate::in_process::InProcessServer;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use testkit::http_client::{metric, post_with};
use testkit::{Exposition, HttpClient, assert_problem, get, post, wait_until};

fn now_s() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.unwrap().as_secs()
}

fn head(target: &str) -> Vec<u8> {
    format!("HEAD {target} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes()
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let running = InProcessServer::start(&[]);
    let (stored, mut client) = (now_s(), running.client());
    assert_eq!(client.request(&post(metric("d1", stored).as_bytes())).status, 202);
    let key = format!("/metrics/d1:{stored}");
    let fixed =
        ["/", "/openapi.json", "/health", "/ready", &key, "/metrics/none", "/analyze?device_id=no"];
    for target in fixed {
        let answer = client.request(&get(target)).without_date();
        client.send(&head(target));
        let bare = client.receive_response_to_head().without_date();
        assert_eq!((bare.status, &bare.fields), (answer.status, &answer.fields), "{target}");
        assert!(bare.body.is_empty() && !answer.body.is_empty(), "{target}");
    }
    // These two differ from one moment to the next, but not in form.
    for target in ["/analyze", "/metrics/prometheus"] {
        client.send(&head(target));
        let bare = client.receive_response_to_head();
        assert_eq!(bare.status, 200, "{target}");
        assert_ne!(bare.header("content-length"), Some("0"), "{target}");
    }
    assert_eq!(client.request(&get("/health")).status, 200);
}

#[test]
fn answers_keep_the_order_of_requests_whoever_makes_them() {
    let running = InProcessServer::start(&[]);
    let (start, mut client) = (now_s() - 200, running.client());
    let mut series = Vec::new();
    for number in 0..100 {
        series.extend(post(metric("d1", start + number).as_bytes()));
        series.extend(get(&format!("/metrics/d1:{}", start + number)));
        series.extend(post(b"[]"));
        series.extend(get("/metrics/prometheus"));
        series.extend(head("/metrics/none"));
        series.extend(get("/analyze?device_id=d1"));
    }
    client.send(&series);
    for number in 0..100 {
        assert_eq!(client.receive().status, 202);
        let stored = client.receive();
        assert_eq!(stored.status, 200, "{stored:?}");
        assert_eq!(stored.json()["timestamp"], start + number);
        assert_eq!(client.receive().status, 400);
        let exposition = client.receive();
        let line = format!("\ncorepulse_events_accepted_total {}\n", number + 1);
        assert!(exposition.text().contains(&line), "{}", exposition.text());
        assert_eq!(client.receive_response_to_head().status, 404);
        assert_eq!(client.receive().json()["totals"]["accepted"], number + 1);
    }
}

/// A later answer must queue up behind the bytes that its connection has not taken yet.
#[test]
fn later_answers_keep_their_place_behind_unsent_ones() {
    let running = InProcessServer::start(&["--workers", "1"]);
    let mut client = HttpClient::connect_with_small_buffer(running.address);
    const ROUNDS: usize = 250;
    const INDEXES: usize = 30;
    let round = [get("/").repeat(INDEXES), get("/metrics/none")].concat();
    client.send(&round.repeat(ROUNDS));
    until_at_rest(&running);
    for number in 0..ROUNDS {
        for place in 0..INDEXES {
            assert_eq!(client.receive().status, 200, "round {number}, place {place}");
        }
        assert_eq!(client.receive().status, 404, "round {number}");
    }
}

/// Waits until the server answers only the scrapes of this function: its out-buffers are full.
fn until_at_rest(running: &InProcessServer) {
    let requests = || Exposition::scrape(running.address).sum("corepulse_http_requests_total");
    let mut last = requests();
    wait_until("no more answers", || {
        std::thread::park_timeout(Duration::from_millis(50));
        let before = std::mem::replace(&mut last, requests());
        (last - before < 1.5).then_some(())
    });
}

#[test]
fn an_acknowledged_metric_is_found_at_once_on_another_connection() {
    let running = InProcessServer::start(&[]);
    let start = now_s() - 250;
    for number in 0..200 {
        let (mut writer, mut reader) = (running.client(), running.client());
        for device in ["a", "b", "c"] {
            let metric = metric(device, start + number);
            assert_eq!(writer.request(&post(metric.as_bytes())).status, 202);
            let found = reader.request(&get(&format!("/metrics/{device}:{}", start + number)));
            assert_eq!(found.status, 200, "{device}, {number}: {found:?}");
            let seen = reader.request(&get(&format!("/analyze?device_id={device}")));
            assert_eq!(seen.json()["totals"]["accepted"], number + 1);
        }
        let all = reader.request(&get("/analyze")).json();
        assert_eq!(all["totals"]["accepted"], 3 * (number + 1));
        assert_eq!(all["window"]["count"], (3 * (number + 1)).min(50));
    }
}

#[test]
fn keys_are_a_timestamp_alone_or_behind_a_device() {
    let running = InProcessServer::start(&[]);
    let (now, mut client) = (now_s(), running.client());
    let anonymous = format!(r#"{{"timestamp":{now},"cpu":1.50,"rps":2e3}}"#);
    assert_eq!(client.request(&post(anonymous.as_bytes())).status, 202);
    let named = metric("site:rack-1.a_b", now);
    assert_eq!(client.request(&post(named.as_bytes())).status, 202);
    let found = client.request(&get(&format!("/metrics/{now}")));
    assert_eq!(found.header("content-type"), Some("application/json"));
    // Literals as they were sent, and no device where none was given.
    assert_eq!(found.text().trim_end(), anonymous);
    for colon in [":", "%3A", "%3a"] {
        let key = format!("/metrics/site{colon}rack-1.a%5fb{colon}{now}");
        let found = client.request(&get(&key));
        assert_eq!(found.status, 200, "{key}: {found:?}");
        assert_eq!(found.json()["device_id"], "site:rack-1.a_b");
        assert_eq!(found.json()["timestamp"], now);
    }
    let long = "x".repeat(5000);
    let absent = ["1", "d1:1", "site", "%00", "%ff", "metric:1", &long];
    for key in absent {
        let answer = client.request(&get(&format!("/metrics/{key}")));
        assert_problem(&answer, 404, key.as_bytes());
    }
}

#[test]
fn the_ingest_token_covers_metrics_and_nothing_else() {
    let running = InProcessServer::start(&["--ingest-token", "s3cret-token"]);
    let (now, mut client) = (now_s(), running.client());
    let body = metric("d1", now);
    let key = format!("/metrics/d1:{now}");
    let with = |fields: &str, target: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").into_bytes()
    };
    let wrong = [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer s3cret-toke\r\n",
        "Authorization: Bearer s3cret-token2\r\n",
        "Authorization: Bearer S3cret-token\r\n",
        "Authorization: Basic s3cret-token\r\n",
        "Authorization: s3cret-token\r\n",
        "X-Authorization: Bearer s3cret-token\r\n",
    ];
    for fields in wrong {
        for request in [post_with(fields, body.as_bytes()), with(fields, &key)] {
            let answer = client.request(&request);
            assert_problem(&answer, 401, &request);
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer"), "{challenge}");
            assert!(!answer.text().contains("s3cret"), "{answer:?}");
        }
    }
    // Without the right nothing is learnt of the rest either.
    let unauthorized = client.request(&post_with("Content-Type: image/png\r\n", b"{"));
    assert_eq!(unauthorized.status, 401);
    for fields in
        ["Authorization: Bearer s3cret-token\r\n", "authorization: BEARER  s3cret-token\r\n"]
    {
        assert_eq!(client.request(&post_with(fields, body.as_bytes())).status, 202);
        assert_eq!(client.request(&with(fields, &key)).status, 200);
    }
    for target in ["/", "/health", "/ready", "/analyze", "/analyze?device_id=d1"] {
        assert_eq!(client.request(&get(target)).status, 200, "{target}");
    }
    assert_eq!(client.request(&get("/metrics/prometheus")).status, 200);
    let accepted = client.request(&get("/analyze")).json()["totals"]["accepted"].clone();
    assert_eq!(accepted, 2, "what was refused has left nothing behind");
}

#[test]
fn continue_is_said_to_those_who_wait_and_before_the_answer() {
    let (running, body) = (InProcessServer::start(&[]), metric("d1", now_s()));
    for framing in ["Content-Length", "Transfer-Encoding"] {
        let (value, sent) = if framing == "Content-Length" {
            (body.len().to_string(), body.clone())
        } else {
            let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
            ("chunked".to_owned(), chunks)
        };
        let head = format!(
            "POST /metrics HTTP/1.1\r\nHost: a\r\n{framing}: {value}\r\n\
             Expect: 100-continue\r\n\r\n"
        );
        let mut client = running.client();
        let interim = client.request(head.as_bytes());
        assert_eq!(interim.status, 100, "{framing}");
        assert_eq!(client.request(sent.as_bytes()).status, 202, "{framing}");
    }
}

/// Returns requests that are refused whatever their body is, and therefore before it comes.
fn refused_by_the_head() -> Vec<(u16, &'static str, &'static str)> {
    let token = "Authorization: Bearer t\r\n";
    let (image, brotli) = ("Content-Type: image/png\r\n", "Content-Encoding: br\r\n");
    let with = |fields: &str| -> &'static str { Box::leak(format!("{token}{fields}").into()) };
    vec![
        (401, "POST /metrics", ""),
        (401, "POST /metrics", "Authorization: Bearer u\r\n"),
        (401, "GET /metrics/1", ""),
        (404, "POST /nothing", ""),
        (405, "PUT /metrics", ""),
        (405, "POST /health", ""),
        (405, "DELETE /", ""),
        (415, "POST /metrics", with(image)),
        (415, "POST /metrics", with(brotli)),
    ]
}

#[test]
fn what_is_refused_by_its_head_is_answered_before_the_body() {
    let running = InProcessServer::start(&["--ingest-token", "t"]);
    let framings = [
        ("Content-Length: 4", "ab", "cd"),
        ("Transfer-Encoding: chunked", "4\r\nab", "cd\r\n0\r\n\r\n"),
    ];
    for (status, line, fields) in refused_by_the_head() {
        for (framing, begin, end) in framings {
            let head = format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}{framing}\r\n");
            let whole = format!("{head}\r\n{begin}{end}");
            let at_once = running.client().request(whole.as_bytes()).without_date();
            for begin in ["", begin] {
                let mut client = running.client();
                let answer = client.request(format!("{head}\r\n{begin}").as_bytes());
                assert_problem(&answer, status, head.as_bytes());
                // The same as where all of it came at once.
                assert_eq!(answer.clone().without_date(), at_once, "{head}");
                // The body is read and thrown away, and the connection carries on.
                assert!(!answer.closes_connection(), "{answer:?}");
                if begin.is_empty() {
                    continue;
                }
                client.send(end.as_bytes());
                assert_eq!(client.request(&get("/health")).status, 200, "{head}");
            }
            // A client that waits for `100 Continue` does not get it, and the server cannot know
            // if the body still comes.
            let mut client = running.client();
            let answer = client.request(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes());
            assert_problem(&answer, status, head.as_bytes());
            assert!(answer.closes_connection(), "{answer:?}");
            client.assert_end();
        }
    }
}

#[test]
fn a_thousand_pipelined_requests_are_all_answered_in_order() {
    let (running, body) = (InProcessServer::start(&[]), metric("d1", now_s()));
    let mut client = running.client();
    let mut series = Vec::new();
    for number in 0..1000 {
        let target = if number % 3 == 0 { "/health" } else { "/nothing" };
        series.extend(get(target));
        series.extend(post(body.as_bytes()));
    }
    client.send(&series);
    for number in 0..1000 {
        let status = if number % 3 == 0 { 200 } else { 404 };
        assert_eq!(client.receive().status, status, "request {number}");
        assert_eq!(client.receive().status, 202, "request {number}");
    }
}

/// A client that uploads without reading must still be able to read the error afterwards.
#[test]
fn the_refusal_of_a_long_upload_can_be_read() {
    let running = InProcessServer::start(&[]);
    let body = vec![b' '; 2 * 1024 * 1024];
    let in_one_chunk = [b"200000\r\n", &body[..], b"\r\n0\r\n\r\n"].concat();
    // Refused in the middle of the body, not by what announces it.
    let in_many = ("400\r\n".to_owned() + &" ".repeat(1024) + "\r\n").repeat(2048).into_bytes();
    let length = format!("Content-Length: {}", body.len());
    let chunked = "Transfer-Encoding: chunked";
    for (framing, sent) in [(&*length, body), (chunked, in_one_chunk), (chunked, in_many)] {
        for _ in 0..4 {
            let mut client = running.client();
            let head = format!("POST /metrics HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n");
            client.send(head.as_bytes());
            client.send(&sent);
            let answer = client.receive();
            assert_problem(&answer, 413, head.as_bytes());
            assert!(answer.closes_connection(), "{answer:?}");
            client.assert_end();
        }
    }
}
