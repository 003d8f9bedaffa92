//! `--novelty` and `--stuck-after`: what is told is what the detector says of each series alone,
//! whichever form events come in and whichever core hears them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::in_process::InProcessServer;
use corepulse::analytics::novelty::judgement::{EventTime, Sensitivity};
use corepulse::analytics::novelty::local_day::LocalDay;
use corepulse::analytics::novelty::series_bands::SeriesBands;
use corepulse::analytics::novelty::{EXCESS_ON, EXCESS_QUIET, NoveltySettings};
use serde_json::{Value, json};
use testkit::http_client::post_with;
use testkit::{Exposition, HttpClient, get};

const FIELDS: [&str; 3] = ["cpu", "rps", "temperature"];
const START_MS: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 300_000;

/// An event, of which the last field may be absent.
struct Event {
    device: usize,
    ms: i64,
    values: [f64; 2],
    temperature: Option<f64>,
}

impl Event {
    fn value(&self, field: usize) -> Option<f64> {
        self.values.get(field).copied().or(self.temperature.filter(|_| field == 2))
    }
}

/// Returns two days of four devices, whose last day is another one than the first.
fn events() -> Vec<Event> {
    let mut random = fastrand::Rng::with_seed(19);
    let mut events = Vec::new();
    for step in 0..600 {
        for device in 0..4 {
            let shift = if step > 300 + 20 * device { 40.0 } else { 0.0 };
            let cpu = 20.0 + shift + (10.0 * random.f64()).round();
            let rps = if step == 550 { 90_000.0 } else { 1000.0 + (100.0 * random.f64()).round() };
            let temperature = (step % 3 == 0).then(|| 20.0 + random.f64().round());
            let ms = START_MS + step as i64 * STEP_MS;
            events.push(Event { device, ms, values: [cpu, rps], temperature });
        }
    }
    events
}

/// The form of a body.
#[derive(Clone, Copy, Debug)]
enum Form {
    Array,
    Ndjson,
    Csv,
    LineProtocol,
}

impl Form {
    /// Posts events. Returns the answer, or nothing where the form has none with content.
    fn post(self, client: &mut HttpClient, events: &[Event]) -> Value {
        let json = |event: &Event| {
            let mut json = json!({
                "device_id": format!("d{}", event.device), "timestamp": event.ms,
            });
            for (field, name) in FIELDS.iter().enumerate() {
                if let Some(value) = event.value(field) {
                    json[*name] = value.into();
                }
            }
            json
        };
        let (media_type, body) = match self {
            Self::Array => {
                ("application/json", Value::from_iter(events.iter().map(json)).to_string())
            }
            Self::Ndjson => {
                let lines = events.iter().map(|event| json(event).to_string() + "\n");
                ("application/x-ndjson", lines.collect())
            }
            Self::Csv => {
                let mut body = "device_id,timestamp,cpu,rps,temperature\n".to_owned();
                for event in events {
                    let cell = event.temperature.map_or(String::new(), |value| value.to_string());
                    let [cpu, rps] = event.values;
                    writeln!(body, "d{},{},{cpu},{rps},{cell}", event.device, event.ms).unwrap();
                }
                ("text/csv", body)
            }
            Self::LineProtocol => return post_lines(client, events),
        };
        let head = format!("Content-Type: {media_type}\r\n");
        let answer = client.request(&post_with(&head, body.as_bytes()));
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()
    }
}

fn post_lines(client: &mut HttpClient, events: &[Event]) -> Value {
    let mut body = String::new();
    for Event { device, ms, values: [cpu, rps], temperature } in events {
        write!(body, "m,device_id=d{device} cpu={cpu},rps={rps}").unwrap();
        temperature.iter().for_each(|it| write!(body, ",temperature={it}").unwrap());
        writeln!(body, " {ms}").unwrap();
    }
    let head = "POST /api/v2/write?precision=ms HTTP/1.1\r\nHost: test\r\nContent-Length: ";
    let answer = client.request(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes());
    assert_eq!((answer.status, answer.text()), (204, ""));
    Value::Null
}

/// The series of each device and field as the detector sees them, alone.
struct Alone {
    sensitivity: Sensitivity,
    series: BTreeMap<(usize, usize), SeriesBands>,
}

impl Alone {
    /// Returns what the answer to these events has to tell.
    fn push(&mut self, events: &[Event]) -> Vec<Value> {
        let mut novel = Vec::new();
        for (index, event) in events.iter().enumerate() {
            for (field, name) in FIELDS.iter().enumerate() {
                let Some(value) = event.value(field) else {
                    continue;
                };
                let bands = self.series.entry((event.device, field)).or_default();
                let time = EventTime { ms: event.ms, hour: LocalDay::UTC.hour(event.ms) };
                let judgement = bands.push(&self.sensitivity, value, time);
                novel.extend(judgement.alert.map(|quantity| {
                    let score = (f64::from(judgement.score) * 1e3).round() / 1e3;
                    let device = format!("d{}", event.device);
                    json!({
                        "index": index, "device_id": device, "field": name, "value": value,
                        "score": score, "reason": quantity.name(),
                    })
                }));
            }
        }
        novel
    }

    fn alerts(&self, device: usize, field: usize) -> u32 {
        self.series[&(device, field)].alerts()
    }
}

/// Returns values as they compare: 1 and 1.0 are one number.
fn numbers(values: &[Value]) -> Vec<Value> {
    let float = |entry: &Value| {
        let mut entry = entry.clone();
        for member in ["value", "score"] {
            entry[member] = entry[member].as_f64().into();
        }
        entry
    };
    values.iter().map(float).collect()
}

#[test]
fn each_series_is_judged_as_the_detector_judges_it_alone() {
    let events = events();
    for (novelty, excess) in [("on", EXCESS_ON), ("quiet", EXCESS_QUIET)] {
        for form in [Form::Array, Form::Ndjson, Form::Csv, Form::LineProtocol] {
            let flags = ["--novelty", novelty, "--fields", "cpu,rps,temperature?"];
            let running = InProcessServer::start(&flags);
            let mut clients = [running.client(), running.client()];
            let sensitivity = NoveltySettings::sensitivity(excess);
            let mut alone = Alone { sensitivity, series: BTreeMap::new() };
            let mut all = 0;
            for (number, batch) in events.chunks(40).enumerate() {
                let answer = form.post(&mut clients[number % 2], batch);
                let expected = alone.push(batch);
                all += expected.len() as u64;
                if answer.is_null() {
                    continue;
                }
                let novel = answer["novel"].as_array().cloned().unwrap_or_default();
                assert_eq!(numbers(&novel), numbers(&expected), "{novelty} {form:?} {number}");
                let count = answer["novelties"].as_u64().unwrap_or_default();
                assert_eq!(count, expected.len() as u64);
            }
            assert!(all > 8, "{all}");
            check_told(&mut clients[0], &alone, all);
        }
    }
}

/// Checks what the other answers tell of these series.
fn check_told(client: &mut HttpClient, alone: &Alone, all: u64) {
    let listed = client.request(&get("/anomalies?limit=1000")).json();
    let listed = listed["anomalies"].as_array().unwrap();
    let novel: Vec<_> = listed.iter().filter(|entry| entry["kind"] == "novelty").collect();
    assert_eq!(novel.len() as u64, all);
    assert!(novel.iter().all(|it| it["reason"].is_string() && it["z"].is_null()));
    let others = listed.iter().filter(|entry| entry["kind"] == "anomaly");
    assert!(others.clone().count() > 0 && others.clone().all(|it| it["reason"].is_null()));
    assert_eq!(client.request(&get("/analyze")).json()["totals"]["novelties"], all);
    let page = client.request(&get("/devices")).json();
    for device in 0..4 {
        let one = client.request(&get(&format!("/analyze?device_id=d{device}"))).json();
        let detail = client.request(&get(&format!("/devices/d{device}"))).json();
        for (field, name) in FIELDS.iter().enumerate() {
            let novelty = &one[name]["novelty"];
            assert_eq!(novelty["alerts"], alone.alerts(device, field), "d{device} {name}");
            assert_eq!(novelty["quantities"].as_array().unwrap().len(), 4);
            assert!(novelty["usual"].is_number() && novelty.get("still").is_none());
            assert_eq!(&detail[name]["novelty"], novelty);
            assert_eq!(&page["devices"][device]["fields"][name]["novelty"], novelty);
        }
    }
    let scrape = Exposition::parse(client.request(&get("/metrics/prometheus")).text());
    assert_eq!(scrape.sum("corepulse_novelties_total"), all as f64);
}

#[test]
fn nothing_is_told_unless_it_is_asked_for() {
    let running = InProcessServer::start(&["--fields", "cpu,rps,temperature?"]);
    let mut client = running.client();
    for batch in events().chunks(400) {
        let answer = Form::Array.post(&mut client, batch);
        assert!(answer.get("novelties").is_none() && answer.get("novel").is_none());
    }
    for path in ["/analyze", "/analyze?device_id=d1", "/devices", "/devices/d1"] {
        let answer = client.request(&get(path));
        assert!(!answer.text().contains("novel"), "{answer:?}");
    }
}

#[test]
fn a_series_that_stands_still_is_told_once() {
    let running = InProcessServer::start(&["--stuck-after", "5", "--workers", "1"]);
    let mut client = running.client();
    let event = |device: usize, cpu: f64, second: i64| {
        let ms = START_MS + 1000 * second;
        Event { device, ms, values: [cpu, second as f64], temperature: None }
    };
    let told = |client: &mut HttpClient, cpu: f64, second: i64| {
        Form::Array.post(client, &[event(0, cpu, second)])["novel"].clone()
    };
    for second in 0..20 {
        let expected = match second {
            4 => json!([{
                "index": 0, "device_id": "d0", "field": "cpu", "value": 7, "score": 1,
                "reason": "stuck",
            }]),
            _ => Value::Null,
        };
        assert_eq!(told(&mut client, 7.0, second), expected, "{second}");
    }
    assert_eq!(told(&mut client, 8.0, 20), Value::Null);
    let device = client.request(&get("/analyze?device_id=d0")).json();
    assert_eq!(device["cpu"]["novelty"], json!({ "still": 1 }));
    // Of very many the answer has the first hundred, and counts all.
    let many: Vec<Event> =
        (0..5).flat_map(|second| (100..350).map(move |at| event(at, 3.0, second))).collect();
    let answer = Form::Array.post(&mut client, &many);
    assert_eq!(answer["novelties"], 250);
    let indexes: Vec<u64> = answer["novel"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indexes, Vec::from_iter(1000..1100));
}
