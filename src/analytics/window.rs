//! The ring of a series' last events: cursors here, values and timestamps in a borrowed [`Row`].
//!
//! A million devices pay for every byte, so an event costs 20 of them: two values, and the step
//! from the previous event's timestamp in 32 bits of milliseconds. A step that does not fit (a
//! clock that jumped by more than 24 days) stands as a mark, and the timestamp itself in
//! [`Jumps`]: exact for every input, and free for honest ones.

use std::collections::BTreeMap;

/// The mark of a timestamp that is kept in [`Jumps`].
const JUMP: i32 = i32::MIN;

/// Timestamps too far from their predecessors', by slot and place in the row.
pub(super) type Jumps = BTreeMap<(u32, u16), i64>;

/// The storage of one series, borrowed for one call. All rows have the window's size.
pub(super) struct Row<'a> {
    /// The row's number, for its jumps.
    pub(super) slot: u32,
    /// Both fields' values; the first `Window::count` are valid, in ring order.
    pub(super) values: &'a mut [[f64; 2]],
    /// Milliseconds since the previous event's timestamp, or [`JUMP`].
    pub(super) steps: &'a mut [i32],
    /// Of all rows.
    pub(super) jumps: &'a mut Jumps,
}

/// Where the ring of one series stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    from_ms: i64,
    to_ms: i64,
    count: u16,
    next: u16,
}

impl Window {
    /// No event yet.
    pub(super) const EMPTY: Self = Self { from_ms: 0, to_ms: 0, count: 0, next: 0 };

    /// Events in the ring.
    pub(super) const fn count(&self) -> usize {
        self.count as usize
    }

    /// The timestamps of the oldest and the newest event in arrival order, milliseconds.
    pub(super) const fn span_ms(&self) -> Option<(i64, i64)> {
        if self.count == 0 { None } else { Some((self.from_ms, self.to_ms)) }
    }

    /// The valid values of this ring's row, in no order of time.
    pub(super) fn values<'a>(&self, row: &'a [[f64; 2]]) -> &'a [[f64; 2]] {
        row.get(..self.count()).unwrap_or(row)
    }

    /// The newest event's values.
    pub(super) fn newest(&self, row: &[[f64; 2]]) -> Option<[f64; 2]> {
        let last = row.len().checked_sub(1)?;
        let at = usize::from(self.next).checked_sub(1).unwrap_or(last);
        self.values(row).get(at).copied()
    }

    /// The step in the place that the next event takes.
    pub(super) fn leaving_step(&self, steps: &[i32]) -> Option<i32> {
        steps.get(usize::from(self.next)).copied()
    }

    /// Takes an event in; the oldest of more than the window's size leaves.
    pub(super) fn enter(&mut self, row: &mut Row<'_>, values: [f64; 2], timestamp_ms: i64) {
        let size = row.values.len();
        let at = usize::from(self.next);
        let after = if at + 1 < size { at + 1 } else { 0 };
        if self.count() == size {
            self.leave(row, at, after, timestamp_ms);
        } else {
            if self.count == 0 {
                self.from_ms = timestamp_ms;
                self.to_ms = timestamp_ms;
            }
            self.count += 1;
        }
        let (Some(value), Some(step)) = (row.values.get_mut(at), row.steps.get_mut(at)) else {
            return;
        };
        *value = values;
        *step = match step_between(self.to_ms, timestamp_ms) {
            Some(step) => step,
            None => {
                row.jumps.insert((row.slot, self.next), timestamp_ms);
                JUMP
            }
        };
        self.to_ms = timestamp_ms;
        self.next = place(after);
    }

    /// The event at `at` leaves, so the one `after` it is now the oldest.
    fn leave(&mut self, row: &mut Row<'_>, at: usize, after: usize, newcomer_ms: i64) {
        if row.steps.get(at) == Some(&JUMP) {
            row.jumps.remove(&(row.slot, place(at)));
        }
        self.from_ms = if at == after {
            newcomer_ms
        } else {
            match row.steps.get(after) {
                Some(&JUMP) => row.jumps.get(&(row.slot, place(after))).copied(),
                Some(&step) => self.from_ms.checked_add(i64::from(step)),
                None => None,
            }
            .unwrap_or(self.from_ms)
        };
    }
}

/// Forgets the jumps of a row that gets a new series.
pub(super) fn clear_jumps(jumps: &mut Jumps, slot: u32) {
    while let Some((&key, _)) = jumps.range((slot, 0)..=(slot, u16::MAX)).next() {
        jumps.remove(&key);
    }
}

fn step_between(from_ms: i64, to_ms: i64) -> Option<i32> {
    let step = i32::try_from(to_ms.checked_sub(from_ms)?).ok()?;
    (step != JUMP).then_some(step)
}

/// A window has at most `limits::WINDOW_MAX` places, which fit.
fn place(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Honest steps, and every kind of jump.
    fn timestamps() -> impl Strategy<Value = Vec<i64>> {
        let one = prop_oneof![
            8 => 1_700_000_000_000_i64..1_700_000_100_000,
            1 => Just(0),
            1 => Just(i64::MIN),
            1 => Just(i64::MAX),
            1 => (0..3_i64).prop_map(|off| 1_700_000_000_000 + i64::from(i32::MIN) + off),
        ];
        prop::collection::vec(one, 1..60)
    }

    proptest! {
        #[test]
        fn holds_exactly_the_last_events_and_their_span(size in 1_usize..9, times in timestamps()) {
            let mut values = vec![[0.0; 2]; size];
            let mut steps = vec![0; size];
            let mut jumps = Jumps::from([((6, 0), 1), ((8, 0), 2)]);
            let mut window = Window::EMPTY;
            for (i, &time) in times.iter().enumerate() {
                let value = [i as f64, -(i as f64)];
                let mut row = Row {
                    slot: 7,
                    values: &mut values,
                    steps: &mut steps,
                    jumps: &mut jumps,
                };
                window.enter(&mut row, value, time);
                let first = (i + 1).saturating_sub(size);
                prop_assert_eq!(window.count(), i + 1 - first);
                prop_assert_eq!(window.span_ms(), Some((times[first], time)));
                prop_assert_eq!(window.newest(&values), Some(value));
                let mut held: Vec<f64> = window.values(&values).iter().map(|v| v[0]).collect();
                held.sort_by(f64::total_cmp);
                let expected: Vec<f64> = (first..=i).map(|i| i as f64).collect();
                prop_assert_eq!(held, expected);
                let marks = steps.iter().filter(|&&step| step == JUMP).count();
                prop_assert_eq!(jumps.len(), marks + 2, "jumps leave with their events");
            }
            clear_jumps(&mut jumps, 7);
            prop_assert_eq!(jumps, Jumps::from([((6, 0), 1), ((8, 0), 2)]));
        }
    }

    #[test]
    fn an_empty_window_has_no_span_and_no_newest() {
        let window = Window::EMPTY;
        assert_eq!(window.span_ms(), None);
        assert_eq!(window.newest(&[[1.0, 2.0]; 3]), None);
    }
}
