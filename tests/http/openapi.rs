//! `openapi.json` says what is served: its paths, methods, statuses, limits and version.
//! The shape of every answer is for `ci/openapi` to find out.

use std::collections::BTreeSet;

use crate::in_process::InProcessServer;
use corepulse::api::route::{NAMES, REFUSED, Route};
use corepulse::limits::{
    ANSWER_ITEMS_MAX, BATCH_EVENTS_MAX, DEVICE_ID_BYTES_MAX, RECENT_ANOMALIES_MAX,
};
use serde_json::{Value, json};
use testkit::http_client::post_with;
use testkit::{get, post};

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

pub(crate) fn document() -> Value {
    serde_json::from_str(include_str!("../../openapi.json")).expect("it is JSON")
}

pub(crate) fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// The routes that have a path.
fn routes() -> impl Iterator<Item = (&'static str, Route<'static>)> {
    let paths = NAMES.into_iter().filter(|name| name.starts_with('/'));
    // `{key}` is a key as good as any.
    paths.map(|path| (path, Route::of(path)))
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = document();
    let served: BTreeSet<&str> = routes().map(|(path, _)| path).collect();
    assert_eq!(keys(&document["paths"]), served);
    let without_a_path = NAMES.len() - served.len();
    assert_eq!(without_a_path, 2, "{} and unknown", NAMES[REFUSED]);
    for (path, route) in routes() {
        assert_eq!(NAMES[route.index()], path);
    }
}

#[test]
fn every_path_has_the_methods_of_its_allow_list() {
    let document = document();
    for (path, route) in routes() {
        let described = keys(&document["paths"][path]);
        let is_described = |method: &&str| described.contains(method.to_lowercase().as_str());
        let described: BTreeSet<&str> = METHODS.into_iter().filter(is_described).collect();
        let allowed: BTreeSet<&str> = route.allow().split(", ").collect();
        assert_eq!(described, allowed, "{path}");
        let options = &document["paths"][path]["options"]["responses"]["200"]["$ref"];
        let options = options.as_str().unwrap().trim_start_matches('#');
        let said = &document.pointer(options).unwrap()["headers"]["Allow"]["schema"]["const"];
        assert_eq!(said, route.allow(), "{path}");
    }
}

#[test]
fn the_index_links_to_every_other_path() {
    let index = InProcessServer::start(&[]).client().request(&get("/")).json();
    let links = index["links"].as_array().unwrap();
    let mut linked: BTreeSet<&str> = links.iter().map(|l| l["href"].as_str().unwrap()).collect();
    assert_eq!(linked.len(), links.len());
    linked.insert("/");
    assert_eq!(linked, keys(&document()["paths"]));
}

#[test]
fn the_document_is_served_as_it_stands() {
    let answer = InProcessServer::start(&[]).client().request(&get("/openapi.json"));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.text(), include_str!("../../openapi.json"));
}

/// The configurations that descriptions are checked for: the options, and the fields by name.
const CONFIGURATIONS: [&[&str]; 4] = [
    &[],
    &["--fields", "temperature?=-40..125~0.5,humidity?=0..100,battery?"],
    &["--fields", SIXTEEN],
    &[
        "--fields",
        "a=-2e300..-1e300,b?=1e-9..1e-3",
        "--device-name",
        "deviceId,sensor",
        "--timestamp-name",
        "ts,time",
        "--device-tag",
        "sensor_id",
    ],
];

/// Names of 1 to 64 bytes, some with the same first eight, and ranges of all kinds.
const SIXTEEN: &str = "a,bc?=0..1,pressure=300..1100,pressure1?=0..1e6,pressure_2,\
    pressure_03?=5..5,pressure_004=-1e300..1e300,x?,Y=0..1000,z_?,\
    _=-1..1,0?=1e-9..2e-9,exactly_sixteen_=0..0,\
    name_of_14_by?,name_of_13=0..1e12,\
    nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn?";

/// A server of one of them, with what it says of itself.
struct Described {
    running: InProcessServer,
    document: Value,
}

impl Described {
    fn start(flags: &[&str]) -> Self {
        let running = InProcessServer::start(flags);
        let answer = running.client().request(&get("/openapi.json"));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        Self { document: answer.json(), running }
    }

    fn schema(&self, name: &str) -> &Value {
        &self.document["components"]["schemas"][name]
    }

    /// The example of an answer.
    fn example(&self, response: &str) -> &Value {
        let response = &self.document["components"]["responses"][response];
        &response["content"]["application/json"]["example"]
    }

    /// Returns the members of an analysis of one instance.
    fn analysis(&self) -> BTreeSet<&str> {
        let of_fleets = BTreeSet::from(["complete", "missing", "as_of", "members"]);
        let all = keys(&self.schema("Analysis")["properties"]);
        assert!(all.is_superset(&of_fleets), "{all:?}");
        all.difference(&of_fleets).copied().collect()
    }

    fn fields(&self) -> Vec<&str> {
        texts(&self.schema("Field")["enum"])
    }

    /// Returns the status of the answer to one metric, and its JSON.
    fn send(&self, metric: &Value) -> (u16, Value) {
        let answer = self.running.client().request(&post(metric.to_string().as_bytes()));
        (answer.status, answer.json())
    }

    /// A metric with all members whose names are `names`, each with a value that is documented.
    fn metric(&self, names: &[&str]) -> Value {
        let properties = &self.schema("Metric")["properties"];
        let value = |name: &&str| match properties[*name].get("minimum") {
            Some(minimum) => minimum.clone(),
            None => json!(21.5),
        };
        names.iter().map(|name| ((*name).to_owned(), value(name))).collect()
    }
}

fn texts(array: &Value) -> Vec<&str> {
    array.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn every_example_is_taken() {
    for flags in CONFIGURATIONS {
        let described = Described::start(flags);
        let body = &described.document["paths"]["/metrics"]["post"]["requestBody"]["content"];
        let mut count = 0;
        for (kind, content) in body.as_object().unwrap() {
            for (name, example) in content["examples"].as_object().unwrap() {
                let value = &example["value"];
                let sent = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let fields = format!("Content-Type: {kind}\r\n");
                let answer =
                    described.running.client().request(&post_with(&fields, sent.as_bytes()));
                assert_eq!(answer.status, 202, "{sent}: {answer:?}");
                let lines = sent.lines().count() - usize::from(kind == "text/csv");
                let events = value.as_array().map_or(lines, Vec::len);
                assert_eq!(answer.json()["accepted"], events, "{name}: {sent}");
                for field in described.fields() {
                    let is_named = sent.contains(&format!("\"{field}\":"))
                        || sent.lines().next().unwrap().split(',').any(|name| name == field);
                    assert!(is_named, "{field} in {sent}");
                }
                count += 1;
            }
        }
        assert!(count >= 4, "{count} examples");
        let lines = &described.document["components"]["requestBodies"]["Lines"]["content"];
        let examples = lines["text/plain"]["examples"].as_object().unwrap().values();
        for example in examples.map(|example| example["value"].as_str().unwrap()) {
            for path in ["/write", "/api/v2/write"] {
                let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\n");
                let request = format!("{head}Content-Length: {}\r\n\r\n{example}", example.len());
                let answer = described.running.client().request(request.as_bytes());
                assert_eq!(answer.status, 204, "{example}: {answer:?}");
            }
            for field in described.fields() {
                assert!(example.contains(&format!("{field}=")), "{field} in {example}");
            }
        }
        let summary = described.example("Analysis");
        assert_eq!(keys(summary), described.analysis());
        let stored = described.example("Stored");
        assert_eq!(keys(stored), keys(&described.schema("Stored")["properties"]));
    }
}

#[test]
fn errors_are_those_of_the_examples() {
    for flags in CONFIGURATIONS {
        let described = Described::start(flags);
        let responses = &described.document["paths"]["/metrics"]["post"]["responses"];
        let content = &responses["400"]["content"]["application/problem+json"];
        let (status, answer) = described.send(&json!({}));
        assert_eq!((status, &answer), (400, &content["example"]));
    }
}

#[test]
fn ranges_are_those_that_are_enforced() {
    for flags in CONFIGURATIONS {
        let described = Described::start(flags);
        let properties = &described.schema("Metric")["properties"];
        for field in described.fields() {
            let with = |value: Value| {
                let mut metric = described.metric(&described.fields());
                metric[field] = value;
                let (status, answer) = described.send(&metric);
                assert!(status == 202 || answer.to_string().contains(field), "{answer}");
                status
            };
            let bound = |name: &str| properties[field].get(name).map(|it| it.as_f64().unwrap());
            let (min, max) = (bound("minimum"), bound("maximum"));
            assert_eq!(min.is_some(), max.is_some(), "{field}");
            let (min, max) = (min.unwrap_or(-f64::MAX), max.unwrap_or(f64::MAX));
            for (value, status) in
                [(min, 202), (max, 202), (min.next_down(), 400), (max.next_up(), 400)]
            {
                if value.is_finite() {
                    assert_eq!(with(json!(value)), status, "{field}: {value}");
                    let text = value.to_string();
                    assert_eq!(with(json!(text)), if text.len() > 128 { 400 } else { status });
                }
            }
            let kinds = texts(&properties[field]["type"]);
            assert_eq!(kinds.contains(&"string"), properties[field].get("pattern").is_some());
            let null = if kinds.contains(&"null") { 202 } else { 400 };
            assert_eq!(with(Value::Null), null, "{field}");
            assert_eq!(with(json!(true)), 400, "{field}");
        }
    }
}

#[test]
fn what_is_required_is_what_is_missed() {
    for flags in CONFIGURATIONS {
        let described = Described::start(flags);
        let metric = described.schema("Metric");
        let required = texts(&metric["required"]);
        for missing in &required {
            let others: Vec<&str> =
                described.fields().into_iter().filter(|field| field != missing).collect();
            let (status, answer) = described.send(&described.metric(&others));
            assert_eq!(status, 400, "{answer}");
            assert_eq!(answer["detail"], format!("{missing}: missing"));
        }
        for pair in metric["allOf"].as_array().into_iter().flatten() {
            let mut twice = described.metric(&described.fields());
            for name in texts(&pair["not"]["required"]) {
                twice[name] = Value::Null;
            }
            let (status, answer) = described.send(&twice);
            assert_eq!(status, 400);
            assert!(answer["detail"].as_str().unwrap().contains("given twice"), "{answer}");
        }
        let has_aliases = flags.contains(&"--device-name");
        assert_eq!(metric["allOf"].as_array().map_or(0, Vec::len), 2 * usize::from(has_aliases));
        assert_eq!(metric.get("anyOf").is_some(), required.is_empty());
        if !required.is_empty() {
            assert_eq!(described.send(&described.metric(&required)).0, 202);
        }
        for one in metric["anyOf"].as_array().into_iter().flatten() {
            let name = one["required"][0].as_str().unwrap();
            assert_eq!(described.send(&described.metric(&[name])).0, 202);
            let mut null = described.metric(&[name]);
            null[name] = Value::Null;
            assert_eq!(described.send(&null).0, 400);
        }
    }
}

/// Answers have the members that they are described with: the sent ones when looked up, and all in
/// the analysis.
#[test]
fn answers_have_the_fields_that_are_described() {
    for flags in CONFIGURATIONS {
        let described = Described::start(flags);
        let (stored, fields) = (described.schema("Stored"), described.fields());
        let required = texts(&described.schema("Metric")["required"]);
        let sent = if required.is_empty() { vec![fields[0]] } else { required.clone() };
        for (number, names) in [&fields, &sent].into_iter().enumerate() {
            let mut metric = described.metric(names);
            let properties = described.schema("Metric")["properties"].as_object().unwrap();
            let member = |usual: &str, renamed: &str| {
                let is_usual = properties.contains_key(usual);
                if is_usual { usual.to_owned() } else { renamed.to_owned() }
            };
            metric[member("timestamp", "time")] = json!(1_700_000_000 + number);
            metric[member("device_id", "sensor")] = json!("d1");
            assert_eq!(described.send(&metric).0, 202);
            let path = format!("/metrics/d1:{}", 1_700_000_000 + number);
            let answer = described.running.client().request(&get(&path)).json();
            let expected = names.iter().copied().chain(["timestamp", "device_id"]).collect();
            assert_eq!(keys(&answer), expected, "{answer}");
            for name in names {
                assert_eq!(answer[name].as_f64(), metric[name].as_f64());
            }
            assert!(keys(&answer).is_subset(&keys(&stored["properties"])));
            assert!(
                texts(&stored["required"])
                    .into_iter()
                    .collect::<BTreeSet<_>>()
                    .is_subset(&keys(&answer))
            );
        }
        let always: BTreeSet<&str> = required.iter().copied().chain(["timestamp"]).collect();
        assert_eq!(texts(&stored["required"]).into_iter().collect::<BTreeSet<_>>(), always);
        assert_eq!(stored.get("anyOf").is_some(), required.is_empty());
        let analysis = described.running.client().request(&get("/analyze")).json();
        assert_eq!(keys(&analysis), described.analysis());
        let summary = BTreeSet::from_iter(texts(&described.schema("FieldSummary")["required"]));
        for field in fields {
            assert_eq!(keys(&analysis[field]), summary);
        }
        let device = described.running.client().request(&get("/analyze?device_id=d1")).json();
        let required = texts(&described.schema("Analysis")["required"]);
        assert_eq!(keys(&device), required.into_iter().collect());
    }
}

#[test]
fn what_is_new_is_told_as_described() {
    let running = InProcessServer::start(&["--novelty", "on", "--stuck-after", "60"]);
    let mut client = running.client();
    let event = |at: u64| {
        let (timestamp, cpu) = (1_700_000_000 + 600 * at, if at == 99 { 90 } else { 1 });
        json!({"device_id": "d1", "timestamp": timestamp, "cpu": cpu, "rps": 1})
    };
    let events = Value::from_iter((0..100).map(event)).to_string();
    let taken = client.request(&post(events.as_bytes())).json();
    let document = document();
    let schema = |name: &str| &document["components"]["schemas"][name];
    let members = |name: &str| keys(&schema(name)["properties"]);
    let reasons = texts(&schema("NoveltyReason")["enum"]);
    let device = client.request(&get("/analyze?device_id=d1")).json();
    let novelty = &device["cpu"]["novelty"];
    let mut found = vec![&novelty["last_alert"]["reason"]];
    assert_eq!(keys(novelty), members("Novelty"));
    for entry in taken["novel"].as_array().unwrap() {
        assert_eq!(keys(entry), members("Novel"));
        found.push(&entry["reason"]);
    }
    let quantity = &schema("Novelty")["properties"]["quantities"]["items"];
    for entry in novelty["quantities"].as_array().unwrap() {
        assert_eq!(keys(entry), keys(&quantity["properties"]));
        found.push(&entry["name"]);
    }
    for entry in client.request(&get("/anomalies")).json()["anomalies"].as_array().unwrap() {
        assert!(keys(entry).is_subset(&members("NumberedAnomaly")), "{entry}");
    }
    let found = found.into_iter().map(|reason| reason.as_str().unwrap());
    assert_eq!(BTreeSet::from_iter(found), BTreeSet::from_iter(reasons));
}

#[test]
fn the_version_is_that_of_the_crate() {
    let document = document();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let index = &document["components"]["responses"]["Index"]["content"]["application/json"];
    assert_eq!(index["example"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn limits_are_those_of_the_server() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let number = |value: &Value| value.as_f64().expect("a number");
    let count = |value: &Value| usize::try_from(value.as_u64().expect("a count")).unwrap();
    let metric = &schemas["Metric"]["properties"];
    assert_eq!(number(&metric["cpu"]["maximum"]).total_cmp(&1e6), std::cmp::Ordering::Equal);
    assert_eq!(number(&metric["rps"]["maximum"]).total_cmp(&1e12), std::cmp::Ordering::Equal);
    let id = format!("[A-Za-z0-9._:-]{{1,{DEVICE_ID_BYTES_MAX}}}");
    assert_eq!(schemas["DeviceId"]["pattern"], format!("^{id}$"));
    let series = &schemas["Analysis"]["properties"]["series"]["pattern"];
    assert_eq!(*series, format!("^(all|device:{id})$"));
    assert_eq!(count(&schemas["Metrics"]["anyOf"][1]["maxItems"]), BATCH_EVENTS_MAX);
    assert_eq!(count(&schemas["EventErrors"]["maxItems"]), ANSWER_ITEMS_MAX);
    let taken = &schemas["Taken"]["properties"];
    assert_eq!(count(&taken["anomalous"]["maxItems"]), ANSWER_ITEMS_MAX);
    assert_eq!(count(&taken["novel"]["maxItems"]), ANSWER_ITEMS_MAX);
    let recent = &schemas["Anomalies"]["properties"]["recent"];
    assert_eq!(count(&recent["maxItems"]), RECENT_ANOMALIES_MAX);
}
