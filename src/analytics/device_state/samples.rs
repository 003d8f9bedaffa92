//! States for tests: of any bits, and of real series.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{DeviceState, FieldState, MinuteState, WindowState};
use crate::analytics::anomaly::Point;
use crate::analytics::lineage::{FORKS_MAX, Fork};
use crate::analytics::novelty::judgement::EventTime;
use crate::analytics::novelty::local_day::LocalDay;
use crate::analytics::novelty::series_bands::SeriesBands;
use crate::analytics::novelty::stillness::Stillness;
use crate::analytics::novelty::{EXCESS_ON, FieldNovelty, NoveltySettings};
use crate::analytics::series::{self, Rules};
use crate::analytics::window::{Row, WideTimestamps, Window};
use crate::limits::{FIELDS_MAX, RECENT_ANOMALIES_MAX, WINDOW_MAX};
use crate::schema::samples::schema_of;
use crate::schema::{FieldOptions, Schema};

/// The schemas of each number of required and of optional fields.
pub(super) static SCHEMAS: LazyLock<Vec<&'static Schema>> = LazyLock::new(|| {
    let counts = (0..=FIELDS_MAX).flat_map(|all| (0..=all).map(move |required| (all, required)));
    let field = |at, is_required| FieldOptions {
        name: format!("f{at}"),
        is_required,
        range: None,
        least_deviation: 0.0,
    };
    let schema = |(all, required)| {
        schema_of(&(0..all).map(|at| field(at, at < required)).collect::<Vec<_>>())
    };
    counts.map(schema).collect()
});

/// Returns any state under any schema.
pub(super) fn states() -> impl Strategy<Value = (&'static Schema, DeviceState)> {
    select(&SCHEMAS[..]).prop_flat_map(|schema| (Just(schema), states_of(schema)))
}

/// Returns any state under a schema.
pub(super) fn states_of(schema: &'static Schema) -> impl Strategy<Value = DeviceState> {
    let required = schema.required().len();
    let optional = (required..schema.fields().len()).map(|field| {
        proptest::option::weighted(0.7, windows(1))
            .prop_map(move |window| window.map(|window| (field as u8, window)))
    });
    let optional: Vec<_> = optional.collect();
    let required =
        if required > 0 { windows(required).prop_map(Some).boxed() } else { Just(None).boxed() };
    let recent = if schema.fields().is_empty() { 0 } else { RECENT_ANOMALIES_MAX };
    let minute = prop_oneof![
        Just(MinuteState::default()),
        (any::<[u32; 6]>(), any::<[bool; 6]>(), any::<i64>()).prop_map(|(counts, used, at)| {
            let used = used.map(u32::from);
            MinuteState { counts: std::array::from_fn(|i| counts[i] * used[i]), newest_us: at }
        }),
    ];
    (
        (any::<[u64; 3]>(), any::<i64>(), any::<u64>(), minute),
        (required, optional),
        (vec(any::<[u64; 4]>(), 0..=FORKS_MAX), vec(points(schema), 0..=recent), any::<u64>()),
    )
        .prop_map(
            |((counts, seen_us, timestamp, last_minute), windows, (forks, recent, seed))| {
                let [accepted, points, episodes] = counts;
                let fork = |[branch, accepted, points, episodes]: [u64; 4]| Fork {
                    branch,
                    accepted,
                    points,
                    episodes,
                };
                let (required, optional) = windows;
                let optional = optional.into_iter().flatten().collect();
                let forks = forks.into_iter().map(fork).collect();
                DeviceState {
                    accepted,
                    points,
                    episodes,
                    seen_us,
                    timestamp,
                    last_minute,
                    required,
                    optional,
                    forks,
                    recent,
                    novelty: novelty(&mut fastrand::Rng::with_seed(seed), schema),
                }
            },
        )
}

/// Returns what the second judge knows of some fields, in most cases of none.
fn novelty(random: &mut fastrand::Rng, schema: &Schema) -> Vec<FieldNovelty> {
    let is_asked = random.u8(..3) == 0;
    let fields = schema.fields().iter().filter(|_| is_asked && random.bool());
    let fields: Vec<_> = fields.map(|field| field.index() as u8).collect();
    let sensitivity = NoveltySettings::sensitivity(EXCESS_ON);
    let mut of = |field| {
        let (mut bands, mut stillness) = (SeriesBands::new(), Stillness::default());
        for step in 0..random.i64(0..200) {
            let value = (100.0 * random.f64()).round() * 10_f64.powi(random.i32(-2..3));
            let ms = 600_000 * step;
            bands.push(&sensitivity, value, EventTime { ms, hour: LocalDay::UTC.hour(ms) });
            stillness.push(value, 3);
        }
        let (bands, stillness) =
            (random.bool().then_some(bands), random.bool().then_some(stillness));
        FieldNovelty { field, bands, stillness }
    };
    fields.into_iter().map(&mut of).collect()
}

fn points(schema: &'static Schema) -> impl Strategy<Value = Point> {
    (any::<prop::sample::Index>(), any::<i64>(), any::<[u64; 4]>()).prop_map(|(at, time, bits)| {
        let [value, mean, stddev, z] = bits.map(f64::from_bits);
        let field = *at.get(schema.fields());
        Point { timestamp_ms: time, field, value, mean, stddev, z }
    })
}

/// Returns any window of so many fields.
fn windows(fields: usize) -> impl Strategy<Value = WindowState> {
    let longest = if fields == 1 { WINDOW_MAX } else { 1_000 };
    let size = prop_oneof![
        80 => 1..120_usize,
        1 => Just(longest),
        1 => 1..=longest,
    ];
    let count = prop_oneof![Just(None), any::<prop::sample::Index>().prop_map(Some)];
    (size, count, any::<u16>(), any::<u64>(), vec(any::<([u64; 3], u32)>(), fields)).prop_map(
        move |(size, count, next, seed, states)| {
            let count = count.map_or(size, |count| count.index(size + 1));
            let next = if count == size { usize::from(next) % size } else { count };
            let mut random = fastrand::Rng::with_seed(seed);
            let columns: Vec<_> = (0..fields).map(|_| column(&mut random, count)).collect();
            let event = |at: usize| columns.iter().map(move |column| column[at]);
            WindowState {
                size: size as u16,
                next: next as u16,
                times_ms: times(&mut random, count),
                values: (0..count).flat_map(event).collect(),
                fields: states
                    .into_iter()
                    .map(|(doubles, packed)| FieldState::from_bits(doubles, packed))
                    .collect(),
            }
        },
    )
}

/// Returns values of one of many kinds, now and then with others among them.
fn column(random: &mut fastrand::Rng, count: usize) -> Vec<f64> {
    let (kind, digits) = (random.u8(..8), random.i32(0..12));
    let level = (random.f64() - 0.5) * 10_f64.powi(random.i32(-3..18));
    let spread = 10_f64.powi(random.i32(-6..9));
    let others = random.u8(..3) == 0;
    let decimal = |random: &mut fastrand::Rng| {
        let value = level + spread * random.f64();
        format!("{value:.*}", digits as usize).parse().unwrap()
    };
    let constant = decimal(random);
    let any = |random: &mut fastrand::Rng| match random.u8(..6) {
        0 => -0.0,
        1 => f64::INFINITY,
        2 => f64::NAN,
        3 => f64::MIN_POSITIVE / 8.0,
        _ => f64::from_bits(random.u64(..)),
    };
    let one = |_| match kind {
        _ if others && random.u8(..20) == 0 => any(random),
        0 => any(random),
        1 => constant,
        2 => f64::from_bits((decimal(random)).to_bits().wrapping_add(random.u64(..64))),
        3 => random.f64(),
        _ => decimal(random),
    };
    (0..count).map(one).collect()
}

fn times(random: &mut fastrand::Rng, count: usize) -> Vec<i64> {
    let (kind, step) = (random.u8(..4), random.i64(0..600_000));
    let mut time = random.i64(..);
    let mut next = || {
        let later = match kind {
            0 => step,
            1 => step + random.i64(-50..50),
            2 => 1000 * random.i64(-5..50),
            _ => random.i64(..),
        };
        time = time.wrapping_add(later);
        time
    };
    (0..count).map(|_| next()).collect()
}

/// The series of `N` fields as an instance has it.
pub(super) struct Series<const N: usize> {
    rules: Rules,
    first: usize,
    window: Window,
    states: [FieldState; N],
    values: Vec<[f64; N]>,
    offsets: Vec<u32>,
    wide: WideTimestamps,
    /// The points and the episodes.
    pub(super) found: [u64; 2],
}

impl<const N: usize> Series<N> {
    /// Returns the series of the fields from this one on.
    pub(super) fn new(rules: Rules, first: usize) -> Self {
        Self {
            rules,
            first,
            window: Window::EMPTY,
            states: [FieldState::NEW; N],
            values: vec![[0.0; N]; rules.window],
            offsets: vec![0; rules.window],
            wide: WideTimestamps::new(),
            found: [0; 2],
        }
    }

    /// Judges an event.
    pub(super) fn push(&mut self, time_ms: i64, event: &[f64; N]) {
        let mut row = Row {
            slot: 0,
            states: &mut self.states,
            values: &mut self.values,
            offsets: &mut self.offsets,
            wide: &mut self.wide,
        };
        let window = &mut self.window;
        let found = series::apply(&self.rules, window, &mut row, self.first, event, time_ms);
        let counts = found.map_or([0; 2], |found| found.counts());
        self.found.iter_mut().zip(counts).for_each(|(sum, count)| *sum += u64::from(count));
    }

    pub(super) fn state(&self) -> WindowState {
        let wide = self.wide.get(&0).map(AsRef::as_ref);
        let time_at = |at| self.window.timestamp_ms(at, &self.offsets, wide).unwrap();
        WindowState {
            size: self.rules.window as u16,
            next: self.window.next() as u16,
            times_ms: (0..self.window.count()).map(time_at).collect(),
            values: self.window.values(&self.values).as_flattened().to_vec(),
            fields: self.states.to_vec(),
        }
    }
}

/// Returns the states of a device of two required fields that sent these, after each event.
pub(super) fn judged(events: &[(i64, [f64; 2])]) -> impl Iterator<Item = DeviceState> {
    let schema = Schema::standard();
    let rules = Rules {
        schema,
        window: 50,
        threshold: 3.0,
        min_samples: 16,
        cooldown: 50,
        judges_duplicates: false,
    };
    let mut series = Series::new(rules, 0);
    events.iter().zip(1..).map(move |((time_ms, event), accepted)| {
        series.push(*time_ms, event);
        let [points, episodes] = series.found;
        DeviceState {
            accepted,
            points,
            episodes,
            seen_us: time_ms * 1000 + 2_345,
            timestamp: time_ms.cast_unsigned(),
            last_minute: MinuteState::default(),
            required: Some(series.state()),
            optional: Vec::new(),
            forks: Vec::new(),
            recent: Vec::new(),
            novelty: Vec::new(),
        }
    })
}
