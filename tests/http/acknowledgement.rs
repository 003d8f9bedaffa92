//! Requests that wait until their events are stored, where the store is in this process.

use crate::in_process::InProcessServer;
use testkit::HttpResponse;

fn post_to(server: &InProcessServer, target: &str, body: &str) -> HttpResponse {
    let length = body.len();
    let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    server.client().request(&[head.as_bytes(), body.as_bytes()].concat())
}

#[test]
fn what_this_process_keeps_is_stored_at_once() {
    let usual = InProcessServer::start(&[]);
    let always = InProcessServer::start(&["--ack", "stored", "--ack-timeout", "1ms"]);
    let rejected = r#""rejected":1,"errors":[{"index":1,"detail":"rps: missing"}]"#;
    let plain = format!("{{\"accepted\":1,\"anomalies\":0,{rejected}}}\n");
    let stored = format!("{{\"accepted\":1,\"anomalies\":0,{rejected},\"stored\":true}}\n");
    let cases = [
        (&usual, "/metrics", &plain),
        (&usual, "/metrics?ack=accepted", &plain),
        (&usual, "/metrics?ack=stored", &stored),
        (&always, "/metrics", &stored),
        (&always, "/metrics?ack=stored", &stored),
        (&always, "/metrics?ack=accepted", &plain),
    ];
    for ((server, target, expected), timestamp) in cases.into_iter().zip(1_700_000_000..) {
        let event = format!(r#"{{"timestamp":{timestamp},"cpu":1,"rps":2,"device_id":"d"}}"#);
        let answer = post_to(server, target, &format!("[{event},{{\"cpu\":1}}]"));
        assert_eq!((answer.status, answer.text()), (202, expected.as_str()), "{target}");
    }
    for target in ["/metrics?ack=stored", "/metrics?ack=accepted"] {
        let answer = post_to(&always, target, r#"{"cpu":1}"#);
        assert_eq!((answer.status, answer.json().get("stored")), (400, None), "{target}");
    }
    for target in ["/write?ack=stored", "/api/v2/write?ack=accepted"] {
        assert_eq!(post_to(&usual, target, "m cpu=1,rps=2").status, 204, "{target}");
    }
}

#[test]
fn an_acknowledgement_that_is_not_known_is_refused_before_anything_is_taken() {
    let running = InProcessServer::start(&[]);
    let good = r#"{"cpu":1,"rps":2}"#;
    for target in ["/metrics?ack=", "/metrics?ack=Stored", "/metrics?ack=all", "/metrics?ack"] {
        let answer = post_to(&running, target, good);
        assert_eq!(answer.status, 400, "{target}");
        assert_eq!(answer.json()["detail"], "ack: expected accepted or stored", "{target}");
    }
    let twice = post_to(&running, "/metrics?ack=stored&ack=stored", good);
    assert_eq!(twice.json()["detail"], "ack: expected once, found it again");
    let other = post_to(&running, "/metrics?acknowledge=stored", good);
    let expected = "query: the only parameter of this path is ack, found \"acknowledge\"";
    assert_eq!(other.json()["detail"], expected);
    let lines = post_to(&running, "/write?ack=yes", "m cpu=1,rps=2");
    assert_eq!(lines.text(), "{\"error\":\"ack: expected accepted or stored\"}\n");
    // A head alone is enough to know, while the body may still come.
    let head = "POST /metrics?ack=x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    let mut client = running.client();
    client.send(head.as_bytes());
    assert_eq!(client.receive().status, 400);
    let scraped = running.client().get("/metrics/prometheus");
    assert!(scraped.text().contains("\ncorepulse_events_accepted_total 0\n"));
}
