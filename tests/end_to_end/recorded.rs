//! Recorded devices and their replay: by every form, over one and many cores and connections, each
//! number that comes out equals the reference.

use super::event::Event;
use super::forms::Form;
use super::json::Json;
use super::naive::{All, Device, Point, Rules, check_counters, check_recent};
use super::server::{analyze, body_of, start_for};
use super::shape::Shape;
use std::thread;
use testkit::{Exposition, HttpClient};

/// A device with what the reference says of it, event by event.
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) device: Device,
    /// The anomalies of each event.
    anomalies: Vec<Vec<Point>>,
}

/// A device under the name that it has in one run.
pub(crate) struct Sender<'a> {
    pub(crate) id: String,
    events: Vec<Event>,
    pub(crate) recorded: &'a Recorded,
}

/// The requests of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) workers: usize,
    pub(crate) connections: usize,
    pub(crate) form: Form,
    pub(crate) is_gzip: bool,
    /// Events of a request.
    pub(crate) batch: usize,
}

impl Recorded {
    /// Of these events, which have no device id yet.
    pub(crate) fn of(
        name: &str,
        shape: &'static Shape,
        events: impl Iterator<Item = Event>,
    ) -> Self {
        let mut device = Device::under(Rules::default(), shape);
        let anomalies = events.map(|event| device.take(&event).to_vec()).collect();
        Self { name: name.to_owned(), device, anomalies }
    }
}

/// So many devices, the recorded ones by turns.
pub(crate) fn senders(recorded: &[Recorded], count: usize) -> Vec<Sender<'_>> {
    let sender = |number| {
        let recorded: &Recorded = &recorded[number % recorded.len()];
        let id = format!("{}-{number}", recorded.name);
        let mut events = recorded.device.events.clone();
        for event in &mut events {
            event.device_id = Some(id.clone());
        }
        Sender { id, events, recorded }
    };
    (0..count).map(sender).collect()
}

/// The events of one connection in the order of their rows: each with its device and its row.
pub(crate) fn stream<'a>(senders: &'a [Sender<'a>]) -> Vec<(&'a Sender<'a>, usize)> {
    let rows = senders.first().map_or(0, |sender| sender.events.len());
    let row = |row| senders.iter().map(move |sender| (sender, row));
    (0..rows).flat_map(row).collect()
}

/// Sends a chunk of such a stream and checks the answer; its anomalies.
pub(crate) fn send(client: &mut HttpClient, run: Run, chunk: &[(&Sender<'_>, usize)]) -> u64 {
    let events = chunk.iter().map(|(sender, row)| &sender.events[*row]);
    let response = run.form.send(client, run.is_gzip, events);
    if run.form.is_silent() {
        assert_eq!(response.text(), "");
        let rows = chunk.iter().map(|(sender, row)| &sender.recorded.anomalies[*row]);
        return rows.map(|points| points.len() as u64).sum();
    }
    check_answer(response.text(), chunk)
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

/// Sends all of a connection; the sum of the answers' `anomalies`.
fn drive(mut client: HttpClient, run: Run, senders: &[Sender<'_>]) -> u64 {
    stream(senders).chunks(run.batch).map(|chunk| send(&mut client, run, chunk)).sum()
}

/// Replays the devices, twice or more of each where there are more connections than devices.
pub(crate) fn replay(recorded: &[Recorded], run: Run) {
    let shape = recorded[0].device.shape;
    let server = start_for(shape, run.workers, &[]);
    check_order(&mut server.client(), shape, &[]);
    let senders = senders(recorded, run.connections.max(recorded.len()));
    let per_connection = senders.len() / run.connections;
    let anomalies: u64 = thread::scope(|scope| {
        let shares = senders.chunks(per_connection);
        let threads = shares.map(|share| {
            let client = server.client();
            scope.spawn(move || drive(client, run, share))
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let points: usize = senders.iter().map(|s| s.recorded.device.points.len()).sum();
    assert_eq!(anomalies, points as u64, "{run:?}");
    check_at_rest(&mut server.client(), shape, &senders);
    if run.connections == 1 {
        check_order(&mut server.client(), shape, &senders);
    }
    let report = server.stop();
    let sent: usize = senders.iter().map(|sender| sender.events.len()).sum();
    assert_eq!(report.store.accepted, sent as u64, "{run:?}");
    assert_eq!((report.walked_pending, report.threads_failed), (0, 0), "{run:?}");
}

/// Checks everything that does not depend on the order of the devices.
pub(crate) fn check_at_rest(
    client: &mut HttpClient,
    shape: &'static Shape,
    senders: &[Sender<'_>],
) {
    for sender in senders {
        let text = analyze(client, &sender.id);
        sender.recorded.device.check(&sender.id, &text);
    }
    check_totals(Json(&body_of(client, "/analyze")), senders);
    check_counters(&Exposition::request(client), shape, of(senders));
}

fn of<'a>(senders: &'a [Sender<'_>]) -> impl Iterator<Item = &'a Device> {
    senders.iter().map(|sender| &sender.recorded.device)
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

/// Checks what depends on the order, which is known of one connection, or of several in lock-step.
pub(crate) fn check_order(client: &mut HttpClient, shape: &'static Shape, senders: &[Sender<'_>]) {
    let mut all = All::under(Rules::default(), shape);
    let mut points = Vec::new();
    for (sender, row) in stream(senders) {
        all.events.push(sender.events[row].clone());
        for point in &sender.recorded.anomalies[row] {
            points.push(point.of(sender.events[row].clone()));
        }
    }
    let text = body_of(client, "/analyze");
    all.check(&text);
    let scrape = Exposition::request(client);
    all.check_averages(&scrape);
    // As they are before the first event, too.
    check_counters(&scrape, shape, of(senders));
    check_recent(Json(&text), None, points.iter());
}
