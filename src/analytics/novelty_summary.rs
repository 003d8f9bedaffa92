//! Summaries of what the second judge knows of a series, for those who ask for its device.

use super::novelty::FieldNovelty;
use super::novelty::judgement::{Banded, LastAlert, Quantity};
use super::novelty::local_day::LocalDay;

/// One field of one device, as the second judge sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct NoveltySummary {
    /// The bands, if the detector is on.
    pub bands: Option<BandsSummary>,
    /// The events in succession that had the last value, if that is judged.
    pub still: Option<u32>,
}

/// The bands of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct BandsSummary {
    /// The score of the last event.
    pub score: f32,
    /// The alerts so far, and the last one.
    pub alerts: u32,
    /// The last alert.
    pub last_alert: Option<LastAlert>,
    /// The value that is usual in the hour of the last event.
    pub usual: Option<f64>,
    /// The quantities with their bands; none while the series is too short for bands.
    pub quantities: Vec<(Quantity, Banded)>,
}

impl NoveltySummary {
    /// Returns the summary of a field by the operator's clock.
    pub(super) fn new(copy: &FieldNovelty, day: &LocalDay) -> Self {
        let bands = copy.bands.as_ref().map(|bands| BandsSummary {
            score: bands.score(),
            alerts: bands.alerts(),
            last_alert: bands.last_alert(),
            usual: bands.usual_in(day.hour(bands.last_ms())),
            quantities: Quantity::ALL
                .into_iter()
                .filter_map(|quantity| Some((quantity, bands.banded(quantity)?)))
                .collect(),
        });
        Self { bands, still: copy.stillness.map(|still| still.run()) }
    }
}
