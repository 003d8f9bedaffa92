//! Analytics beside their reference: the same events for both, and every number compared after each
//! of them.

use corepulse::analytics::anomaly::{Finding, Point};
use corepulse::analytics::recent::PendingEvents;
use corepulse::analytics::summary::{FieldSummary, SeriesSummary};
use corepulse::analytics::{Analytics, AnalyticsSettings, Arrived};
use corepulse::metric::event::Event;
use corepulse::metric::id_hash::IdHasher;
use corepulse::schema::FieldSet;
use percore::clock::Now;

use super::series::{Expected, ReferenceField, Score, expected, last};

/// The counts of a comparison, which show that it compared something.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) verdicts: u64,
    pub(crate) points: u64,
    pub(crate) episodes: u64,
    pub(crate) undecided: u64,
}

/// Analytics of two cores beside their reference.
pub(crate) struct Comparison {
    settings: AnalyticsSettings,
    analytics: Analytics,
    ids: IdHasher,
    pending: [PendingEvents; 2],
    devices: Vec<Device>,
    /// The values of each field of all devices, with their timestamps.
    all: Vec<(Vec<f64>, Vec<i64>)>,
    taken: u32,
    counts: Counts,
}

/// A device with what is known of each of its fields.
struct Device {
    id: String,
    accepted: u64,
    fields: Vec<DeviceField>,
}

#[derive(Default)]
struct DeviceField {
    naive: ReferenceField,
    times: Vec<i64>,
    /// The summary after the newest value.
    found: Option<FieldSummary>,
}

/// Feeds one device with events that have every field.
pub(crate) fn compare<const N: usize>(settings: AnalyticsSettings, events: &[[f64; N]]) -> Counts {
    let mut comparison = Comparison::new(settings, 1);
    for values in events {
        comparison.take(0, &values.map(Some));
    }
    comparison.check_all();
    comparison.counts()
}

impl Comparison {
    /// Returns one for so many devices.
    pub(crate) fn new(settings: AnalyticsSettings, devices: usize) -> Self {
        let fields = settings.schema.fields().len();
        let ids = IdHasher::default();
        let analytics = Analytics::new(settings, 2, ids.clone());
        let device = |number| Device {
            id: format!("device-{number}"),
            accepted: 0,
            fields: (0..fields).map(|_| DeviceField::default()).collect(),
        };
        Self {
            settings,
            pending: [0, 1].map(|core| analytics.pending_events(core)),
            analytics,
            ids,
            devices: (0..devices).map(device).collect(),
            all: vec![(Vec::new(), Vec::new()); fields],
            taken: 0,
            counts: Counts::default(),
        }
    }

    /// Takes an event of a device, with a value or none for each field, and checks every number of
    /// the device.
    pub(crate) fn take(&mut self, device: usize, row: &[Option<f64>]) {
        let Self { settings, analytics, ids, pending, devices, all, taken, counts } = self;
        *taken += 1;
        let time = i64::from(*taken);
        let present = (0..).zip(row).filter(|(_, value)| value.is_some());
        // A value that is absent has no meaning, and must have no effect.
        let values: Vec<f64> = row.iter().map(|value| value.unwrap_or(f64::NAN)).collect();
        let device = &mut devices[device];
        let event = Event {
            device_id: Some(device.id.as_bytes()),
            timestamp_ms: time,
            present: FieldSet::from_bits(present.fold(0, |bits, (index, _)| bits | 1 << index)),
            values: &values,
            ..Event::default()
        };
        let now = Now { mono_ns: u64::from(*taken), ..Now::default() };
        let core = (*taken % 2) as usize;
        let mut points = Vec::new();
        let arrived = Arrived { event, hash: ids.hash_of(&event), index: 0 };
        assert_eq!(analytics.writer(core, now, 1).apply(&[arrived], &mut points).refused(), 0);
        let found = points.len();
        let points: Vec<_> = points
            .iter()
            .filter_map(|found| match found.finding {
                Finding::Anomaly(point) => Some(point),
                Finding::Novel(_) => None,
            })
            .collect();
        assert_eq!(points.len(), found, "no second judge was asked");
        pending[core].push(now, 0, || event);
        device.accepted += 1;
        for (all, value) in all.iter_mut().zip(row) {
            all.0.extend(value);
            all.1.extend(value.map(|_| time));
        }
        let summary = analytics.device(&device.id, now).unwrap();
        for (&field, &value) in settings.schema.fields().iter().zip(row) {
            let own = &mut device.fields[field.index()];
            let found = summary.fields[field.index()];
            let point = points.iter().find(|point| point.field == field);
            let place = format!("event {time}, {field:?}, {value:?}, {found:?}, {point:?}");
            match value {
                None => assert_eq!((found, point), (own.found, None), "{place}"),
                Some(value) => {
                    own.times.push(time);
                    let expected = own.naive.push(settings.window, settings.min_samples, value);
                    let place = format!("{place}, {expected:?}");
                    let found = found.unwrap();
                    check_numbers(&found, &expected, own.naive.window(settings.window), &place);
                    assert_eq!(point.is_some(), found.anomaly, "{place}");
                    own.found = Some(found);
                    if let Some(score) = expected.score {
                        let least = field.least_deviation();
                        counts.add(score.verdict(settings.threshold, least), &found, &place);
                        own.count(point, &score, settings.cooldown, &place);
                    }
                }
            }
        }
        check_device(settings, device, &summary);
    }

    /// Publishes what was taken, and checks the window over all series and the counts.
    pub(crate) fn check_all(&mut self) {
        let Self { settings, analytics, pending, devices, all, taken, .. } = self;
        let now = Now { mono_ns: u64::from(*taken), ..Now::default() };
        for pending in pending {
            analytics.publish(pending);
        }
        let instance = analytics.instance(now);
        let summary = &instance.series;
        for (&field, (values, _)) in settings.schema.fields().iter().zip(&*all) {
            let Some(found) = summary.fields[field.index()] else {
                assert!(values.is_empty(), "{field:?}");
                continue;
            };
            let expected = expected(settings.window, settings.min_samples, values);
            let place = format!("all, {field:?}, {found:?}, {expected:?}");
            check_numbers(&found, &expected, last(settings.window, values), &place);
            let score = expected.score.as_ref();
            let verdict =
                score.map(|score| score.verdict(settings.threshold, field.least_deviation()));
            let verdict = verdict.unwrap_or(Some(false));
            assert!(verdict.is_none_or(|verdict| verdict == found.anomaly), "{place}");
        }
        let times: Vec<&[i64]> = all.iter().map(|(_, times)| &times[..]).collect();
        check_window(settings, &times, summary);
        assert_eq!(summary.accepted, u64::from(*taken));
        let totals = instance.totals;
        for (at, (values, _)) in all.iter().enumerate() {
            assert_eq!(instance.values[at], values.len() as u64);
            let naive = || devices.iter().map(|device| &device.fields[at].naive);
            assert_eq!(totals.points[at], naive().map(|field| field.points).sum::<u64>());
            assert_eq!(totals.episodes[at], naive().map(|field| field.episodes).sum::<u64>());
        }
        assert_eq!(summary.anomalies.points, totals.points.iter().sum::<u64>());
        assert_eq!(summary.anomalies.episodes, totals.episodes.iter().sum::<u64>());
    }

    /// Returns the counts so far.
    pub(crate) fn counts(self) -> Counts {
        let fields = || self.devices.iter().flat_map(|device| &device.fields);
        Counts {
            points: fields().map(|field| field.naive.points).sum(),
            episodes: fields().map(|field| field.naive.episodes).sum(),
            ..self.counts
        }
    }
}

impl Counts {
    /// Counts a verdict, `None` if rounding decides, and checks what was found.
    fn add(&mut self, verdict: Option<bool>, found: &FieldSummary, place: &str) {
        self.verdicts += 1;
        match verdict {
            Some(is_anomaly) => assert_eq!(found.anomaly, is_anomaly, "{place}"),
            None => self.undecided += 1,
        }
    }
}

impl DeviceField {
    /// Counts the newest value if it is an anomaly, whose point is then checked.
    fn count(&mut self, point: Option<&Point>, score: &Score, cooldown: usize, place: &str) {
        let Some(point) = point else {
            return;
        };
        let found = self.found.unwrap();
        assert_eq!((point.value, Some(point.z)), (found.last, found.z_score), "{place}");
        assert!(is_close(point.mean, score.mean, score.tolerance), "{place}");
        assert!(is_close(point.stddev, score.stddev, score.tolerance), "{place}");
        self.naive.count_anomaly(cooldown);
    }
}

/// Checks the numbers of a field, whose window has these values.
fn check_numbers(found: &FieldSummary, expected: &Expected, window: &[f64], place: &str) {
    assert_eq!(found.z_score.is_some(), expected.score.is_some(), "{place}");
    if let (Some(z), Some(score)) = (found.z_score, expected.score) {
        assert!(is_close(z, score.z, score.z_tolerance), "{place}");
    } else {
        assert!(!found.anomaly, "{place}");
    }
    let tolerance = expected.tolerance;
    assert!(is_close(found.rolling_average, expected.mean, tolerance), "{place}");
    assert!(is_close(found.stddev, expected.stddev, tolerance), "{place}");
    assert_eq!((found.count, Some(&found.last)), (window.len(), window.last()), "{place}");
    let extreme = |pick: fn(f64, f64) -> f64| window.iter().copied().reduce(pick);
    assert_eq!(Some(found.min), extreme(f64::min), "{place}");
    assert_eq!(Some(found.max), extreme(f64::max), "{place}");
}

fn check_device(settings: &AnalyticsSettings, device: &Device, summary: &SeriesSummary) {
    let times: Vec<&[i64]> = device.fields.iter().map(|field| &field.times[..]).collect();
    check_window(settings, &times, summary);
    assert_eq!(summary.accepted, device.accepted);
    let fields = || device.fields.iter().map(|field| &field.naive);
    assert_eq!(summary.anomalies.points, fields().map(|field| field.points).sum::<u64>());
    assert_eq!(summary.anomalies.episodes, fields().map(|field| field.episodes).sum::<u64>());
}

/// Checks the window of a series whose fields' values have these timestamps.
fn check_window(settings: &AnalyticsSettings, times: &[&[i64]], summary: &SeriesSummary) {
    let required = settings.schema.required().len();
    // Required fields have one window.
    let times = if required > 0 { &times[..required] } else { times };
    let held: Vec<&[i64]> = times.iter().map(|times| last(settings.window, times)).collect();
    let window = summary.window;
    assert_eq!(window.size, settings.window);
    assert_eq!(Some(window.count), held.iter().map(|times| times.len()).max());
    assert_eq!(window.from_ms.as_ref(), held.iter().copied().flatten().min());
    assert_eq!(window.to_ms.as_ref(), held.iter().copied().flatten().max());
}

fn is_close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance
}
