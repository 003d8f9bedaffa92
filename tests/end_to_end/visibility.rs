//! Visibility: an event that was answered is seen by every read after it, on any connection and
//! core.

use super::event::Event;
use super::json::Json;
use super::server::{analyze, body_of, connect_to_each_core, start};
use testkit::HttpClient;
use testkit::http_client::post_with;

/// Checks that both readings of `/analyze` end with the event that was answered as the nth.
fn check_seen(client: &mut HttpClient, event: &Event, number: usize) {
    let own = analyze(client, event.device_id.as_deref().unwrap());
    for text in [own, body_of(client, "/analyze")] {
        let json = Json(&text);
        let accepted = number as u64 + 1;
        assert_eq!(json.whole("totals.accepted"), accepted, "{text}");
        assert_eq!(json.number("cpu.last"), Some(event.values()[0]), "{text}");
        assert_eq!(json.text("window.to").as_ref(), Some(&event.shown), "{text}");
        assert_eq!(json.whole("window.count"), accepted.min(50), "{text}");
    }
}

#[test]
fn an_acknowledged_event_is_in_what_another_core_answers_next() {
    let server = start(2, &[]);
    let mut clients = connect_to_each_core(&server);
    for number in 0..500 {
        let event = Event::at(number, Some("seen"), [number as f64 / 8.0, 1.0]);
        // The writer changes every third time, the reader is the other core.
        let writer = number / 3 % 2;
        assert_eq!(clients[writer].post_without_type(event.json()).status, 202);
        check_seen(&mut clients[1 - writer], &event, number);
    }
}

#[test]
fn a_pipelined_reader_sees_what_was_posted_before_it() {
    let server = start(2, &[]);
    let mut client = server.client();
    for number in 0..200 {
        let event = Event::at(number, Some("seen"), [number as f64 / 8.0, 1.0]);
        let mut requests = post_with("", event.json().as_bytes());
        let targets = ["/analyze", "/metrics/prometheus", "/analyze?device_id=seen"];
        for target in targets {
            let get = format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n");
            requests.extend_from_slice(get.as_bytes());
        }
        let key = format!("GET /metrics/seen:{} HTTP/1.1\r\nHost: t\r\n\r\n", event.timestamp);
        requests.extend_from_slice(key.as_bytes());
        client.send(&requests);
        assert_eq!(client.receive().status, 202);
        let accepted = number + 1;
        let instance = client.receive().text().to_owned();
        assert_eq!(Json(&instance).whole("totals.accepted"), accepted as u64);
        assert_eq!(Json(&instance).number("cpu.last"), Some(event.values()[0]));
        let scrape = client.receive().text().to_owned();
        let line = format!("\ncorepulse_events_accepted_total {accepted}\n");
        assert!(scrape.contains(&line), "{accepted} in {scrape}");
        let device = client.receive().text().to_owned();
        assert_eq!(Json(&device).number("cpu.last"), Some(event.values()[0]));
        let stored = client.receive();
        assert_eq!(stored.status, 200, "{}", stored.text());
    }
}
