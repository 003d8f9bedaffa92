//! Servers of other fields, with gaps and without: every number equals the reference, whatever form
//! a body has and however many cores there are.

use std::collections::BTreeMap;

use super::event::{Event, Reading};
use super::forms::Form;
use super::json::Json;
use super::naive::{All, Device, Rules, check_counters};
use super::recorded::{Recorded, Run, replay};
use super::server::{analyze, body_of, connect_to_each_core, start_for};
use super::shape::{Field, FieldShape, Names, Shape, optional, required};
use testkit::{Exposition, HttpClient};

const ROWS: usize = 260;
const DEVICES: usize = 3;

/// The share of events that have an optional field, by the place of the field and the device. The
/// last device never sends the last field.
fn share(shape: &'static Shape, field: Field, device: usize) -> f64 {
    let is_last = field.index + 1 == shape.fields().len();
    match (field.index + device) % 3 {
        _ if field.is_required => 1.0,
        _ if is_last && device + 1 == DEVICES => 0.0,
        0 => 0.95,
        1 => 0.4,
        _ => 0.1,
    }
}

/// The text of a value of a field, at a second: of another kind for each field.
fn literal(field: Field, second: usize, random: &mut fastrand::Rng) -> String {
    let noise = random.f64();
    let is_spike = random.u8(..) < 6;
    match field.index % 5 {
        0 if is_spike => format!("{:.2}", 70.0 + 10.0 * noise),
        0 => format!("{:.4}", 20.0 + noise),
        // It stands still, but for steps of which some are too small to mean anything.
        1 if is_spike => format!("{:.3}", 21.5 + noise),
        1 => "21.50".to_owned(),
        2 => format!("{:e}", 100.0 - second as f64 / 100.0 + noise / 100.0),
        3 if is_spike => "0".to_owned(),
        3 => format!("{:.1}", 1e9 * (0.5 + noise)),
        _ => (60.0 + 30.0 * noise * noise * noise).trunc().to_string(),
    }
}

/// An event of a device: some of the fields, in any order.
pub(crate) fn event(
    shape: &'static Shape,
    second: usize,
    device: usize,
    random: &mut fastrand::Rng,
) -> Event {
    let (mut readings, mut nulls) = (Vec::new(), Vec::new());
    for field in shape.fields() {
        if random.f64() < share(shape, field, device) {
            readings.push(Reading::of(field, literal(field, second, random)));
        } else if random.u8(..) < 40 {
            nulls.push(field);
        }
    }
    if readings.is_empty() {
        return event(shape, second, device, random);
    }
    random.shuffle(&mut readings);
    let first = random.usize(..2 + readings.len() + nulls.len());
    let is_loud = random.u8(..) < 20;
    let names = shape.names.map(|names| names[random.usize(..names.len())]);
    Event { nulls, first, is_loud, names, ..Event::of(second, None, readings) }
}

fn recorded(shape: &'static Shape) -> Vec<Recorded> {
    let mut random = fastrand::Rng::with_seed(shape.fields().len() as u64);
    let device = |device| {
        let events = (0..ROWS).map(|second| event(shape, second, device, &mut random));
        Recorded::of("device", shape, events)
    };
    let recorded: Vec<_> = (0..DEVICES).map(device).collect();
    let points: usize = recorded.iter().map(|recorded| recorded.device.points.len()).sum();
    let episodes: u64 = recorded.iter().map(|recorded| recorded.device.episodes()).sum();
    assert!(episodes > 5 && episodes < points as u64, "{episodes} of {points}");
    recorded
}

/// A server that is followed: after every request all of its numbers are checked.
struct Followed {
    clients: Vec<HttpClient>,
    all: All,
    devices: BTreeMap<String, Device>,
    requests: usize,
}

impl Followed {
    /// Sends these events in one request, and checks what is then said of everything.
    fn send(&mut self, form: Form, is_gzip: bool, events: &[Event]) {
        let Self { clients, all, devices, requests } = self;
        *requests += 1;
        let core = *requests % clients.len();
        let response = form.send(&mut clients[core], is_gzip, events.iter());
        let mut anomalies = 0;
        for event in events {
            let id = event.device_id.clone().unwrap();
            let new = || Device::under(all.rules, all.shape);
            anomalies += devices.entry(id).or_insert_with(new).take(event).len();
            all.events.push(event.clone());
        }
        if !form.is_silent() {
            assert_eq!(Json(response.text()).whole("anomalies"), anomalies as u64);
        }
        // Another core answers.
        let next = (core + 1) % clients.len();
        let client = &mut clients[next];
        all.check(&body_of(client, "/analyze"));
        for event in events.iter().rev().take(DEVICES) {
            let id = event.device_id.as_deref().unwrap();
            devices[id].check(id, &analyze(client, id));
            assert_eq!(body_of(client, &event.key()), event.stored());
        }
    }

    /// Checks what is exported, and that each event is stored as it came.
    fn check_at_rest(&mut self) {
        let Self { clients, all, devices, .. } = self;
        let client = &mut clients[0];
        let scrape = Exposition::request(client);
        all.check_averages(&scrape);
        check_counters(&scrape, all.shape, devices.values());
        for event in &all.events {
            assert_eq!(body_of(client, &event.key()), event.stored());
        }
    }
}

/// Sends the events in requests of all sizes and forms, to a server with these flags and rules.
fn follow(recorded: &[Recorded], workers: usize, flags: &[&str], rules: Rules) {
    let shape = recorded[0].device.shape;
    let server = start_for(shape, workers, flags);
    let mut followed = Followed {
        clients: connect_to_each_core(&server),
        all: All::under(rules, shape),
        devices: BTreeMap::new(),
        requests: 0,
    };
    let events: Vec<Event> = (0..ROWS)
        .flat_map(|row| recorded.iter().enumerate().map(move |device| (row, device)))
        .map(|(row, (number, recorded))| Event {
            device_id: Some(format!("d{number}")),
            ..recorded.device.events[row].clone()
        })
        .collect();
    let mut rest = events.as_slice();
    let mut random = fastrand::Rng::with_seed(workers as u64);
    while !rest.is_empty() {
        let size = [1, 1, 1, 2, 5, 20, 130][random.usize(..7)].min(rest.len());
        let (batch, after) = rest.split_at(size);
        rest = after;
        let place = random.usize(..Form::BATCHES.len() + usize::from(size == 1));
        let form = Form::BATCHES.get(place).copied().unwrap_or(Form::Single);
        followed.send(form, random.bool(), batch);
    }
    followed.check_at_rest();
}

fn check(shape: &'static Shape) {
    let recorded = recorded(shape);
    for workers in [1, 2] {
        for (form, batch) in
            Form::BATCHES.map(|form| (form, 97)).into_iter().chain([(Form::Single, 1)])
        {
            for (is_gzip, connections) in [(false, 1), (true, 3)] {
                replay(&recorded, Run { workers, connections, form, is_gzip, batch });
            }
        }
        follow(&recorded, workers, &[], Rules::default());
    }
}

#[test]
fn the_default() {
    check(Shape::standard());
}

#[test]
fn three_optional_fields_with_gaps() {
    check(Shape::leak(&[
        optional("temperature").within("-40", "85.5"),
        optional("humidity").within("0", "1e3").deviating(0.45),
        optional("battery"),
    ]));
}

#[test]
fn sixteen_fields() {
    // Some are required; they come first in all answers.
    let name = |number| format!("field_{number:x}");
    let fields: Vec<FieldShape> = (0..16)
        .map(|number| match number % 4 {
            1 => required(&name(number)).within("-1e300", "1e300"),
            2 => optional(&name(number)).deviating(f64::from(number) / 40.0),
            _ => optional(&name(number)),
        })
        .collect();
    check(Shape::leak(&fields));
}

#[test]
fn names_of_one_and_of_64_bytes() {
    let long = |last: &str| format!("{:_<63}{last}", "Long");
    check(Shape::leak(&[
        optional("x"),
        required(&long("a")),
        optional(&long("b")).deviating(0.3),
        optional("7"),
        optional(&long("")),
        required("_"),
    ]));
}

#[test]
fn names_that_share_their_first_eight_bytes() {
    let fields = [
        required("temperature_in").within("0", "100"),
        optional("temperature_out"),
        optional("Temperat"),
        optional("temperature"),
        required("temperat1"),
        optional("temperature_in_2"),
        optional("temperature_in_the_cellar_of_the_house").deviating(5.0),
        optional("temperature_in_the_cellar_of_the_hut"),
    ];
    let names: Names = [&["temperature_id", "t"], &["temperature_time", "temperature_in_time"]];
    check(Shape::leak_with(&fields, names));
}

#[test]
fn numbers_that_are_hardly_finite_are_answered_in_json() {
    let shape = Shape::leak(&[required("huge"), optional("tiny")]);
    let server = start_for(shape, 2, &[]);
    let mut client = server.client();
    let [huge, tiny] = shape.fields().collect::<Vec<_>>().try_into().unwrap();
    for second in 0..120 {
        let literals = [
            ["1.7976931348623157e308", "5e-324"],
            ["-1.7976931348623157e308", "-0.0"],
            ["1e200", "1e-400"],
        ][second % 3];
        let readings = vec![Reading::of(huge, literals[0]), Reading::of(tiny, literals[1])];
        let event = Event::of(second, Some("extreme"), readings);
        let response = client.post_without_type(event.json());
        assert_eq!(response.text(), "{\"accepted\":1,\"anomalies\":0}\n");
        for text in [analyze(&mut client, "extreme"), body_of(&mut client, "/analyze")] {
            let members = Json(&text).members();
            let (huge, tiny) = (members["huge"].members(), members["tiny"].members());
            // What is too large for a double is null.
            assert!(huge.values().all(|number| !number.0.contains("inf")), "{text}");
            assert_eq!(huge["last"].value(), Some(event.values()[0]), "{text}");
            assert_eq!(huge["count"].value(), Some((second + 1).min(50) as f64), "{text}");
            assert_eq!(tiny["last"].value(), Some(event.values()[1]), "{text}");
            assert_eq!(tiny["stddev"].value(), Some(0.0), "{text}");
        }
        assert_eq!(body_of(&mut client, &event.key()), event.stored());
    }
    let scrape = Exposition::request(&mut client);
    assert_eq!(scrape.sum("corepulse_anomalies_total"), 0.0);
}

#[test]
fn the_flags_decide_how_each_field_is_judged() {
    let flags = ["--window=7", "--z-threshold=2.75", "--min-samples=3", "--cooldown=2"];
    let rules = Rules { window: 7, threshold: 2.75, min_samples: 3, cooldown: 2 };
    let fields = [optional("a"), optional("b").deviating(0.25), required("c"), optional("d")];
    follow(&recorded(Shape::leak(&fields)), 2, &flags, rules);
    // Without required fields a device has nothing but what it sends.
    let fields = [optional("a"), optional("b").deviating(0.25), optional("d")];
    follow(&recorded(Shape::leak(&fields)), 2, &flags, rules);
}

#[test]
fn the_fields_of_a_device_without_a_window_count_in_that_of_all() {
    let shape = Shape::leak(&[optional("a"), required("b"), optional("c")]);
    let server = start_for(shape, 2, &["--max-devices=1"]);
    let mut clients = connect_to_each_core(&server);
    let mut all = All::under(Rules::default(), shape);
    let mut held = Device::under(Rules::default(), shape);
    // It is as if it never had enough values.
    let never = Rules { min_samples: usize::MAX, ..Rules::default() };
    let mut refused = Device::under(never, shape);
    let mut random = fastrand::Rng::with_seed(9);
    for second in 0..300 {
        let device = if second == 0 { 0 } else { random.usize(..2) };
        let mut event = event(shape, second, device, &mut random);
        event.device_id = Some(["held", "refused"][device].to_owned());
        let response = Form::Single.send(&mut clients[second % 2], false, [&event].into_iter());
        let json = Json(response.text());
        assert_eq!(json.find("unjudged").is_some(), device == 1, "{}", json.0);
        let anomalies = [&mut held, &mut refused][device].take(&event).len();
        assert_eq!(json.whole("anomalies"), anomalies as u64, "{}", json.0);
        all.events.push(event);
        all.check(&body_of(&mut clients[(second + 1) % 2], "/analyze"));
        held.check("held", &analyze(&mut clients[second % 2], "held"));
    }
    assert_eq!(clients[0].get("/analyze?device_id=refused").status, 404);
    let scrape = Exposition::request(&mut clients[0]);
    all.check_averages(&scrape);
    check_counters(&scrape, shape, [&held, &refused]);
}

#[test]
fn the_largest_event_that_is_possible_is_read_back() {
    let name = |number| format!("{number:_>64}");
    let fields: Vec<FieldShape> = (0..16).map(|number| optional(&name(number))).collect();
    let shape = Shape::leak(&fields);
    let server = start_for(shape, 1, &["--memory-store=4MiB"]);
    let mut client = server.client();
    let id = "d".repeat(128);
    let event = |second: usize| {
        let literal = |field: Field| format!("{}.{:0>124}", field.index % 10, second);
        let readings = shape.fields().map(|field| Reading::of(field, literal(field)));
        let mut event = Event::of(second, Some(&id), readings.collect());
        assert!(event.readings[10].literal.len() == 126);
        event.first = second;
        event
    };
    let forms = Form::BATCHES.into_iter().chain([Form::Single]).cycle();
    for (second, form) in (0..2000).zip(forms) {
        form.send(&mut client, second % 3 == 0, [&event(second)].into_iter());
        assert_eq!(body_of(&mut client, &event(second).key()), event(second).stored(), "{form:?}");
    }
    // Of two thousand some three kilobytes each a part is left, of which the last.
    let [oldest, newest] = [0, 1999].map(|second| client.get(&event(second).key()).status);
    assert_eq!([oldest, newest], [404, 200]);
}
