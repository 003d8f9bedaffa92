//! The naive account: plain lists of what was sent, and every number of `/analyze` from them.

use testkit::Exposition;

use super::event::Event;
use super::json::Json;
use super::series::{Expected, ReferenceField, Score, expected, last};
use super::shape::{Field, Shape};

/// The rules by which a server scores series.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) window: usize,
    pub(crate) threshold: f64,
    pub(crate) min_samples: usize,
    pub(crate) cooldown: usize,
}

impl Default for Rules {
    /// Those of a server without flags.
    fn default() -> Self {
        Self { window: 50, threshold: 2.0, min_samples: 16, cooldown: 50 }
    }
}

/// Anomalies that `/analyze` lists.
const RECENT: usize = 20;

/// One anomalous value.
#[derive(Clone)]
pub(crate) struct Point {
    pub(crate) event: Event,
    pub(crate) field: Field,
    score: Score,
}

/// One device: all that it sent.
pub(crate) struct Device {
    pub(crate) shape: &'static Shape,
    pub(crate) events: Vec<Event>,
    pub(crate) points: Vec<Point>,
    rules: Rules,
    fields: Vec<ReferenceField>,
    /// The expectation after the newest value of each field; `None` if it has sent none.
    newest: Vec<Option<Expected>>,
}

/// The last events of whatever series.
pub(crate) struct All {
    pub(crate) shape: &'static Shape,
    pub(crate) events: Vec<Event>,
    pub(crate) rules: Rules,
}

impl Default for Device {
    /// A device without events, of a server without flags.
    fn default() -> Self {
        Self::under(Rules::default(), Shape::standard())
    }
}

impl Default for All {
    /// No events, of a server without flags.
    fn default() -> Self {
        Self::under(Rules::default(), Shape::standard())
    }
}

impl Device {
    /// A device without events, of a server with these rules and fields.
    pub(crate) fn under(rules: Rules, shape: &'static Shape) -> Self {
        Self {
            shape,
            events: Vec::new(),
            points: Vec::new(),
            rules,
            fields: shape.fields().map(|_| ReferenceField::default()).collect(),
            newest: vec![None; shape.fields().len()],
        }
    }

    /// Takes an event in, and answers its anomalies.
    pub(crate) fn take(&mut self, event: &Event) -> &[Point] {
        let (first, rules) = (self.points.len(), self.rules);
        for field in self.shape.fields() {
            let Some(value) = event.value(field) else { continue };
            let own = &mut self.fields[field.index];
            let expected = own.push(rules.window, rules.min_samples, value);
            self.newest[field.index] = Some(expected);
            let Some(score) = expected.score else { continue };
            // Data that rounding decides tests nothing.
            let verdict = score.verdict(rules.threshold, field.least_deviation);
            if verdict.unwrap_or_else(|| panic!("{event:?} is undecided")) {
                own.count_anomaly(rules.cooldown);
                self.points.push(Point { event: event.clone(), field, score });
            }
        }
        self.events.push(event.clone());
        &self.points[first..]
    }

    pub(crate) fn episodes(&self) -> u64 {
        self.fields.iter().map(|field| field.episodes).sum()
    }

    /// Checks `/analyze` of this device, which sent all of it in the last fifty seconds.
    pub(crate) fn check(&self, id: &str, text: &str) {
        let json = Json(text);
        assert_eq!(json.text("scope").as_deref(), Some("instance"));
        assert_eq!(json.text("series"), Some(format!("device:{id}")));
        check_members(json, self.shape);
        self.rules.check_window(json, self.shape, &self.events);
        let members = json.members();
        for field in self.shape.fields() {
            let values = self.fields[field.index].window(self.rules.window);
            let expected = self.newest[field.index].as_ref();
            self.rules.check_field(members[&*field.name], field, expected, values);
        }
        let points = self.points.len() as u64;
        assert_eq!(json.whole("anomalies.points"), points, "{text}");
        assert_eq!(json.whole("anomalies.episodes"), self.episodes(), "{text}");
        assert_eq!(json.whole("anomalies.last_minute"), points, "{text}");
        check_recent(json, Some(id), self.points.iter());
        let accepted = self.events.len() as u64;
        assert_eq!(json.whole("totals.accepted"), accepted, "{text}");
    }
}

impl All {
    /// No events, of a server with these rules and fields.
    pub(crate) fn under(rules: Rules, shape: &'static Shape) -> Self {
        Self { shape, events: Vec::new(), rules }
    }

    /// Checks the window of `/analyze` over all series.
    pub(crate) fn check(&self, text: &str) {
        let json = Json(text);
        assert_eq!(json.text("scope").as_deref(), Some("instance"));
        assert_eq!(json.text("series").as_deref(), Some("all"));
        check_members(json, self.shape);
        self.rules.check_window(json, self.shape, &self.events);
        let members = json.members();
        for field in self.shape.fields() {
            let values = self.values(field);
            let expected = self.rules.expected(&values);
            let window = last(self.rules.window, &values);
            self.rules.check_field(members[&*field.name], field, expected.as_ref(), window);
        }
    }

    /// Checks the gauges of the same window.
    pub(crate) fn check_averages(&self, scrape: &Exposition) {
        for field in self.shape.fields() {
            let found = scrape.value(&of_field("corepulse_rolling_average", field));
            let expected = self.rules.expected(&self.values(field));
            let is_right = expected.map_or(found.is_nan(), |expected| {
                (found - expected.mean).abs() <= expected.tolerance
            });
            assert!(is_right, "{}: {found} is not {expected:?}", field.name);
        }
    }

    fn values(&self, field: Field) -> Vec<f64> {
        self.events.iter().filter_map(|event| event.value(field)).collect()
    }
}

impl Point {
    /// The same anomaly of the device that sent this event.
    pub(crate) fn of(&self, event: Event) -> Self {
        Self { event, ..self.clone() }
    }

    /// Checks what an answer says of it, beside place and time.
    pub(crate) fn check(&self, found: Json<'_>, id: Option<&str>) {
        assert_eq!(found.text("device_id").as_deref(), id, "{}", found.0);
        assert_eq!(found.text("field").as_ref(), Some(&self.field.name));
        let value = self.event.value(self.field);
        assert_eq!(found.number("value"), value, "{}", found.0);
        let Score { z, z_tolerance, .. } = self.score;
        check_number(found.0, "z", found.number("z"), z, z_tolerance);
    }
}

/// Checks `anomalies.recent`: the last of these points, the newest first. Without `id` each point
/// has that of its event.
pub(crate) fn check_recent<'a>(
    json: Json<'_>,
    id: Option<&str>,
    points: impl DoubleEndedIterator<Item = &'a Point> + ExactSizeIterator,
) {
    let recent = json.at("anomalies.recent").elements();
    assert_eq!(recent.len(), points.len().min(RECENT), "{}", json.0);
    for (found, point) in recent.into_iter().zip(points.rev()) {
        point.check(found, id.or(point.event.device_id.as_deref()));
        let shown = Some(point.event.shown.clone());
        assert_eq!(found.text("timestamp"), shown, "{}", found.0);
        let Score { mean, stddev, tolerance, .. } = point.score;
        check_number(found.0, "mean", found.number("mean"), mean, tolerance);
        check_number(found.0, "stddev", found.number("stddev"), stddev, tolerance);
    }
}

/// Checks that an answer has these fields in their order, and no others.
fn check_members(json: Json<'_>, shape: &'static Shape) {
    let place = |field: Field| json.0.find(&format!("\"{}\":{{\"rolling_average\"", field.name));
    let places: Vec<_> = shape.fields().map(place).collect();
    let is_rising = places.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(places[0].is_some() && is_rising, "{places:?}: {}", json.0);
    assert_eq!(json.0.matches("\"rolling_average\":").count(), places.len(), "{}", json.0);
}

/// Checks the counters by field, of a server that knows these devices alone.
pub(crate) fn check_counters<'a>(
    scrape: &Exposition,
    shape: &'static Shape,
    devices: impl IntoIterator<Item = &'a Device>,
) {
    type Count = fn(&Device, Field) -> u64;
    let devices: Vec<&Device> = devices.into_iter().collect();
    let counts: [(&str, Count); 3] = [
        ("corepulse_values_total", |device, field| {
            let events = device.events.iter();
            events.filter(|event| event.value(field).is_some()).count() as u64
        }),
        ("corepulse_anomalies_total", |device, field| device.fields[field.index].points),
        ("corepulse_anomaly_episodes_total", |device, field| device.fields[field.index].episodes),
    ];
    for (name, count) in counts {
        let found = scrape.with_prefix(&format!("{name}{{"));
        assert_eq!(found.len(), shape.fields().len(), "{found:?}");
        for field in shape.fields() {
            let own = devices.iter().map(|device| count(device, field));
            let series = of_field(name, field);
            assert_eq!(found.get(&series), Some(&(own.sum::<u64>() as f64)), "{series}: {found:?}");
        }
    }
}

fn of_field(name: &str, field: Field) -> String {
    format!("{name}{{field=\"{}\"}}", field.name)
}

impl Rules {
    /// Checks what is said of the window that ends with the last of these events.
    fn check_window(self, json: Json<'_>, shape: &'static Shape, events: &[Event]) {
        let text = json.0;
        let windows = if shape.has_required() {
            // Every event has all of them, so they have one window.
            vec![last(self.window, events).iter().collect()]
        } else {
            self.windows(shape, events)
        };
        let count = windows.iter().map(Vec::len).max().unwrap();
        assert_eq!(json.whole("window.size"), self.window as u64, "{text}");
        assert_eq!(json.whole("window.count"), count as u64, "{text}");
        // As they are written, moments sort like their letters.
        let shown = || windows.iter().flatten().map(|event| event.shown.clone());
        assert_eq!(json.text("window.from"), shown().min(), "{text}");
        assert_eq!(json.text("window.to"), shown().max(), "{text}");
    }

    /// Returns the last events that have each field.
    fn windows<'a>(self, shape: &'static Shape, events: &'a [Event]) -> Vec<Vec<&'a Event>> {
        let window = |field| {
            let own = events.iter().rev().filter(move |event| event.value(field).is_some());
            own.take(self.window).collect()
        };
        shape.fields().map(window).collect()
    }

    /// Checks one field, whose window has these values.
    fn check_field(
        self,
        found: Json<'_>,
        field: Field,
        expected: Option<&Expected>,
        values: &[f64],
    ) {
        let text = format!("{}: {}", field.name, found.0);
        let members = found.members();
        let number = |name: &str| members[name].value();
        let check = |name: &str, expected: f64, tolerance: f64| {
            check_number(&text, name, number(name), expected, tolerance);
        };
        assert_eq!(number("count"), Some(values.len() as f64), "{text}");
        let is_anomaly = members["anomaly"].0.parse::<bool>().unwrap();
        let Some(expected) = expected else {
            for name in ["rolling_average", "stddev", "min", "max", "last", "z_score"] {
                assert_eq!(number(name), None, "{text}");
            }
            assert!(!is_anomaly, "{text}");
            return;
        };
        check("rolling_average", expected.mean, expected.tolerance);
        check("stddev", expected.stddev, expected.tolerance);
        let extreme = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick);
        assert_eq!(number("min"), extreme(f64::min), "{text}");
        assert_eq!(number("max"), extreme(f64::max), "{text}");
        assert_eq!(number("last"), values.last().copied(), "{text}");
        let Some(score) = expected.score else {
            assert_eq!(number("z_score"), None, "{text}");
            assert!(!is_anomaly, "{text}");
            return;
        };
        check("z_score", score.z, score.z_tolerance);
        if let Some(verdict) = score.verdict(self.threshold, field.least_deviation) {
            assert_eq!(is_anomaly, verdict, "{text}");
        }
    }

    /// Returns the expectation after the last of these values.
    fn expected(self, values: &[f64]) -> Option<Expected> {
        (!values.is_empty()).then(|| expected(self.window, self.min_samples, values))
    }
}

fn check_number(text: &str, name: &str, found: Option<f64>, expected: f64, tolerance: f64) {
    let is_close = found.is_some_and(|number| (number - expected).abs() <= tolerance);
    assert!(is_close, "{name}: expected {expected} ± {tolerance}: {text}");
}
