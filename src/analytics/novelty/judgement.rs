//! Judgements of the detector, and what they are made of.

use super::preset::{CHANNELS, Preset};

/// The hours of a day of work and of a day of rest.
pub const HOURS: usize = 48;

/// The excess of what is clear, in margins: what lasts is told again from there on, and with
/// `--novelty quiet` nothing is told below it.
pub const EXCESS_CLEAR: f32 = 2.0;

/// A quantity whose band a value may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// The value against what is usual for its hour.
    Usual,
    /// The average over a short time of the deviations from the usual, in units of the usual one.
    Short,
    /// The level of late against that of a long time.
    Level,
    /// The share of late values that were far from the usual.
    Share,
}

impl Quantity {
    /// All of them, in the order of their bands.
    pub const ALL: [Self; CHANNELS] = [Self::Usual, Self::Short, Self::Level, Self::Share];

    /// Returns its name, as answers have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usual => "usual for the hour",
            Self::Short => "short average",
            Self::Level => "level",
            Self::Share => "unusual share",
        }
    }

    pub(super) const fn from_index(index: u8) -> Self {
        match index {
            0 => Self::Usual,
            1 => Self::Short,
            2 => Self::Level,
            _ => Self::Share,
        }
    }
}

/// The time of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// Its timestamp, in milliseconds of Unix time.
    pub ms: i64,
    /// The hour of its day by the operator's clock, 24 more on Saturdays and Sundays.
    pub hour: u8,
}

/// The numbers by which a series is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sensitivity {
    /// Those of the detector.
    pub preset: Preset,
    /// The sum of the excesses, in margins, from which on there is an alert.
    pub excess: f32,
}

impl Sensitivity {
    /// Returns the score from which on there is an alert.
    pub fn threshold(&self) -> f32 {
        score_of(self.excess)
    }

    /// The highest score of an event without an alert.
    pub(super) fn below_threshold(&self) -> f32 {
        self.threshold() - 1e-3
    }
}

/// The judgement of one event.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judgement {
    /// From 0 to 1; from the threshold on only if there is an alert.
    pub score: f32,
    /// The quantity that was furthest outside its band, if there is an alert.
    pub alert: Option<Quantity>,
}

/// One quantity, with its band.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Banded {
    /// The quantity after the last event.
    pub now: f32,
    /// The lower end of its band.
    pub low: f32,
    /// The upper end of its band.
    pub high: f32,
}

/// The last alert of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastAlert {
    /// The timestamp of its event.
    pub ms: i64,
    /// Its reason.
    pub quantity: Quantity,
}

/// Returns the score of so large an excess.
pub(super) const fn score_of(excess: f32) -> f32 {
    excess / (1.0 + excess)
}
