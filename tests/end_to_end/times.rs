//! Timestamps: what moment each spelling means, what key it makes, and what is too far away.

use super::event::Event;
use super::json::Json;
use super::server::{analyze, body_of, connect_to_each_core, start};
use corepulse::metric::timestamp::Rfc3339;
use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};
use testkit::{Exposition, HttpClient};

/// The store's time to live, by default.
const TTL_MS: i64 = 300_000;
/// The furthest that an event may be ahead of the server's clock.
const AHEAD_MS: i64 = 600_000;
/// The server's clock is read once a turn, and asked again once a second.
const SLACK_MS: i64 = 2_000;

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn event(id: &str, timestamp: &str) -> Event {
    Event {
        device_id: Some(id.to_owned()),
        timestamp: timestamp.to_owned(),
        ..Event::at(0, None, [1.5, 2.0])
    }
}

/// The moment that `/analyze` shows for a device's newest event.
fn shown(client: &mut HttpClient, id: &str) -> String {
    let text = analyze(client, id);
    Json(&text).text("window.to").unwrap()
}

fn check_value(client: &mut HttpClient, id: &str, key: &str) {
    let expected =
        format!("{{\"timestamp\":{key},\"cpu\":1.5,\"rps\":2,\"device_id\":\"{id}\"}}\n");
    assert_eq!(body_of(client, &format!("/metrics/{id}:{key}")), expected);
}

#[test]
fn each_form_means_its_moment_and_makes_its_key() {
    let server = start(2, &[]);
    let mut client = server.client();
    let cases = [
        // As sent, the key's timestamp, the moment.
        ("1750000001", "1750000001", "2025-06-15T15:06:41.000Z"),
        ("1750000001234", "1750000001234", "2025-06-15T15:06:41.234Z"),
        ("1750000001234567", "1750000001234567", "2025-06-15T15:06:41.234Z"),
        ("1750000001234567890", "1750000001234567890", "2025-06-15T15:06:41.234Z"),
        ("\"2025-06-15T15:06:41Z\"", "1750000001000", "2025-06-15T15:06:41.000Z"),
        ("\"2025-06-15T17:06:41.234+02:00\"", "1750000001234", "2025-06-15T15:06:41.234Z"),
        ("\"2025-06-15T09:36:41.2349-05:30\"", "1750000001234900", "2025-06-15T15:06:41.234Z"),
        // As `time.time()`, `isoformat()`, `strftime("%z")` and other libraries write it.
        ("1750000001.234", "1750000001234", "2025-06-15T15:06:41.234Z"),
        ("1750000001.2345678", "1750000001234567800", "2025-06-15T15:06:41.234Z"),
        ("1.750000001e9", "1750000001000", "2025-06-15T15:06:41.000Z"),
        ("\"1750000001\"", "1750000001", "2025-06-15T15:06:41.000Z"),
        ("\"1750000001234\"", "1750000001234", "2025-06-15T15:06:41.234Z"),
        ("\"2025-06-15T15:06:41.234567\"", "1750000001234567", "2025-06-15T15:06:41.234Z"),
        ("\"2025-06-15 15:06:41\"", "1750000001000", "2025-06-15T15:06:41.000Z"),
        ("\"2025-06-15T15:06:41+0000\"", "1750000001000", "2025-06-15T15:06:41.000Z"),
        ("\"2025-06-15T15:06Z\"", "1749999960000", "2025-06-15T15:06:00.000Z"),
        ("0", "0", "1970-01-01T00:00:00.000Z"),
    ];
    for (number, (sent, key, moment)) in cases.into_iter().enumerate() {
        let id = format!("d{number}");
        let response = client.post_without_type(event(&id, sent).json());
        assert_eq!(response.text(), "{\"accepted\":1,\"anomalies\":0}\n", "{sent}");
        assert_eq!(shown(&mut client, &id), moment, "{sent}");
        check_value(&mut client, &id, key);
    }
    // Without a device the key is the timestamp alone.
    let lone = "{\"timestamp\":1750000001,\"cpu\":1e0,\"rps\":2.0}";
    assert_eq!(client.post_without_type(lone).status, 202);
    assert_eq!(body_of(&mut client, "/metrics/1750000001"), format!("{lone}\n"));
}

#[test]
fn from_and_to_are_the_least_and_the_greatest() {
    let server = start(2, &[]);
    let mut client = server.client();
    let days = ["2025-06-10", "2025-06-20", "2001-01-01", "2025-06-15"];
    let window: Vec<String> = (0..90)
        .map(|number| format!("{}T00:00:{:02}.000Z", days[number % 4], number % 60))
        .collect();
    for (number, moment) in window.iter().enumerate() {
        let sent = event("jumping", &format!("\"{moment}\""));
        assert_eq!(client.post_without_type(sent.json()).status, 202);
        let held = &window[(number + 1).saturating_sub(50)..=number];
        for text in [analyze(&mut client, "jumping"), body_of(&mut client, "/analyze")] {
            let json = Json(&text);
            assert_eq!(json.text("window.from").as_ref(), held.iter().min(), "{text}");
            assert_eq!(json.text("window.to").as_ref(), held.iter().max(), "{text}");
        }
    }
}

#[test]
fn moments_within_a_millisecond_are_keys_of_their_own() {
    let server = start(2, &[]);
    let mut client = server.client();
    let batch = ["000100", "000200"].map(|fraction| {
        event("fine", &format!("\"2025-06-15T15:06:41.{fraction}Z\"")).json() + "\n"
    });
    assert_eq!(client.post_without_type(batch.concat()).status, 202);
    for key in ["1750000001000100", "1750000001000200"] {
        check_value(&mut client, "fine", key);
    }
}

#[test]
fn without_a_timestamp_it_is_the_time_of_receipt_which_the_answer_tells() {
    let server = start(2, &[]);
    for (id, timestamp) in [("absent", ""), ("null", "\"timestamp\":null,")] {
        for client in &mut connect_to_each_core(&server) {
            let body = format!("{{{timestamp}\"device_id\":\"{id}\",\"cpu\":1.5,\"rps\":2}}");
            let before = wall_ms() - SLACK_MS;
            let response = client.post_without_type(&body);
            assert_eq!(response.status, 202);
            let given = Json(response.text()).whole("timestamp");
            let expected = format!("{{\"accepted\":1,\"anomalies\":0,\"timestamp\":{given}}}\n");
            assert_eq!(response.text(), expected);
            let received = i64::try_from(given / 1000).unwrap();
            assert!((before..=wall_ms() + SLACK_MS).contains(&received), "{received}");
            assert_eq!(shown(client, id), Rfc3339(received).to_string());
            check_value(client, id, &given.to_string());
        }
    }
}

#[test]
fn a_batch_without_timestamps_keeps_every_event() {
    let server = start(2, &[]);
    let mut clients = connect_to_each_core(&server);
    let line = "{\"device_id\":\"same\",\"cpu\":1,\"rps\":2}\n";
    for round in 1..=20 {
        for client in &mut clients {
            // Five of one device, and five of none.
            let lone = "{\"cpu\":1,\"rps\":2}\n";
            let response = client.post_without_type([line.repeat(5), lone.repeat(5)].concat());
            assert_eq!(response.text(), "{\"accepted\":10,\"anomalies\":0}\n");
        }
        let totals = server.state().store.stats().totals;
        assert_eq!((totals.stored, totals.coalesced), (20 * round, 0));
    }
}

#[test]
fn times_given_by_the_cores_are_never_the_same() {
    let server = start(2, &[]);
    let mut clients = connect_to_each_core(&server);
    let mut given = HashSet::new();
    for number in 0..1000 {
        let core = number % 2;
        let response =
            clients[core].post_without_type("{\"device_id\":\"same\",\"cpu\":1,\"rps\":2}");
        let timestamp = Json(response.text()).whole("timestamp");
        assert_eq!(timestamp % 2, core as u64, "{timestamp} by core {core}");
        assert!(given.insert(timestamp), "{timestamp} twice");
    }
    assert_eq!(server.state().store.stats().totals.coalesced, 0);
}

#[test]
fn late_events_are_taken_and_counted_and_future_ones_refused() {
    let server = start(2, &[]);
    let mut client = server.client();
    let cases = [
        ("now", 0, 202),
        ("a-bit-late", -TTL_MS + SLACK_MS * 10, 202),
        ("late", -TTL_MS - SLACK_MS, 202),
        ("very-late", -365 * 86_400_000, 202),
        ("a-bit-ahead", AHEAD_MS - SLACK_MS * 10, 202),
        ("ahead", AHEAD_MS + SLACK_MS, 400),
        ("far-ahead", 365 * 86_400_000, 400),
    ];
    for (id, offset_ms, status) in cases {
        let moment = wall_ms() + offset_ms;
        for sent in [moment.to_string(), format!("\"{}\"", Rfc3339(moment))] {
            let response = client.post_without_type(event(id, &sent).json());
            assert_eq!(response.status, status, "{id}: {}", response.text());
            if status == 202 {
                assert_eq!(shown(&mut client, id), Rfc3339(moment).to_string());
                check_value(&mut client, id, &moment.to_string());
            } else {
                let json = Json(response.text());
                assert_eq!(json.whole("rejected"), 1);
                let detail = json.at("errors").elements()[0].text("detail").unwrap();
                assert!(detail.starts_with("timestamp: "), "{detail}");
                let unknown = client.get(&format!("/analyze?device_id={id}"));
                assert_eq!(unknown.status, 404, "{}", unknown.text());
            }
        }
    }
    let scrape = Exposition::request(&mut client);
    assert_eq!(scrape.value("corepulse_events_late_total"), 4.0);
    assert_eq!(scrape.value("corepulse_events_rejected_total{reason=\"future\"}"), 4.0);
    assert_eq!(scrape.sum("corepulse_events_rejected_total"), 4.0);
    assert_eq!(scrape.value("corepulse_events_accepted_total"), 10.0);
}
