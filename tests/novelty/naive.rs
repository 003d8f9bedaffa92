//! The naive twin of the detector: the same rules in double precision, as they are told in
//! `docs/novelty.md`, with a name for each step and no thought of cost.

use std::collections::HashMap;

use corepulse::analytics::novelty::judgement::{EventTime, Sensitivity};
use corepulse::analytics::novelty::preset::Preset;
use corepulse::analytics::novelty::series_bands::SeriesBands;

/// The usual of one hour.
#[derive(Clone, Copy)]
struct Hour {
    usual: f64,
    deviation: f64,
    events: u32,
}

/// One quantity, with the band that it has stayed in.
#[derive(Clone, Copy, Default)]
struct Band {
    now: f64,
    low: f64,
    high: f64,
    typical: f64,
}

/// A value beside the usual of its hour: its distance, what is learnt of that, the same in
/// deviations, and the value that is learnt.
#[derive(Clone, Copy)]
struct Learnt {
    raw: f64,
    learnt: f64,
    scaled: f64,
    value: f64,
}

/// The way of the quantities out of their bands, in margins.
#[derive(Clone, Copy, Default)]
struct Excess {
    /// The sum of all four, and of all but the share of unusual values.
    sum: f64,
    without_share: f64,
    /// The largest one, and whose it is.
    largest: f64,
    quantity: usize,
}

/// The judgement of the twin.
#[derive(Clone, Copy, Default)]
struct Told {
    excess: Excess,
    /// The side to which the value leads.
    side: f64,
    is_alert: bool,
}

/// A series.
struct Naive {
    preset: Preset,
    excess: f64,
    first: Option<(f64, i64)>,
    newest_ms: i64,
    events: u32,
    last_alert: Option<(u32, i64)>,
    /// The sign of what was told and lasts.
    incident: Option<f64>,
    hours: HashMap<u8, Hour>,
    deviation: f64,
    level: f64,
    unforgotten: f64,
    bands: [Band; 4],
}

impl Naive {
    fn new(preset: Preset, excess: f32) -> Self {
        Self {
            preset,
            excess: excess.into(),
            first: None,
            newest_ms: 0,
            events: 0,
            last_alert: None,
            incident: None,
            hours: HashMap::new(),
            deviation: 0.0,
            level: 0.0,
            unforgotten: 0.0,
            bands: [Band::default(); 4],
        }
    }

    /// Returns the excess, whether or not the series rests, and if there is an alert.
    fn push(&mut self, value: f64, ms: i64, hour: u8) -> Told {
        if !value.is_finite() {
            return Told::default();
        }
        let value = value.clamp(-1e30, 1e30);
        let (base, first_ms) = *self.first.get_or_insert((value, ms));
        self.newest_ms = if self.events == 0 { ms } else { self.newest_ms };
        let units = ((ms - self.newest_ms) as f64 / 300_000.0).clamp(0.01, 36.0);
        self.newest_ms = self.newest_ms.max(ms);
        self.events += 1;
        let learnt = self.learn_hour(value, hour, units);
        self.learn_quantities(learnt, units);
        if self.events <= 40 {
            for band in &mut self.bands {
                band.typical += (band.now.abs() - band.typical) / f64::from(self.events);
                (band.low, band.high) = (band.now, band.now);
            }
            return Told::default();
        }
        let excess = self.learn_bands(learnt, base, units);
        if self.events <= 75 {
            return Told::default();
        }
        let hours = |hours: i64| hours * 3_600_000;
        let rests = self.newest_ms - first_ms <= hours(12)
            || self.last_alert.is_some_and(|(events, ms)| {
                let count = self.events - events;
                count <= self.preset.rest_events || self.newest_ms - ms <= hours(4)
            });
        let [usual, short, level, _] = self.bands.map(|band| band.now);
        self.incident = self.incident.filter(|side| side * short > 0.0);
        let side = match excess.quantity {
            1 => short,
            2 => level,
            _ => usual,
        };
        let side = side.signum();
        let lasts = self.incident == Some(side)
            && self.last_alert.is_some_and(|(_, ms)| self.newest_ms - ms <= hours(24));
        let is_told = lasts && excess.without_share < self.needed_again();
        let is_alert = excess.sum >= self.excess && !rests && !is_told;
        Told { excess, side, is_alert }
    }

    /// Returns the excess with which what lasts is told again.
    fn needed_again(&self) -> f64 {
        self.excess.max(2.0)
    }

    /// Returns a rate that is at least that of a plain mean.
    fn at_least_mean(&self, rate: f64) -> f64 {
        rate.max(1.0 / f64::from(self.events))
    }

    /// Learns the hour, with what it may have from its twin of the other kind of day.
    fn learn_hour(&mut self, value: f64, hour: u8, units: f64) -> Learnt {
        let base = self.first.map_or(0.0, |(base, _)| base);
        let x = value - base;
        let twin = self.hours.get(&((hour + 24) % 48)).copied();
        let new = twin.map_or(Hour { usual: x, deviation: self.deviation, events: 0 }, |twin| {
            Hour { events: twin.events.min(3), ..twin }
        });
        let usual = self.hours.entry(hour).or_insert(new);
        let raw = x - usual.usual;
        let has_bands = self.events > 40;
        let Band { low, high, .. } = self.bands[0];
        let room = high - low + 1e-9 + 1e-3 * value.abs().min(usual.usual.abs() + base.abs());
        let learnt = if has_bands { raw.clamp(low - room, high + room) } else { raw };
        let size = (base + usual.usual + learnt).abs();
        let common = f64::from(self.preset.common) * self.deviation;
        let unit = usual.deviation + common + 1e-3 * size + 1e-9;
        let scaled = if has_bands { (learnt / unit).clamp(-100.0, 100.0) } else { 0.0 };
        let value = usual.usual + learnt;
        usual.events = (usual.events + 1).min(255);
        let rate = (f64::from(self.preset.hour_rate) * units).min(0.3);
        let rate = rate.max(1.0 / f64::from(usual.events));
        usual.usual += rate * learnt;
        usual.deviation += rate * (learnt.abs() - usual.deviation);
        Learnt { raw, learnt, scaled, value }
    }

    /// Learns the four quantities.
    fn learn_quantities(&mut self, learnt: Learnt, units: f64) {
        let Learnt { raw, learnt, scaled, value } = learnt;
        let p = self.preset;
        let rate = |rate: f32| self.at_least_mean(rate.into());
        let in_time = |rate: f32| self.at_least_mean((f64::from(rate) * units.sqrt()).min(1.0));
        let rates = [p.short_rate, p.long_rate, p.share_rate].map(in_time);
        let (deviation_rate, level_rate) = (rate(p.deviation_rate), rate(p.level_rate));
        self.deviation += deviation_rate * (learnt.abs() - self.deviation);
        self.level += level_rate * (value - self.level);
        let is_unusual = f64::from(u8::from(scaled.abs() > f64::from(p.unusual)));
        let [usual, averages @ ..] = &mut self.bands;
        usual.now = raw;
        let new = [scaled, value - self.level, is_unusual];
        for ((average, rate), new) in averages.iter_mut().zip(rates).zip(new) {
            average.now += rate * (new - average.now);
        }
    }

    /// Learns the bands. Returns how far the quantities are outside of them.
    fn learn_bands(&mut self, learnt: Learnt, base: f64, units: f64) -> Excess {
        let p = self.preset;
        self.unforgotten += units;
        let mut narrowing = 0.0;
        if self.unforgotten >= 1.0 {
            narrowing = (f64::from(p.forgetting) * self.unforgotten).min(0.05);
            self.unforgotten = 0.0;
        }
        let rate = self.at_least_mean(p.deviation_rate.into());
        let size = 1e-3 * (base + learnt.value).abs();
        let mut excess = Excess::default();
        for ((at, band), margin) in self.bands.iter_mut().enumerate().zip(p.margins) {
            let width = band.high - band.low + 1e-9 + if at % 2 == 0 { size } else { 0.0 };
            let over = (band.now - band.high).max(band.low - band.now).max(0.0);
            let [margin, typical] = [margin, p.typical].map(f64::from);
            let margins = over / (margin * width + typical * band.typical);
            excess.sum += margins;
            excess.without_share += if at == 3 { 0.0 } else { margins };
            if margins > excess.largest {
                (excess.largest, excess.quantity) = (margins, at);
            }
            if band.now > band.high {
                band.high += over.min(width);
            } else if band.now < band.low {
                band.low -= over.min(width);
            }
            let taken = (band.high - band.low) * narrowing / 2.0;
            (band.low, band.high) = (band.low + taken, band.high - taken);
            let seen = if at == 0 { learnt.learnt } else { band.now };
            band.typical += rate * (seen.abs() - band.typical);
        }
        excess
    }
}

/// Scores this near to a threshold are on either side of it, as numbers are rounded.
const BORDER: f64 = 1e-3;

/// The comparison of the detector with its twin over a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Agreement {
    /// The alerts of both.
    pub(crate) alerts: usize,
    /// The alerts of one of them alone, where the twin's score was next to the threshold.
    pub(crate) borderline: usize,
    /// The other ones.
    pub(crate) differing: usize,
}

/// Compares the detector with its twin. After a borderline event the twin rests as the detector
/// does.
pub(crate) fn compare(
    events: impl Iterator<Item = (f64, EventTime)>,
    sensitivity: &Sensitivity,
) -> Agreement {
    let mut bands = SeriesBands::new();
    let mut naive = Naive::new(sensitivity.preset, sensitivity.excess);
    let mut agreement = Agreement::default();
    for (value, time) in events {
        let before = naive.last_alert;
        let is_alert = bands.push(sensitivity, value, time).alert.is_some();
        let told = naive.push(value, time.ms, time.hour);
        let is_near = |excess: f64, bound: f64| {
            let score = |excess: f64| excess / (1.0 + excess);
            (score(excess) - score(bound)).abs() < BORDER
        };
        match (is_alert, told.is_alert) {
            (true, true) => agreement.alerts += 1,
            (false, false) => {}
            _ if is_near(told.excess.sum, naive.excess)
                || is_near(told.excess.without_share, naive.needed_again()) =>
            {
                agreement.borderline += 1;
            }
            _ => agreement.differing += 1,
        }
        let now = (naive.events, naive.newest_ms);
        (naive.last_alert, naive.incident) =
            if is_alert { (Some(now), Some(told.side)) } else { (before, naive.incident) };
    }
    agreement
}
