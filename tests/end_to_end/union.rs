//! `series: "all"`: the last fifty events that the instance accepted, of all devices and cores.

use super::event::{Event, array, ndjson};
use super::json::Json;
use super::naive::All;
use super::server::{body_of, connect_to_each_core, start};
use super::shape::Shape;
use testkit::{Exposition, HttpClient};

/// Two devices with a window, two that are refused one, and none.
const SENDERS: [Option<&str>; 5] = [Some("a"), None, Some("b"), Some("c"), Some("d")];

/// Events of senders in no regular order, with an outlier now and then.
fn events(count: usize) -> Vec<Event> {
    let mut random = fastrand::Rng::with_seed(7);
    let event = |second| {
        let cpu = if random.u8(..) < 8 { 1e6 } else { 40.0 + random.f64() };
        let rps = if random.u8(..) < 8 { 1e12 } else { random.f64() * 1e3 };
        // The first two get the room for devices.
        let sender = if second < 4 { second % 4 } else { random.usize(..SENDERS.len()) };
        Event::at(second, SENDERS[sender], [cpu, rps])
    };
    (0..count).map(event).collect()
}

fn accept(client: &mut HttpClient, body: &str, count: usize) {
    let response = client.post_without_type(body);
    assert_eq!(response.status, 202, "{}", response.text());
    assert_eq!(Json(response.text()).whole("accepted"), count as u64);
}

/// Sends singles by the clients in turn, each answered before the next, and checks the window
/// after every one.
fn follow(clients: &mut [HttpClient]) -> All {
    let mut all = All::default();
    for (number, event) in events(400).into_iter().enumerate() {
        let count = clients.len();
        accept(&mut clients[number % count], &event.json(), 1);
        all.events.push(event);
        // The other connection asks: what is answered is seen by everyone.
        let text = body_of(&mut clients[(number + 1) % count], "/analyze");
        all.check(&text);
        let total = all.events.len() as u64;
        assert_eq!(Json(&text).whole("totals.accepted"), total, "{text}");
    }
    all
}

/// Checks that both devices past the limit have no window, and that their events were counted.
fn check_refused(client: &mut HttpClient, all: &All) {
    for (id, status) in [("a", 200), ("b", 200), ("c", 404), ("d", 404)] {
        let response = client.get(&format!("/analyze?device_id={id}"));
        assert_eq!(response.status, status, "{id}: {}", response.text());
    }
    let is_refused = |event: &&Event| matches!(event.device_id.as_deref(), Some("c" | "d"));
    let refused = all.events.iter().filter(is_refused).count();
    assert!(refused > 50);
    let text = body_of(client, "/metrics/prometheus");
    let line = format!("\ncorepulse_devices_refused_total {refused}\n");
    assert!(text.contains(&line), "{refused} in {text}");
    assert!(text.contains("\ncorepulse_devices 2\n"), "{text}");
    // The gauge is the same mean by another way.
    let scrape = Exposition::parse(&text);
    let analyze = body_of(client, "/analyze");
    for name in Shape::standard().fields().map(|field| &field.name) {
        let gauge = scrape.value(&format!("corepulse_rolling_average{{field=\"{name}\"}}"));
        let mean = Json(&analyze).number(&format!("{name}.rolling_average"));
        assert_eq!(Some(gauge), mean, "{name}");
    }
    all.check_averages(&scrape);
}

#[test]
fn without_events_there_are_counts_and_no_numbers() {
    let server = start(2, &[]);
    let text = body_of(&mut server.client(), "/analyze");
    let json = Json(&text);
    assert_eq!(json.whole("window.count"), 0, "{text}");
    assert_eq!(json.text("window.from").or(json.text("window.to")), None);
    All::default().check(&text);
    for count in ["points", "episodes", "last_minute"] {
        assert_eq!(json.whole(&format!("anomalies.{count}")), 0, "{text}");
    }
    assert_eq!(json.at("anomalies.recent").0, "[]", "{text}");
    assert_eq!(json.whole("totals.accepted"), 0, "{text}");
}

#[test]
fn one_connection_gives_its_last_fifty() {
    let server = start(1, &["--max-devices=2"]);
    let mut clients = [server.client()];
    let all = follow(&mut clients);
    check_refused(&mut clients[0], &all);
}

#[test]
fn two_cores_in_lock_step_give_the_last_fifty_in_that_order() {
    let server = start(2, &["--max-devices=2"]);
    let mut clients = connect_to_each_core(&server);
    let all = follow(&mut clients);
    check_refused(&mut clients[0], &all);
}

#[test]
fn batches_of_every_size_count_event_by_event() {
    let server = start(2, &["--max-devices=2"]);
    let mut clients = connect_to_each_core(&server);
    let mut all = All::default();
    let events = events(3000);
    let mut rest = events.as_slice();
    for (number, size) in [1, 2, 3, 47, 49, 50, 51, 99, 400, 5, 16].into_iter().cycle().enumerate()
    {
        let Some((batch, after)) = rest.split_at_checked(size) else {
            break;
        };
        rest = after;
        let body = if number % 2 == 0 { ndjson(batch) } else { array(batch) };
        accept(&mut clients[number % 3 % 2], &body, size);
        all.events.extend_from_slice(batch);
        all.check(&body_of(&mut clients[number % 2], "/analyze"));
    }
    assert!(all.events.len() > 2000);
}

#[test]
fn rejected_events_are_in_no_window() {
    let server = start(2, &[]);
    let mut client = server.client();
    let mut all = All::default();
    for event in events(120) {
        let body = format!("{}\n{{\"cpu\":1e9,\"rps\":1}}\n[]\n", event.json());
        let response = client.post_without_type(&body);
        assert_eq!(Json(response.text()).whole("rejected"), 2, "{}", response.text());
        all.events.push(event);
        all.check(&body_of(&mut client, "/analyze"));
    }
}
