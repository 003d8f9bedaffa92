//! The detector of one series: the bands that four quantities have stayed in so far, and a score
//! for how far a value leads out of them.
//!
//! Pure: the time of an event is its own timestamp, and an event is judged by those before it. The
//! state is of one size, however long a series is, and an event costs some hundred operations
//! without a loop over the past. All arithmetic stays finite for any values and stamps.

use super::judgement::{
    EXCESS_CLEAR, EventTime, HOURS, Judgement, Quantity, Sensitivity, score_of,
};
use super::lanes::{Lanes, larger, smaller};
use super::preset::{CHANNELS, Preset};
use crate::analytics::prefetch::{prefetch, prefetch_at};

/// The unit of time of the rates.
const UNIT_MS: f32 = 300_000.0;

/// Time without events counts as so many units at most, and no event as less time than this.
const UNITS: [f32; 2] = [0.01, 36.0];

/// After so many events a series has bands.
pub(super) const LEARNT: u32 = 40;

/// After so many events a series has scores.
const SCORED: u32 = 75;

/// So long after an alert there is no other one.
const REST_MS: i64 = 4 * 3_600_000;

/// So long after an alert what lasts since then is told again only if it is much worse.
const INCIDENT_MS: i64 = 24 * 3_600_000;

/// So long after its first event a series has no alert: nearly all that it does is new.
const MUTE_MS: i64 = 12 * 3_600_000;

/// Larger values count as this; what is computed from them then has a place in the number format.
const VALUE_MAX: f64 = 1e30;

/// Values closer to each other than this share of their size count as equal.
const RELATIVE: f32 = 1e-3;

/// The narrowest band, and the least deviation.
const LEAST: f32 = 1e-9;

/// The size below which an average has decayed to nothing. One that nothing is added to would
/// otherwise come to rest at the smallest numbers of the format, which processors compute
/// with so slowly that an event costs two to four times as much.
const NOTHING: f32 = 1e-20;

/// A larger sum of the excesses counts as this.
const EXCESS_MAX: f32 = 1e30;

/// The rate of what is usual for an hour is no larger than this, after however long a time.
const HOUR_RATE_MAX: f32 = 0.3;

/// A residual counts as so many deviations at most.
const DEVIATIONS_MAX: f32 = 100.0;

/// A band loses no larger share of its width at once.
const FORGETTING_MAX: f32 = 0.05;

/// The events that the hour of one kind of day lends to the same hour of the other kind.
const LENT_EVENTS: u8 = 3;

/// The state of one series. What each event needs stands at the beginning; of the hours it needs
/// one.
#[repr(C)]
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesBands {
    /// The first value, from which all others are counted.
    pub(super) base: f64,
    /// The newest timestamp.
    pub(super) last_ms: i64,
    /// The timestamp of the last alert; before there is one, what keeps the first hours mute.
    pub(super) alert_ms: i64,
    /// The events so far, and how many they were at the last alert.
    pub(super) events: u32,
    pub(super) alert_events: u32,
    pub(super) alerts: u32,
    /// The score of the last event.
    pub(super) score: f32,
    pub(super) level: f32,
    /// The usual deviation in all hours.
    pub(super) deviation: f32,
    /// The time in which the bands have not been narrowed.
    pub(super) unforgotten: f32,
    /// The reason of the last alert.
    pub(super) reason: u8,
    /// The side to which the last alert went, 1 or -1, while the short average stays on that side;
    /// 0 when it has come back.
    pub(super) incident: i8,
    pub(super) low: [f32; CHANNELS],
    pub(super) high: [f32; CHANNELS],
    /// The usual size of each quantity.
    pub(super) typical: [f32; CHANNELS],
    /// The quantities after the last event.
    pub(super) now: [f32; CHANNELS],
    /// The events that each hour has had.
    pub(super) seen: [u8; HOURS],
    /// The usual value of each hour, and the usual deviation from it.
    pub(super) hours: [[f32; 2]; HOURS],
}

/// An event beside the usual of its hour.
struct Residual {
    /// Its distance from the usual.
    raw: f32,
    /// The part of that which is learnt: one absurd value must not make all others look usual.
    learnt: f32,
    /// That part in deviations.
    scaled: f32,
    /// The value that is learnt.
    value: f32,
}

/// The way of an event's quantities out of their bands.
struct Excess {
    /// That of each quantity, in margins.
    each: [f32; CHANNELS],
    /// Their sum.
    sum: f32,
    /// The same without the share of unusual values.
    without_share: f32,
}

impl Excess {
    fn new(each: [f32; CHANNELS]) -> Self {
        let [usual, short, level, share] = each;
        let without_share = usual + short + level;
        Self { each, sum: without_share + share, without_share }
    }

    /// Returns the quantity that is furthest outside.
    fn quantity(&self) -> Quantity {
        let (mut quantity, mut most) = (Quantity::Usual, 0.0);
        for (excess, of) in self.each.iter().zip(Quantity::ALL) {
            if *excess > most {
                (quantity, most) = (of, *excess);
            }
        }
        quantity
    }
}

impl SeriesBands {
    /// Returns the state before a series' first event.
    pub const fn new() -> Self {
        Self {
            base: 0.0,
            last_ms: 0,
            alert_ms: 0,
            events: 0,
            alert_events: 0,
            alerts: 0,
            score: 0.0,
            level: 0.0,
            deviation: 0.0,
            unforgotten: 0.0,
            reason: 0,
            incident: 0,
            low: [0.0; CHANNELS],
            high: [0.0; CHANNELS],
            typical: [0.0; CHANNELS],
            now: [0.0; CHANNELS],
            seen: [0; HOURS],
            hours: [[0.0; 2]; HOURS],
        }
    }

    /// Judges a value by those before it, and learns it. A value that is not finite is neither
    /// judged nor learnt. A stamp that goes back is taken as no time passed.
    pub fn push(&mut self, sensitivity: &Sensitivity, value: f64, at: EventTime) -> Judgement {
        if !value.is_finite() {
            return Judgement::default();
        }
        let value = value.clamp(-VALUE_MAX, VALUE_MAX);
        let preset = &sensitivity.preset;
        let units = self.begin(value, at.ms);
        let residual = self.learn_hour(preset, value, hour_of(at), units);
        let first = 1.0 / self.events as f32;
        self.learn_averages(preset, &residual, units, first);
        if self.events <= LEARNT {
            self.begin_bands();
            return Judgement::default();
        }
        let excess = self.learn_bands(preset, &residual, units, first);
        if self.events <= SCORED {
            return Judgement::default();
        }
        self.judge(sensitivity, &excess)
    }

    /// Counts an event. Returns the time that has passed before it.
    fn begin(&mut self, value: f64, ms: i64) -> f32 {
        if self.events == 0 {
            self.base = value;
            self.last_ms = ms;
            self.alert_ms = ms.saturating_add(MUTE_MS - REST_MS);
        }
        self.events = self.events.saturating_add(1);
        let passed = ms.saturating_sub(self.last_ms).max(0);
        self.last_ms = self.last_ms.max(ms);
        let [least, most] = UNITS;
        (passed as f32 / UNIT_MS).clamp(least, most)
    }

    /// Learns what is usual for an hour. Returns what the value is to it.
    fn learn_hour(&mut self, preset: &Preset, value: f64, hour: usize, units: f32) -> Residual {
        let (base, x) = (self.base as f32, (value - self.base) as f32);
        if self.seen.get(hour).is_some_and(|seen| *seen == 0) {
            self.lend_hour(hour, x);
        }
        let (Some([usual, deviation]), Some(seen)) =
            (self.hours.get_mut(hour), self.seen.get_mut(hour))
        else {
            return Residual { raw: 0.0, learnt: 0.0, scaled: 0.0, value: x };
        };
        let raw = x - *usual;
        let is_learnt = self.events > LEARNT;
        let learnt = if is_learnt {
            let [[low, ..], [high, ..]] = [self.low, self.high];
            let size = smaller(value.abs() as f32, usual.abs() + base.abs());
            let width = high - low + LEAST + RELATIVE * size;
            larger(smaller(raw, high + width), low - width)
        } else {
            raw
        };
        let size = (base + *usual + learnt).abs();
        let unit = *deviation + preset.common * self.deviation + RELATIVE * size + LEAST;
        let scaled = larger(smaller(learnt / unit, DEVIATIONS_MAX), -DEVIATIONS_MAX);
        let scaled = if is_learnt { scaled } else { 0.0 };
        let value = *usual + learnt;
        *seen = seen.saturating_add(1);
        let rate = smaller(preset.hour_rate * units, HOUR_RATE_MAX);
        let rate = larger(rate, 1.0 / f32::from(*seen));
        *usual += rate * learnt;
        *deviation = settled(*deviation + rate * (learnt.abs() - *deviation));
        Residual { raw, learnt, scaled, value }
    }

    /// Fills an hour that has had no event by what the same hour of the other kind of day knows.
    #[cold]
    fn lend_hour(&mut self, hour: usize, x: f32) {
        let other = (hour + HOURS / 2) % HOURS;
        let known = self.seen.get(other).copied().unwrap_or_default();
        let lent = self.hours.get(other).filter(|_| known > 0).copied();
        if let Some(place) = self.hours.get_mut(hour) {
            *place = lent.unwrap_or([x, self.deviation]);
        }
        if let Some(seen) = self.seen.get_mut(hour) {
            *seen = known.min(LENT_EVENTS);
        }
    }

    /// Learns the averages, of which the quantities are made.
    fn learn_averages(&mut self, preset: &Preset, residual: &Residual, units: f32, first: f32) {
        let elapsed = units.sqrt();
        let in_time = |rate: f32| larger(smaller(rate * elapsed, 1.0), first);
        let approach =
            |average: f32, rate: f32, new: f32| settled(average + rate * (new - average));
        let of_all = larger(preset.deviation_rate, first);
        self.deviation = approach(self.deviation, of_all, residual.learnt.abs());
        let [_, short, drift, share] = self.now;
        let short = approach(short, in_time(preset.short_rate), residual.scaled);
        self.level += larger(preset.level_rate, first) * (residual.value - self.level);
        let drift = approach(drift, in_time(preset.long_rate), residual.value - self.level);
        let unusual = if residual.scaled.abs() > preset.unusual { 1.0 } else { 0.0 };
        let share = approach(share, in_time(preset.share_rate), unusual);
        self.now = [residual.raw, short, drift, share];
    }

    /// Sets the bands to where the quantities are, and learns their typical size.
    fn begin_bands(&mut self) {
        (self.low, self.high) = (self.now, self.now);
        for (typical, now) in self.typical.iter_mut().zip(self.now) {
            *typical += (now.abs() - *typical) / self.events as f32;
        }
    }

    /// Widens the bands to what is seen, and narrows them for the time that has passed. Returns the
    /// excesses.
    fn learn_bands(
        &mut self,
        preset: &Preset,
        residual: &Residual,
        units: f32,
        first: f32,
    ) -> Excess {
        // In steps of a unit, or what is to be taken off would be lost in the rounding.
        self.unforgotten += units;
        let mut narrowing = 0.0;
        if self.unforgotten >= 1.0 {
            narrowing = smaller(preset.forgetting * self.unforgotten, FORGETTING_MAX);
            self.unforgotten = 0.0;
        }
        let rate = larger(preset.deviation_rate, first);
        let size = RELATIVE * (self.base as f32 + residual.value).abs();
        let (now, size) = (Lanes(self.now), Lanes([size, 0.0, size, 0.0]));
        let (low, high, typical) = (Lanes(self.low), Lanes(self.high), Lanes(self.typical));
        let width = high - low + Lanes::all(LEAST) + size;
        let over = (now - high).larger(low - now).larger(Lanes::all(0.0));
        let margin = Lanes(preset.margins) * width + Lanes::all(preset.typical) * typical;
        let each = (over / margin).smaller(Lanes::all(EXCESS_MAX));
        // A band at most doubles at once: a new level is learnt in a few events, while one absurd
        // value does not open it for everything.
        let step = |end: Lanes| over.smaller(width.larger(end.map(least_step)));
        let new_high = now.above(high, high + step(high), high);
        let new_low = low.above(now, low - step(low), low);
        let taken = Lanes::all(0.5) * (new_high - new_low) * Lanes::all(narrowing);
        self.high = (new_high - taken).0;
        self.low = (new_low + taken).0;
        let [_, short, drift, share] = now.0;
        let learnt = Lanes([residual.learnt, short, drift, share]);
        let change = Lanes::all(rate) * (learnt.map(f32::abs) - typical);
        self.typical = (typical + change).map(settled).0;
        Excess::new(each.0)
    }

    /// Decides on an alert, unless the series rests, or has told what lasts.
    fn judge(&mut self, sensitivity: &Sensitivity, excess: &Excess) -> Judgement {
        let [usual, short, level, _] = self.now;
        if self.incident != 0 && f32::from(self.incident) * short <= 0.0 {
            self.incident = 0;
        }
        self.score = score_of(excess.sum);
        if excess.sum < sensitivity.excess {
            return Judgement { score: self.score, alert: None };
        }
        let quantity = excess.quantity();
        let side = match quantity {
            Quantity::Usual | Quantity::Share => usual,
            Quantity::Short => short,
            Quantity::Level => level,
        };
        let side = if side > 0.0 { 1 } else { -1 };
        let since_alert = self.last_ms.saturating_sub(self.alert_ms);
        let rests = self.events - self.alert_events <= sensitivity.preset.rest_events
            || since_alert <= REST_MS;
        // Values that stay at a new level are unusual by that alone, so their share says nothing.
        let is_told = side == self.incident
            && since_alert <= INCIDENT_MS
            && excess.without_share < sensitivity.excess.max(EXCESS_CLEAR);
        if rests || is_told {
            self.score = self.score.min(sensitivity.below_threshold());
            return Judgement { score: self.score, alert: None };
        }
        self.alert_events = self.events;
        self.alert_ms = self.last_ms;
        self.alerts = self.alerts.saturating_add(1);
        self.reason = quantity as u8;
        self.incident = side;
        Judgement { score: self.score, alert: Some(quantity) }
    }

    /// Asks for what an event in this hour will need.
    #[inline(always)]
    pub(in crate::analytics) fn prefetch(&self, hour: u8) {
        let hour = usize::from(hour);
        prefetch(&self.base);
        prefetch(&self.events);
        prefetch(&self.low);
        prefetch(&self.now);
        prefetch_at(&self.seen, hour);
        prefetch_at(&self.hours, hour);
    }
}

impl Default for SeriesBands {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the hour of a time.
const fn hour_of(at: EventTime) -> usize {
    let hour = at.hour as usize;
    if hour < HOURS { hour } else { hour % HOURS }
}

/// Returns a number, or zero for what is nothing.
const fn settled(number: f32) -> f32 {
    if number.abs() < NOTHING { 0.0 } else { number }
}

/// Returns the least by which the end of a band can move: less would be lost in the rounding, and a
/// narrow band far from zero would never widen.
const fn least_step(end: f32) -> f32 {
    4.0 * f32::EPSILON * end.abs()
}

// A device pays so much for each field while the detector is on.
const _: () = assert!(size_of::<SeriesBands>() <= 560);
