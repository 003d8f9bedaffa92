//! Novelty in answers: what the second judge says of a field.

use serde::Serialize;

use super::json::{Number, Text};
use crate::analytics::novelty_summary::{BandsSummary, NoveltySummary};
use crate::metric::timestamp::Rfc3339;

/// Returns a score in as many digits as it is good for.
pub(super) fn score(score: f32) -> Number {
    Number(Some((f64::from(score) * 1e3).round() / 1e3))
}

/// Returns a number in as few digits as tell it from others of its precision.
fn short(number: f32) -> Number {
    Number(number.to_string().parse().ok())
}

/// Returns what is said of the first fields, and of all others that there is nothing to say.
pub(super) fn padded(
    novelty: &[Option<NoveltySummary>],
) -> impl Iterator<Item = Option<&NoveltySummary>> {
    novelty.iter().map(Option::as_ref).chain(std::iter::repeat(None))
}

/// One field of one device.
#[derive(Serialize)]
pub(super) struct Novelty {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    bands: Option<Bands>,
    #[serde(skip_serializing_if = "Option::is_none")]
    still: Option<u32>,
}

#[derive(Serialize)]
struct Bands {
    score: Number,
    alerts: u32,
    last_alert: Option<Alert>,
    usual: Number,
    quantities: Vec<Quantity>,
}

#[derive(Serialize)]
struct Alert {
    timestamp: Text<Rfc3339>,
    reason: &'static str,
}

#[derive(Serialize)]
struct Quantity {
    name: &'static str,
    now: Number,
    low: Number,
    high: Number,
}

impl From<&NoveltySummary> for Novelty {
    fn from(summary: &NoveltySummary) -> Self {
        Self { bands: summary.bands.as_ref().map(Bands::from), still: summary.still }
    }
}

impl From<&BandsSummary> for Bands {
    fn from(bands: &BandsSummary) -> Self {
        let quantities = bands.quantities.iter().map(|(quantity, banded)| Quantity {
            name: quantity.name(),
            now: short(banded.now),
            low: short(banded.low),
            high: short(banded.high),
        });
        Self {
            score: score(bands.score),
            alerts: bands.alerts,
            last_alert: bands.last_alert.map(|alert| Alert {
                timestamp: Text(Rfc3339(alert.ms)),
                reason: alert.quantity.name(),
            }),
            usual: Number(bands.usual),
            quantities: quantities.collect(),
        }
    }
}
