//! The history of a fleet: the seconds of its members, side by side.
//!
//! Each member samples at the whole seconds of its own clock, so of two members the same second
//! differs by up to half of one. Means and deviations of fields have no sum; their places stay
//! empty, and who polls fills them.

use serde::{Deserialize, Serialize, Serializer};

use crate::api::json::{Number, Text};
use crate::api::samples::RecentSamples;
use crate::api::stats::rounded;
use crate::metric::timestamp::Rfc3339;
use crate::schema::Schema;
use crate::telemetry::history::Second;
use percore::clock::Now;

const SECOND_US: i64 = 1_000_000;

/// The seconds of a member, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct HistoryPart {
    /// The end of the last second, in fleet time.
    to_us: i64,
    seconds: Vec<SecondPart>,
}

/// A second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct SecondPart {
    accepted: f64,
    rejected: f64,
    anomalies: f64,
    p99_seconds: Option<f64>,
    pending: Option<u64>,
}

impl HistoryPart {
    /// Returns the last seconds of this instance.
    pub(super) fn new(samples: &RecentSamples, seconds: usize, now: Now) -> Self {
        let second = |second: &Second| SecondPart {
            accepted: second.rates.accepted,
            rejected: second.rates.rejected,
            anomalies: second.rates.anomalies,
            p99_seconds: second.level.as_ref().and_then(|it| it.p99_ns).map(|ns| ns as f64 / 1e9),
            pending: second.level.as_ref().map(|level| level.pending),
        };
        let since_ns = now.mono_ns.saturating_sub(samples.history.newest().mono_ns);
        let since_us = i64::try_from(since_ns / 1000).unwrap_or(0);
        Self {
            to_us: now.wall_us - since_us,
            seconds: samples.history.last(seconds).map(second).collect(),
        }
    }
}

/// The history as columns, of which each has an entry for each second.
#[derive(Serialize)]
pub(super) struct FleetHistory {
    step_seconds: u64,
    to: Text<Rfc3339>,
    accepted: Vec<Number>,
    rejected: Vec<Number>,
    anomalies: Vec<Number>,
    p99_seconds: Vec<Number>,
    pending: Vec<Option<u64>>,
    fields: EmptyColumns,
}

/// The columns of the fields, which are empty.
struct EmptyColumns(&'static Schema, usize);

#[derive(Serialize)]
struct EmptyColumn {
    rolling_average: Vec<Number>,
    stddev: Vec<Number>,
}

impl Serialize for EmptyColumns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(schema, seconds) = self;
        let empty = || vec![Number(None); *seconds];
        serializer.collect_map(
            schema.fields().iter().map(|field| {
                (field.name(), EmptyColumn { rolling_average: empty(), stddev: empty() })
            }),
        )
    }
}

/// Returns the history of all members. It is as long as that of the longest; the p99 is that of the
/// slowest.
pub(super) fn merge_history(parts: &[&HistoryPart], schema: &'static Schema) -> FleetHistory {
    let to_us = parts.iter().map(|part| part.to_us).max().unwrap_or_default();
    // How many seconds of the whole are younger than a member's last one.
    let shift = |part: &HistoryPart| {
        let behind = to_us.saturating_sub(part.to_us).saturating_add(SECOND_US / 2) / SECOND_US;
        usize::try_from(behind).unwrap_or(0)
    };
    let length = parts.iter().map(|part| part.seconds.len() + shift(part)).max().unwrap_or(0);
    let length = length.min(parts.iter().map(|part| part.seconds.len()).max().unwrap_or(0));
    let mut sums = vec![SecondPart::default(); length];
    for part in parts {
        let seconds = part.seconds.iter().rev();
        for (sum, second) in sums.iter_mut().rev().skip(shift(part)).zip(seconds) {
            sum.accepted += second.accepted;
            sum.rejected += second.rejected;
            sum.anomalies += second.anomalies;
            let slower = |one: f64, two: f64| one.max(two);
            sum.p99_seconds = merge(sum.p99_seconds, second.p99_seconds, slower);
            sum.pending = merge(sum.pending, second.pending, u64::saturating_add);
        }
    }
    let rates =
        |rate: fn(&SecondPart) -> f64| sums.iter().map(|second| rounded(rate(second))).collect();
    FleetHistory {
        step_seconds: 1,
        to: Text(Rfc3339(to_us / 1000)),
        accepted: rates(|second| second.accepted),
        rejected: rates(|second| second.rejected),
        anomalies: rates(|second| second.anomalies),
        p99_seconds: sums.iter().map(|second| Number(second.p99_seconds)).collect(),
        pending: sums.iter().map(|second| second.pending).collect(),
        fields: EmptyColumns(schema, length),
    }
}

/// Returns both values as one, if there are two.
fn merge<T>(one: Option<T>, two: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (one, two) {
        (Some(one), Some(two)) => Some(both(one, two)),
        (one, two) => one.or(two),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(to_us: i64, accepted: &[f64]) -> HistoryPart {
        let second = |accepted: &f64| SecondPart { accepted: *accepted, ..SecondPart::default() };
        HistoryPart { to_us, seconds: accepted.iter().map(second).collect() }
    }

    fn merged(parts: &[&HistoryPart]) -> Vec<f64> {
        let history = merge_history(parts, Schema::standard());
        history.accepted.iter().map(|number| number.0.unwrap()).collect()
    }

    #[test]
    fn seconds_of_one_time_are_added() {
        let long = part(100_000_000, &[1.0, 2.0, 3.0, 4.0]);
        let short = part(100_400_000, &[10.0, 20.0]);
        assert_eq!(merged(&[&long, &short]), [1.0, 2.0, 13.0, 24.0]);
        let late = part(98_100_000, &[10.0, 20.0, 30.0]);
        assert_eq!(merged(&[&late, &long]), [21.0, 32.0, 3.0, 4.0]);
        assert_eq!(merged(&[]), [0.0; 0]);
    }
}
