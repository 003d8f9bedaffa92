//! The score of detections on the Numenta Anomaly Benchmark, written from its description
//! (Lavin and Ahmad 2015) and held to a result that its authors have published.
//!
//! A labelled window is worth one point to who detects anything in it, nearly all of it at its
//! beginning and none at its end. A row outside of windows that is detected costs a share of a
//! point, less shortly after a window; a window without a detection costs a whole one or more. The
//! first rows of a series are not scored. 0 is the score of a detector that is silent, 100 that of
//! one that detects each window on its first row and nothing else.

use std::ops::Range;

/// The first rows of a series, as a share and at most, for which a detector may learn.
const PROBATION: (f64, f64) = (0.15, 5000.0);

/// The prices of mistakes, relative to one at the beginning of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Profile {
    pub(super) name: &'static str,
    /// The price of a detection far from windows.
    pub(super) false_alarm: f64,
    /// The price of a window without a detection.
    pub(super) miss: f64,
}

/// The profiles of the benchmark.
pub(super) const PROFILES: [Profile; 3] = [
    Profile { name: "standard", false_alarm: 0.11, miss: 1.0 },
    Profile { name: "few false alarms", false_alarm: 0.22, miss: 1.0 },
    Profile { name: "few misses", false_alarm: 0.11, miss: 2.0 },
];

/// The detections in a series, counted; points follow from them for any profile.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) rows: usize,
    pub(super) windows: usize,
    /// Windows with a detection.
    pub(super) hits: usize,
    /// The sum of what the first detections of windows are worth, 1 each at most.
    pub(super) earned: f64,
    /// Rows that were detected outside of windows.
    pub(super) false_rows: usize,
    /// The sum of what those cost, 1 each at most.
    pub(super) lost: f64,
}

impl Tally {
    /// Returns the tally of a series of so many rows in which these rows, in their order, were
    /// detected. Windows are in their order as well.
    pub(super) fn of(rows: usize, windows: &[Range<usize>], detected: &[usize]) -> Self {
        let probation = probation(rows);
        // One that ends before the scored rows is none.
        let scored = windows.iter().filter(|window| window.end > probation);
        let mut tally = Self { rows, windows: scored.count(), ..Self::default() };
        let mut hit = vec![false; windows.len()];
        for row in detected.iter().copied().filter(|row| *row >= probation) {
            let passed = windows.partition_point(|window| window.end <= row);
            let inside = windows.get(passed).filter(|window| window.start <= row);
            match inside.zip(hit.get_mut(passed)) {
                // What comes later in a window is worth less, so the first detection is the best.
                Some((_, true)) => {}
                Some((window, hit)) => {
                    *hit = true;
                    tally.hits += 1;
                    let left = (window.end - row) as f64 / window.len() as f64;
                    tally.earned += worth(-left) / worth(-1.0);
                }
                None => {
                    tally.false_rows += 1;
                    let before = passed.checked_sub(1).and_then(|at| windows.get(at));
                    tally.lost -= before.map_or(-1.0, |window| {
                        worth((row + 1 - window.end) as f64 / (window.len() - 1) as f64)
                    });
                }
            }
        }
        tally
    }

    /// Returns the score.
    pub(super) fn score(&self, profile: &Profile) -> f64 {
        let misses = (self.windows - self.hits) as f64;
        let points = self.earned - profile.false_alarm * self.lost - profile.miss * misses;
        let silent = -profile.miss * self.windows as f64;
        100.0 * (points - silent) / (self.windows as f64 - silent)
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.windows += other.windows;
        self.hits += other.hits;
        self.earned += other.earned;
        self.false_rows += other.false_rows;
        self.lost += other.lost;
    }
}

/// Returns the number of rows before those that are scored.
pub(super) fn probation(rows: usize) -> usize {
    let (share, most) = PROBATION;
    (share * (rows as f64).min(most)).floor() as usize
}

/// Returns what a detection is worth at this place: −1 is the beginning of a window, 0 its end, and
/// what comes after it costs more with each row.
fn worth(place: f64) -> f64 {
    if place >= 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * place).exp()) - 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: &Profile = &PROFILES[0];

    #[test]
    fn silence_is_worth_nothing_and_the_first_rows_of_all_windows_everything() {
        let windows = [200..300, 600..700];
        assert_eq!(Tally::of(1000, &windows, &[]).score(STANDARD), 0.0);
        for profile in &PROFILES {
            let score = Tally::of(1000, &windows, &[200, 600]).score(profile);
            assert!((score - 100.0).abs() < 1e-12, "{score}");
        }
    }

    #[test]
    fn only_the_first_detection_in_a_window_counts() {
        let windows = [200..300, 600..700];
        let first = Tally::of(1000, &windows, &[210]);
        assert_eq!(first, Tally::of(1000, &windows, &[210, 211, 299]));
        assert!(first.earned < 1.0 && first.earned > 0.95, "{first:?}");
        assert_eq!((first.hits, first.windows, first.false_rows), (1, 2, 0));
        // The last row is worth next to nothing, but the window is not missed.
        let last = Tally::of(1000, &windows, &[299]);
        assert!(last.earned > 0.0 && last.earned < 0.05, "{last:?}");
    }

    #[test]
    fn a_false_alarm_costs_little_just_after_a_window_and_all_far_from_one() {
        let windows = std::slice::from_ref(&(200..300));
        let lost = |row| Tally::of(1000, windows, &[row]).lost;
        assert!(lost(300) > 0.0 && lost(300) < 0.05, "{}", lost(300));
        assert!(lost(350) > 0.8 && lost(350) < 1.0);
        assert_eq!([lost(199), lost(900)], [1.0, 1.0]);
        // The first 15 %, of 5,000 rows at most, are not scored.
        assert_eq!([lost(149), lost(150)], [0.0, 1.0]);
        assert_eq!(probation(20_000), 750);
    }
}
