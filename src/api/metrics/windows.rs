//! The metrics of the windows that a fleet shares.

use crate::analytics::shared_windows::WindowTotals;
use crate::fleet::windows::figures::{Figures, FiguresReading};
use crate::telemetry::family::{MetricFamily, by, counter, gauge, histogram, single};
use crate::telemetry::latency::Durations;

/// A reading of them.
#[derive(Clone, Debug)]
pub(super) struct WindowFigures {
    totals: WindowTotals,
    moved: FiguresReading,
    takes: Vec<Durations>,
}

impl WindowFigures {
    pub(super) fn new(totals: WindowTotals, figures: &Figures, now_ns: u64) -> Self {
        let moved = figures.read(totals.unsaved, now_ns);
        Self { totals, moved, takes: figures.takes().merged() }
    }

    /// Returns the errors of Redis that windows met, by kind.
    pub(super) fn errors(&self) -> &[(&'static str, u64)] {
        &self.moved.errors
    }

    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let Self { totals, moved, takes } = self;
        vec![
            gauge(
                "corepulse_windows_waiting",
                "Devices whose windows are on their way here from other members of the fleet.",
                single(totals.waiting),
            ),
            counter(
                "corepulse_windows_taken_total",
                "Windows that came to this instance, by where from.",
                by("from", moved.taken.iter().copied()),
            ),
            counter(
                "corepulse_windows_given_total",
                "Windows that this instance gave to other members.",
                single(moved.given),
            ),
            histogram(
                "corepulse_window_take_seconds",
                "Time from a device's first event here to the coming of its window.",
                takes.iter().flat_map(|takes| single(takes.buckets())).collect(),
            ),
            counter(
                "corepulse_window_saves_total",
                "Windows saved in Redis, for the case that this instance dies.",
                single(moved.saves),
            ),
            counter(
                "corepulse_window_saves_failed_total",
                "Windows that Redis did not take, by its error.",
                by("kind", moved.saves_failed.iter().copied()),
            ),
            gauge(
                "corepulse_window_save_lag_seconds",
                "Greatest age of an event that may not be saved; 0 if all are.",
                single(moved.lag_ns as f64 / 1e9),
            ),
            gauge(
                "corepulse_window_save_interval_seconds",
                "Time within which events are to be saved, as --window-save has it.",
                single(moved.save_interval_ns as f64 / 1e9),
            ),
            counter(
                "corepulse_windows_unreadable_total",
                "Letters and copies of other members that could not be read.",
                single(moved.unreadable),
            ),
            counter(
                "corepulse_events_pending_total",
                "Events acknowledged before the window of their device had come, and judged later.",
                single(totals.pending_total),
            ),
            counter(
                "corepulse_events_unjudged_total",
                "Events of these that were never judged, as too many waited.",
                single(totals.unjudged),
            ),
            counter(
                "corepulse_judged_in_doubt_total",
                "Events judged by a window that another member may have had as well.",
                single(totals.judged_in_doubt),
            ),
        ]
    }
}
