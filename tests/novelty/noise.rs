//! Artificial series of one event a minute: how often noise is told to be new, and how soon
//! something new is found.

use corepulse::analytics::novelty::judgement::{EventTime, Quantity, Sensitivity};
use corepulse::analytics::novelty::preset::Preset;
use corepulse::analytics::novelty::series_bands::SeriesBands;

const MINUTE_MS: i64 = 60_000;
const DAY: usize = 24 * 60;
const WEEK: usize = 7 * DAY;

pub(crate) const ON: Sensitivity = Sensitivity { preset: Preset::WHOLE, excess: 1.0 };
pub(crate) const QUIET: Sensitivity = Sensitivity { preset: Preset::WHOLE, excess: 2.0 };

/// A source of noise that is the same in each run.
struct Noise(fastrand::Rng);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0.f64()
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        let (mut count, mut left) = (0.0, self.uniform());
        let end = (-mean).exp();
        while left > end {
            left *= self.uniform();
            count += 1.0;
        }
        count
    }
}

/// A series of one event a minute from a Wednesday on.
struct Minutes {
    bands: SeriesBands,
    sensitivity: Sensitivity,
    minute: usize,
}

impl Minutes {
    fn new(sensitivity: Sensitivity) -> Self {
        Self { bands: SeriesBands::new(), sensitivity, minute: 0 }
    }

    fn push(&mut self, value: f64) -> Option<Quantity> {
        let days = self.minute / DAY;
        let hour = (self.minute % DAY / 60) as u8 + if matches!(days % 7, 3 | 4) { 24 } else { 0 };
        let at = EventTime { ms: self.minute as i64 * MINUTE_MS, hour };
        self.minute += 1;
        self.bands.push(&self.sensitivity, value, at).alert
    }
}

/// A kind of noise: from the state, which it may change, the noise and the minute to a value.
type Kind = fn(&mut f64, &mut Noise, usize) -> f64;

fn daily(minute: usize) -> f64 {
    (std::f64::consts::TAU * minute as f64 / DAY as f64).sin()
}

/// The kinds; true where extremes are as rare as those of the normal distribution.
const KINDS: [(&str, bool, Kind); 12] = [
    ("Gaussian", true, |_, noise, _| 50.0 + 5.0 * noise.normal()),
    ("AR(1) 0.9", true, |state, noise, _| {
        *state = 0.9 * *state + noise.normal();
        50.0 + *state
    }),
    ("AR(1) 0.99", true, |state, noise, _| {
        *state = 0.99 * *state + noise.normal();
        50.0 + *state
    }),
    ("daily", true, |_, noise, minute| 50.0 + 20.0 * daily(minute) + 3.0 * noise.normal()),
    ("weekly", true, |_, noise, minute| {
        let height = if matches!(minute / DAY % 7, 3 | 4) { 5.0 } else { 20.0 };
        50.0 + height * daily(minute) + 3.0 * noise.normal()
    }),
    ("lognormal 0.5", false, |_, noise, _| (0.5 * noise.normal()).exp()),
    ("lognormal 1", false, |_, noise, _| noise.normal().exp()),
    ("Pareto 2", false, |_, noise, _| (1.0 - noise.uniform()).powf(-0.5)),
    ("counter", false, |state, noise, _| {
        *state += 100.0 * noise.uniform();
        *state
    }),
    ("constant", true, |_, _, _| 42.0),
    ("random walk", false, |state, noise, _| {
        *state += noise.normal();
        *state
    }),
    ("Poisson", true, |_, noise, minute| noise.poisson(8.0 + 5.0 * daily(minute))),
];

/// The mean number of alerts a week after the first, over eight series of six weeks.
fn alerts_a_week(sensitivity: Sensitivity, kind: Kind) -> f64 {
    let mut alerts = 0;
    for seed in 0..8 {
        let (mut state, mut noise) = (0.0, Noise(fastrand::Rng::with_seed(seed)));
        let mut series = Minutes::new(sensitivity);
        for minute in 0..6 * WEEK {
            let alert = series.push(kind(&mut state, &mut noise, minute));
            alerts += u32::from(alert.is_some() && minute >= WEEK);
        }
    }
    f64::from(alerts) / (8.0 * 5.0)
}

#[test]
fn noise_is_seldom_new() {
    for (name, is_light, kind) in KINDS {
        let [on, quiet] = [ON, QUIET].map(|sensitivity| alerts_a_week(sensitivity, kind));
        println!("{name:>14}  on {on:.2}  quiet {quiet:.2}");
        assert!(on <= 1.2, "{name}: {on} alerts a week");
        assert!(!is_light || quiet <= 0.2, "{name}: {quiet} alerts a week when quiet");
    }
}

/// Returns a series of two weeks of noise around 50 that does not rest: an alert of the noise just
/// before would hide what comes.
fn learnt(sensitivity: Sensitivity, noise: &mut Noise) -> Minutes {
    let mut series = Minutes::new(sensitivity);
    for _ in 0..2 * WEEK {
        series.push(50.0 + noise.normal());
    }
    while series.minute as i64 * MINUTE_MS - series.bands.last_alert().map_or(0, |alert| alert.ms)
        <= 4 * 60 * MINUTE_MS
    {
        series.push(50.0 + noise.normal());
    }
    series
}

#[test]
fn a_new_level_is_found_once() {
    for (name, sensitivity) in [("on", ON), ("quiet", QUIET)] {
        for height in [3.0, 5.0, 8.0, 20.0, 1000.0, -3.0, -8.0] {
            const SERIES: u64 = 100;
            let (mut found, mut further, mut events) = (0, 0, 0);
            for seed in 0..SERIES {
                let mut noise = Noise(fastrand::Rng::with_seed(100 + seed));
                let mut series = learnt(sensitivity, &mut noise);
                let mut shifted = (0..2 * DAY).map(|_| series.push(50.0 + height + noise.normal()));
                let first = shifted.by_ref().position(|alert| alert.is_some());
                found += u64::from(first.is_some_and(|event| event < 60));
                events += first.unwrap_or_default();
                further += shifted.filter(Option::is_some).count();
            }
            println!("{name} {height:>6} σ: {found} found, {events} events, {further} further");
            assert_eq!(found, SERIES, "{name}: {height} σ");
            assert!(further <= 10, "{name}: {height} σ: {further} further alerts in two days");
        }
    }
}

/// While a new level lasts, what is clearly worse is told, and so is the way to the other side.
#[test]
fn what_gets_worse_is_told_again() {
    for (first, second) in [(3.0, 8.0), (8.0, 16.0), (3.0, -3.0), (-8.0, -16.0)] {
        for hours in [5, 12] {
            let told = (0..10).filter(|seed| {
                let mut noise = Noise(fastrand::Rng::with_seed(400 + seed));
                let mut series = learnt(ON, &mut noise);
                (0..hours * 60).for_each(|_| _ = series.push(50.0 + first + noise.normal()));
                (0..240).any(|_| series.push(50.0 + second + noise.normal()).is_some())
            });
            let told = told.count();
            assert!(told >= 8, "{first} and after {hours} h {second}: {told} of 10");
        }
    }
}

#[test]
fn an_absurd_value_is_told_once_and_blinds_nothing() {
    for absurd in [1e3, 1e6, 1e12, 1e30, f64::MAX, -1e30] {
        for seed in 0..10 {
            let mut noise = Noise(fastrand::Rng::with_seed(200 + seed));
            let mut series = learnt(ON, &mut noise);
            assert!(series.push(absurd).is_some(), "{absurd:e} {seed}");
            let between: usize =
                (0..DAY).map(|_| usize::from(series.push(50.0 + noise.normal()).is_some())).sum();
            assert!(between <= 1, "{absurd:e} {seed}: {between} alerts");
            let found = (0..10).any(|_| series.push(80.0 + noise.normal()).is_some());
            assert!(found, "{absurd:e} {seed}");
        }
    }
}
