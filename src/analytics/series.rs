//! A series of events: scores each event against the window before it, then adds it to the window.
//!
//! A value must not be in the window that it is scored against: in a window of 50 no |z| could be
//! larger than 7. Anomalous values are added too, so that a shift of the level is learnt and does
//! not raise anomalies for ever.

use std::hint::black_box;

use super::moments::Moments;
use super::sliding_counter::SlidingCounter;
use super::window::{Row, Window};

/// The rules by which series are scored; see [`super::AnalyticsSettings`] for each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) window: usize,
    pub(super) threshold: f64,
    pub(super) min_samples: usize,
    pub(super) cooldown: u32,
}

impl Rules {
    /// Returns true if this score is an anomaly; NaN, which stands for no score, is none.
    pub(super) fn is_anomalous(&self, z: f64) -> bool {
        z.abs() > self.threshold
    }

    /// Returns the number of events for a summary of all series: a window, and one event before it,
    /// so that the newest event is scored against a whole window.
    pub(super) const fn summary_events(&self) -> usize {
        self.window + 1
    }

    /// Returns the moments against which the event after these values is scored; `None` if they are
    /// too few.
    pub(super) fn moments(&self, before: &[[f64; 2]]) -> Option<Moments> {
        if before.len() < self.min_samples {
            return None;
        }
        Moments::of(before)
    }
}

/// The verdict on one event: its scores, and whether they are anomalies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Standard deviations from the mean of the window before the event, in the order of
    /// `Field::ALL`; `None` while the series has fewer than `min_samples` events.
    pub z: [Option<f64>; 2],
    /// True if |z| is larger than the threshold, in the same order.
    pub anomalous: [bool; 2],
    /// True if there are too many devices: the event counts in `all`, but its device has no window.
    pub refused: bool,
}

impl Verdict {
    /// Returns the number of anomalous fields: 0 to 2.
    pub fn anomalies(&self) -> u64 {
        self.anomalous.iter().map(|&field| u64::from(field)).sum()
    }

    /// Returns true if the answer need not mention the event: no field is anomalous, and it was not
    /// refused a window.
    pub fn is_plain(&self) -> bool {
        self.anomalous == [false; 2] && !self.refused
    }
}

/// A verdict and its grounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assessment {
    pub(super) verdict: Verdict,
    /// The moments of the window before the event, if it was scored.
    pub(super) moments: Option<Moments>,
    /// True if the event began an episode, by field.
    pub(super) opened: [bool; 2],
}

/// The state of one series, without the values, which are in its row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series {
    window: Window,
    accepted: u64,
    points: u64,
    episodes: u64,
    /// The scores of the newest event; NaN if it was not scored.
    z: [f64; 2],
    /// The number of further events in which an anomaly still belongs to the last episode, by
    /// field.
    cooling: [u32; 2],
    last_minute: SlidingCounter<6>,
}

impl Series {
    /// Returns a series without events.
    pub(super) const fn new() -> Self {
        Self {
            window: Window::EMPTY,
            accepted: 0,
            points: 0,
            episodes: 0,
            z: [f64::NAN; 2],
            cooling: [0; 2],
            last_minute: SlidingCounter::new(),
        }
    }

    /// Scores an event and adds it to the window.
    pub(super) fn apply(
        &mut self,
        rules: &Rules,
        row: &mut Row<'_>,
        mono_ns: u64,
        values: [f64; 2],
        timestamp_ms: i64,
    ) -> Assessment {
        // A prefetch: without it the wait for this memory would begin after the wait for the
        // values.
        black_box(self.window.next_offset(row.offsets));
        let moments = rules.moments(self.window.values(row.values));
        self.z = moments.map_or([f64::NAN; 2], |moments| moments.scores(values));
        let anomalous = self.z.map(|z| rules.is_anomalous(z));
        let mut opened = [false; 2];
        for ((cooling, anomalous), opened) in
            self.cooling.iter_mut().zip(anomalous).zip(&mut opened)
        {
            if anomalous {
                *opened = *cooling == 0;
                // `cooldown` events after this one still belong to the episode.
                *cooling = rules.cooldown;
                self.points += 1;
                self.episodes += u64::from(*opened);
                self.last_minute.record(mono_ns);
            } else {
                *cooling = cooling.saturating_sub(1);
            }
        }
        self.accepted += 1;
        self.window.push(row, values, timestamp_ms);
        Assessment {
            verdict: Verdict { z: self.scores(), anomalous, refused: false },
            moments,
            opened,
        }
    }

    /// Returns the scores of the newest event; `None` if it was not scored.
    pub(super) fn scores(&self) -> [Option<f64>; 2] {
        self.z.map(|z| (!z.is_nan()).then_some(z))
    }

    pub(super) const fn window(&self) -> &Window {
        &self.window
    }

    /// Returns the number of events.
    pub(super) const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Returns the number of anomalous values of both fields.
    pub(super) const fn points(&self) -> u64 {
        self.points
    }

    /// Returns the number of episodes of both fields.
    pub(super) const fn episodes(&self) -> u64 {
        self.episodes
    }

    /// Returns the number of anomalous values of both fields in the last minute, to within ten
    /// seconds.
    pub(super) fn last_minute(&self, mono_ns: u64) -> u64 {
        self.last_minute.count(mono_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::window::WideTimestamps;

    /// Applies one value after the other as cpu, with a constant rps.
    fn run(rules: &Rules, cpu: &[f64]) -> (Series, Vec<Assessment>) {
        let mut values = vec![[0.0; 2]; rules.window];
        let (mut offsets, mut wide) = (vec![0; rules.window], WideTimestamps::new());
        let mut series = Series::new();
        let assessments = cpu
            .iter()
            .map(|&cpu| {
                let mut row =
                    Row { slot: 0, values: &mut values, offsets: &mut offsets, wide: &mut wide };
                series.apply(rules, &mut row, 0, [cpu, 7.0], 0)
            })
            .collect();
        (series, assessments)
    }

    const RULES: Rules = Rules { window: 8, threshold: 2.0, min_samples: 4, cooldown: 3 };

    #[test]
    fn no_verdict_before_min_samples_and_one_from_then_on() {
        let (_, assessments) = run(&RULES, &[1.0, 2.0, 1.0, 2.0, 1.5, 100.0]);
        for assessments in &assessments[..4] {
            assert_eq!(assessments.verdict, Verdict::default());
        }
        assert_eq!(assessments[4].verdict.z, [Some(0.0), Some(0.0)]);
        let spike = assessments[5].verdict;
        assert_eq!(spike.anomalous, [true, false]);
        assert_eq!(spike.anomalies(), 1);
        let moments = assessments[5].moments.unwrap();
        assert_eq!(moments.mean, [1.5, 7.0]);
        assert_eq!(spike.z[0], Some((100.0 - 1.5) / moments.stddev[0]));
    }

    #[test]
    fn an_episode_lasts_cooldown_events_past_its_last_anomaly() {
        // Each of 50 and 5000 is far from all values in the window of four.
        let rules = Rules { window: 4, ..RULES };
        let calm = [1.0, 2.0, 1.0, 2.0];
        let gap = |events: usize| {
            let mut cpu = calm.to_vec();
            cpu.push(50.0);
            cpu.extend((1..events).map(|_| 1.5));
            cpu.push(5000.0);
            let (series, assessments) = run(&rules, &cpu);
            assert!(assessments.last().unwrap().verdict.anomalous[0]);
            (series.points(), series.episodes())
        };
        assert_eq!(gap(1), (2, 1));
        assert_eq!(gap(3), (2, 1));
        assert_eq!(gap(4), (2, 2));
    }

    #[test]
    fn an_episode_is_a_fields_own_and_a_cooldown_of_zero_splits_every_anomaly() {
        let rules = Rules { cooldown: 0, ..RULES };
        let (series, assessments) = run(&rules, &[1.0, 2.0, 1.0, 2.0, 50.0, 5000.0]);
        assert_eq!((series.points(), series.episodes()), (2, 2));
        assert_eq!(assessments[5].opened, [true, false]);
        assert_eq!(series.accepted(), 6);
    }

    #[test]
    fn a_level_shift_is_learnt() {
        let mut cpu = vec![1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0];
        cpu.extend([101.0, 102.0].repeat(8));
        let (_, assessments) = run(&RULES, &cpu);
        assert!(assessments[8].verdict.anomalous[0]);
        assert!(assessments[16..].iter().all(|t| !t.verdict.anomalous[0]));
    }
}
