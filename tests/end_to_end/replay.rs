//! The recorded series as devices, by every form, over one and many cores and connections: each
//! number that comes out equals the reference.

use super::event::{Event, array, ndjson};
use super::json::Json;
use super::naive::{All, Device, Point, check_recent};
use super::server::{analyze, body_of, connect_to_each_core, start};
use flate2::{Compression, write::GzEncoder};
use std::io::Write;
use std::thread;
use testkit::http_client::post_with;
use testkit::{HttpClient, HttpResponse};

const CPU_SERIES: [&str; 4] = [
    "ec2_cpu_utilization_24ae8d",
    "ec2_cpu_utilization_5f5533",
    "ec2_cpu_utilization_825cc2",
    "rds_cpu_utilization_cc0c53",
];
const ROWS: usize = 4032;

#[derive(Clone, Copy, Debug)]
enum Form {
    Single,
    Array,
    Ndjson,
    Gzip,
}

/// A device with what the reference says of it, event by event.
struct Recorded {
    device: Device,
    /// The anomalies of each row.
    anomalies: Vec<Vec<Point>>,
}

/// A device under the name that it has in one run.
struct Sender<'a> {
    id: String,
    events: Vec<Event>,
    recorded: &'a Recorded,
}

fn column(name: &str) -> Vec<(String, String)> {
    let path = format!("{}/tests/data/nab/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let mut reader = csv::Reader::from_path(path).unwrap();
    let rows = reader.records().map(Result::unwrap);
    rows.map(|row| (row[0].to_owned(), row[1].to_owned())).collect()
}

/// The four series beside the requests, their first rows.
fn recorded(rows: usize) -> Vec<Recorded> {
    let requests = column("elb_request_count_8c0756");
    let device = |name: &&str| {
        let own = column(name);
        assert_eq!((own.len(), requests.len()), (ROWS, ROWS));
        let mut device = Device::default();
        let mut anomalies = Vec::new();
        for ((time, cpu), (_, rps)) in own.into_iter().zip(&requests).take(rows) {
            let time = time.replace(' ', "T");
            let event = Event {
                device_id: None,
                timestamp: format!("\"{time}Z\""),
                shown: format!("{time}.000Z"),
                values: [cpu.parse().unwrap(), rps.parse().unwrap()],
                literals: [cpu, rps.clone()],
            };
            anomalies.push(device.take(&event).to_vec());
        }
        assert!(device.points.len() > 50 && device.episodes() > 10);
        Recorded { device, anomalies }
    };
    CPU_SERIES.iter().map(device).collect()
}

/// So many devices, the series by turns.
fn senders(recorded: &[Recorded], count: usize) -> Vec<Sender<'_>> {
    let sender = |(number, recorded): (usize, &'_ Recorded)| {
        let id = format!("{}-{}", CPU_SERIES[number % 4], number / 4);
        let mut events = recorded.device.events.clone();
        for event in &mut events {
            event.device_id = Some(id.clone());
        }
        (id, events)
    };
    let devices = recorded.iter().cycle().take(count).enumerate();
    devices
        .map(|(number, recorded)| {
            let (id, events) = sender((number, recorded));
            Sender { id, events, recorded }
        })
        .collect()
}

/// The events of one connection in the order of their rows: each with its device and its row.
fn stream<'a>(senders: &'a [Sender<'a>]) -> Vec<(&'a Sender<'a>, usize)> {
    let rows = senders[0].events.len();
    let row = |row| senders.iter().map(move |sender| (sender, row));
    (0..rows).flat_map(row).collect()
}

fn send(client: &mut HttpClient, form: Form, chunk: &[(&Sender<'_>, usize)]) -> HttpResponse {
    let events = chunk.iter().map(|(sender, row)| &sender.events[*row]);
    match form {
        Form::Single => client.post_without_type(chunk[0].0.events[chunk[0].1].json()),
        Form::Array => client.post_without_type(array(events)),
        Form::Ndjson => client.post_without_type(ndjson(events)),
        Form::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(ndjson(events).as_bytes()).unwrap();
            client.request(&post_with("Content-Encoding: gzip\r\n", &encoder.finish().unwrap()))
        }
    }
}

/// Sends all of a connection and checks each answer; the sum of their `anomalies`.
fn drive(mut client: HttpClient, form: Form, senders: &[Sender<'_>]) -> u64 {
    let batch = match form {
        Form::Single => 1,
        // No divisor of anything, and more than `anomalous` can list.
        Form::Array => 1709,
        Form::Ndjson | Form::Gzip => 997,
    };
    let mut anomalies = 0;
    for chunk in stream(senders).chunks(batch) {
        let response = send(&mut client, form, chunk);
        assert_eq!(response.status, 202, "{}", response.text());
        anomalies += check_answer(response.text(), chunk);
    }
    anomalies
}

/// Checks the answer to these events, and gives its `anomalies`.
fn check_answer(text: &str, chunk: &[(&Sender<'_>, usize)]) -> u64 {
    let mut expected = Vec::new();
    for (index, (sender, row)) in chunk.iter().enumerate() {
        let points = sender.recorded.anomalies[*row].iter();
        expected.extend(points.map(|point| (index, sender, point)));
    }
    let accepted = chunk.len();
    if expected.is_empty() {
        assert_eq!(text, format!("{{\"accepted\":{accepted},\"anomalies\":0}}\n"));
        return 0;
    }
    let json = Json(text);
    assert_eq!(json.whole("accepted"), accepted as u64, "{text}");
    assert_eq!(json.whole("anomalies"), expected.len() as u64, "{text}");
    let listed = json.at("anomalous").elements();
    assert_eq!(listed.len(), expected.len().min(100), "{text}");
    for (found, (index, sender, point)) in listed.into_iter().zip(&expected) {
        assert_eq!(found.whole("index"), *index as u64, "{}", found.0);
        point.check(found, Some(&sender.id));
    }
    json.whole("anomalies")
}

fn replay(recorded: &[Recorded], workers: usize, connections: usize, form: Form) {
    let run = format!("{form:?}, {workers} workers, {connections} connections");
    let server = start(workers, &[]);
    let senders = senders(recorded, connections.max(4));
    let per_connection = senders.len() / connections;
    let anomalies: u64 = thread::scope(|scope| {
        let shares = senders.chunks(per_connection);
        let threads = shares.map(|share| {
            let client = server.client();
            scope.spawn(move || drive(client, form, share))
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let points: usize = senders.iter().map(|s| s.recorded.device.points.len()).sum();
    assert_eq!(anomalies, points as u64, "{run}");
    let mut client = server.client();
    for sender in &senders {
        let text = analyze(&mut client, &sender.id);
        sender.recorded.device.check(&sender.id, &text);
    }
    let text = body_of(&mut client, "/analyze");
    check_totals(Json(&text), &senders);
    if connections == 1 {
        check_order(&text, &senders);
    }
    let report = server.stop();
    let sent: usize = senders.iter().map(|sender| sender.events.len()).sum();
    assert_eq!(report.store.accepted, sent as u64, "{run}");
    assert_eq!((report.walked_pending, report.threads_failed), (0, 0), "{run}");
}

/// Checks the sums over all devices.
fn check_totals(json: Json<'_>, senders: &[Sender<'_>]) {
    let sum = |count: fn(&Device) -> u64| -> u64 {
        senders.iter().map(|s| count(&s.recorded.device)).sum()
    };
    let sent = sum(|device| device.events.len() as u64);
    let points = sum(|device| device.points.len() as u64);
    let text = json.0;
    assert_eq!(json.whole("anomalies.points"), points, "{text}");
    assert_eq!(json.whole("anomalies.last_minute"), points, "{text}");
    assert_eq!(json.whole("anomalies.episodes"), sum(Device::episodes), "{text}");
    assert_eq!(json.whole("totals.accepted"), sent, "{text}");
    assert_eq!(json.whole("totals.rejected"), 0, "{text}");
    assert_eq!(json.whole("totals.devices"), senders.len() as u64, "{text}");
    assert_eq!(json.whole("window.count"), 50, "{text}");
    // Every device's timestamps differ, so no key is written twice.
    assert_eq!(json.whole("store.stored"), sent, "{text}");
    for none in ["pending", "coalesced", "dropped"] {
        assert_eq!(json.whole(&format!("store.{none}")), 0, "{text}");
    }
}

/// Of one connection the order is known: checks what depends on it.
fn check_order(text: &str, senders: &[Sender<'_>]) {
    let mut all = All::default();
    let mut points = Vec::new();
    for (sender, row) in stream(senders) {
        all.events.push(sender.events[row].clone());
        for point in &sender.recorded.anomalies[row] {
            points.push(point.of(sender.events[row].clone()));
        }
    }
    all.check(text);
    check_recent(Json(text), None, points.iter());
}

fn replay_everywhere(form: Form, rows: usize) {
    let recorded = recorded(rows);
    for workers in [1, 2] {
        for connections in [1, 16] {
            replay(&recorded, workers, connections, form);
        }
    }
}

#[test]
fn singles_equal_the_reference() {
    replay_everywhere(Form::Single, ROWS);
}

#[test]
fn arrays_equal_the_reference() {
    replay_everywhere(Form::Array, ROWS);
}

#[test]
fn ndjson_equals_the_reference() {
    replay_everywhere(Form::Ndjson, ROWS);
}

#[test]
fn gzip_equals_the_reference() {
    replay_everywhere(Form::Gzip, ROWS);
}

#[test]
fn a_device_that_changes_cores_with_each_event_equals_the_reference() {
    let recorded = recorded(1500);
    let senders = senders(&recorded, 4);
    let server = start(2, &[]);
    let mut clients = connect_to_each_core(&server);
    let mut anomalies = 0;
    for (turn, event) in stream(&senders).into_iter().enumerate() {
        // Five events each: a device comes by both cores, as four devices take turns.
        let client = &mut clients[turn / 5 % 2];
        let response = send(client, Form::Single, &[event]);
        anomalies += check_answer(response.text(), &[event]);
    }
    let text = body_of(&mut clients[0], "/analyze");
    assert_eq!(Json(&text).whole("anomalies.points"), anomalies);
    check_totals(Json(&text), &senders);
    check_order(&text, &senders);
    for sender in &senders {
        let text = analyze(&mut clients[1], &sender.id);
        sender.recorded.device.check(&sender.id, &text);
    }
}
