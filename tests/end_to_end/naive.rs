//! The naive account: plain lists of what was sent, and every number of `/analyze` from them.

use super::event::{Event, FIELDS};
use super::json::Json;
use super::series::{Expected, ReferenceField, moments, score};

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
    /// In [`FIELDS`].
    pub(crate) field: usize,
    z: f64,
    z_tolerance: f64,
    /// The mean of the window against which it was scored.
    mean: f64,
    stddev: f64,
    tolerance: f64,
}

/// One device: all that it sent.
#[derive(Default)]
pub(crate) struct Device {
    pub(crate) events: Vec<Event>,
    pub(crate) points: Vec<Point>,
    rules: Rules,
    fields: [ReferenceField; 2],
    /// The expectation after the newest event, by field.
    newest: Vec<Expected>,
}

/// The last events of whatever series.
#[derive(Default)]
pub(crate) struct All {
    pub(crate) events: Vec<Event>,
    pub(crate) rules: Rules,
}

impl Device {
    /// A device without events, of a server with these rules.
    pub(crate) fn under(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Takes an event in, and answers its anomalies.
    pub(crate) fn take(&mut self, event: &Event) -> &[Point] {
        let (first, rules) = (self.points.len(), self.rules);
        self.newest.clear();
        for (field, before) in columns(rules.last(&self.events)).iter().enumerate() {
            let value = event.values[field];
            let expected = self.fields[field].push(rules.window, rules.min_samples, value);
            self.newest.push(expected);
            let Some(z) = expected.z else { continue };
            // If rounding decides, the reference is no more right: such data tests nothing.
            let margin = (z.abs() - rules.threshold).abs();
            assert!(margin > expected.z_tolerance, "{event:?} is undecided");
            if z.abs() < rules.threshold {
                continue;
            }
            self.fields[field].count_anomaly(rules.cooldown);
            let (mean, stddev) = moments(before);
            self.points.push(Point {
                event: event.clone(),
                field,
                z,
                z_tolerance: expected.z_tolerance,
                mean: mean.nearest(),
                stddev: stddev.nearest(),
                tolerance: tolerance(before),
            });
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
        self.rules.check_window(json, &self.events, &self.newest);
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
    /// Checks the window of `/analyze` over all series.
    pub(crate) fn check(&self, text: &str) {
        let json = Json(text);
        assert_eq!(json.text("scope").as_deref(), Some("instance"));
        assert_eq!(json.text("series").as_deref(), Some("all"));
        let expected = columns(&self.events).map(|values| self.rules.expected(&values));
        self.rules.check_window(json, &self.events, &expected);
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
        assert_eq!(found.text("field").as_deref(), Some(FIELDS[self.field]));
        let value = self.event.values[self.field];
        assert_eq!(found.number("value"), Some(value), "{}", found.0);
        check_number(found, "z", self.z, self.z_tolerance);
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
        check_number(found, "mean", point.mean, point.tolerance);
        check_number(found, "stddev", point.stddev, point.tolerance);
    }
}

impl Rules {
    /// Checks the window and the fields that end with the last of these events.
    fn check_window(self, json: Json<'_>, events: &[Event], expected: &[Expected]) {
        let text = json.0;
        let window = self.last(events);
        assert_eq!(json.whole("window.size"), self.window as u64, "{text}");
        assert_eq!(json.whole("window.count"), window.len() as u64, "{text}");
        // As they are written, moments sort like their letters.
        let shown = || window.iter().map(|event| event.shown.clone());
        assert_eq!(json.text("window.from"), shown().min(), "{text}");
        assert_eq!(json.text("window.to"), shown().max(), "{text}");
        for (index, values) in columns(window).into_iter().enumerate() {
            let found = json.at(FIELDS[index]);
            self.check_field(found, &expected[index], &values);
        }
    }

    /// Checks one field of it, whose values these are.
    fn check_field(self, found: Json<'_>, expected: &Expected, values: &[f64]) {
        let text = found.0;
        check_number(found, "rolling_average", expected.mean, expected.tolerance);
        check_number(found, "stddev", expected.stddev, expected.tolerance);
        let extreme = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick);
        assert_eq!(found.number("min"), extreme(f64::min), "{text}");
        assert_eq!(found.number("max"), extreme(f64::max), "{text}");
        assert_eq!(found.number("last"), values.last().copied(), "{text}");
        let Some(z) = expected.z else {
            assert_eq!(found.number("z_score"), None, "{text}");
            assert!(!found.truth("anomaly"), "{text}");
            return;
        };
        check_number(found, "z_score", z, expected.z_tolerance);
        if (z.abs() - self.threshold).abs() > expected.z_tolerance {
            assert_eq!(found.truth("anomaly"), z.abs() > self.threshold, "{text}");
        }
    }

    /// Returns the expectation for all these values: of the newest window, and of the newest value
    /// against the window before it.
    fn expected(self, all: &[f64]) -> Expected {
        let window = self.last(all);
        let (mean, stddev) = moments(window);
        let (newest, before) = all.split_last().unwrap();
        let before = self.last(before);
        let score = (before.len() >= self.min_samples).then(|| score(before, *newest));
        Expected {
            z: score.map(|(z, _)| z),
            z_tolerance: score.map_or(0.0, |(_, tolerance)| tolerance),
            mean: mean.nearest(),
            stddev: stddev.nearest(),
            tolerance: tolerance(window),
        }
    }

    fn last<T>(self, all: &[T]) -> &[T] {
        &all[all.len().saturating_sub(self.window)..]
    }
}

fn check_number(found: Json<'_>, name: &str, expected: f64, tolerance: f64) {
    let number = found.number(name);
    let is_close = number.is_some_and(|number| (number - expected).abs() <= tolerance);
    let text = found.0;
    assert!(is_close, "{name}: expected {expected} ± {tolerance}: {text}");
}

/// Returns the largest error of a mean or a deviation.
fn tolerance(values: &[f64]) -> f64 {
    let largest = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    1e-9 * largest.max(1.0)
}

fn columns(events: &[Event]) -> [Vec<f64>; 2] {
    [0, 1].map(|field| events.iter().map(|event| event.values[field]).collect())
}
