//! Novelty: what is really new in a series, told beside the anomalies and never in their place.
//!
//! Two standard deviations of fifty values flag one value of noise in twenty. The detector here
//! keeps the bands that four quantities of a series have stayed in so far, and tells when one is
//! left by clearly more than a margin: `docs/novelty.md` says what it sees and what it does not.
//!
//! [`series_bands`] is the detector of one series, a [`judgement`] what it says, and [`preset`] its
//! numbers; [`local_day`] has the hour of the operator's clock, and [`stillness`] sees what the
//! detector does not, a series that stands still. [`encoding`] has the bytes by which a series'
//! state moves, and `lanes` the numbers that are computed side by side.

pub mod encoding;
pub mod judgement;
mod knowledge;
mod lanes;
pub mod local_day;
pub mod preset;
pub mod series_bands;
pub mod stillness;

use std::sync::Arc;

use judgement::{EXCESS_CLEAR, Quantity, Sensitivity};
use local_day::LocalDay;
use preset::Preset;
use series_bands::SeriesBands;
use stillness::Stillness;

/// The excess, in margins, from which on there is an alert: a score of 0.5.
pub const EXCESS_ON: f32 = 1.0;

/// The same for who wants to hear of the clearest only: a score of 0.667.
pub const EXCESS_QUIET: f32 = EXCESS_CLEAR;

/// Bytes of a field of a device while the detector is on, whatever it has sent.
pub const BANDS_BYTES: usize = 560;

/// Bytes of a field of a device while standing still is judged.
pub const STILLNESS_BYTES: usize = 24;

/// The judges beside the rule of standard deviations.
#[derive(Clone, Debug)]
pub struct NoveltySettings {
    /// The numbers of the detector; `None` without it.
    pub sensitivity: Option<Sensitivity>,
    /// The events of one value after which a series stands still; `None` if it may.
    pub stuck_after: Option<u32>,
    /// The operator's clock.
    pub day: Arc<LocalDay>,
}

impl NoveltySettings {
    /// Returns the settings by the numbers of the server, with an alert from this excess on.
    pub const fn sensitivity(excess: f32) -> Sensitivity {
        Sensitivity { preset: Preset::WHOLE, excess }
    }
}

/// The reason for which a value is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A quantity left its band.
    Left(Quantity),
    /// The series stands still.
    Stuck,
}

impl Reason {
    /// Returns its name, as answers have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Left(quantity) => quantity.name(),
            Self::Stuck => "stuck",
        }
    }
}

/// The state of one field of a device, as it moves to another instance.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldNovelty {
    /// The index of the field.
    pub field: u8,
    /// Its bands, if the detector is on.
    pub bands: Option<SeriesBands>,
    /// Its standing still, if that is judged.
    pub stillness: Option<Stillness>,
}

impl FieldNovelty {
    /// Returns the events that it knows of, by which the longer one of two is told.
    pub fn events(&self) -> u32 {
        self.bands.as_ref().map_or(0, SeriesBands::events)
    }
}
