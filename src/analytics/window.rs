//! The ring of a series' last events: cursors here, values and timestamps in a borrowed [`Row`].
//!
//! A million devices pay for every byte, so an event costs 22 of them: two values, and its
//! timestamp in 48 bits of milliseconds, which reach far past the year 9999. Every row has its size
//! whatever its device sends: nothing beside it grows with clocks that jump.

use crate::limits;

/// Milliseconds since 1970; times before are 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Time([u16; 3]);

const TIME_BITS: u32 = 48;

/// The storage of one series, borrowed for one call. All rows have the window's size.
pub(super) struct Row<'a> {
    /// The row's number.
    pub(super) slot: u32,
    /// Both fields' values; the first `Window::count` are valid, in ring order.
    pub(super) values: &'a mut [[f64; 2]],
    /// The events' own timestamps, in the same order.
    pub(super) times: &'a mut [Time],
}

/// Where the ring of one series stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    count: u16,
    next: u16,
}

impl Time {
    pub(super) fn new(ms: i64) -> Self {
        let ms = u64::try_from(ms).unwrap_or(0).min((1 << TIME_BITS) - 1);
        Self([ms as u16, (ms >> 16) as u16, (ms >> 32) as u16])
    }

    pub(super) fn ms(self) -> i64 {
        let Self([low, middle, high]) = self;
        i64::from(low) | i64::from(middle) << 16 | i64::from(high) << 32
    }
}

impl Window {
    /// No event yet.
    pub(super) const EMPTY: Self = Self { count: 0, next: 0 };

    /// Events in the ring.
    pub(super) const fn count(&self) -> usize {
        self.count as usize
    }

    /// The least and the greatest timestamp of this ring's row, milliseconds.
    pub(super) fn span_ms(&self, times: &[Time]) -> Option<(i64, i64)> {
        let times = times.get(..self.count()).unwrap_or(times);
        span(times.iter().map(|time| time.ms()))
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

    /// The timestamp in the place that the next event takes.
    pub(super) fn leaving_time(&self, times: &[Time]) -> Option<Time> {
        times.get(usize::from(self.next)).copied()
    }

    /// Takes an event in; the oldest of more than the window's size leaves.
    pub(super) fn enter(&mut self, row: &mut Row<'_>, values: [f64; 2], timestamp_ms: i64) {
        let size = row.values.len();
        let at = usize::from(self.next);
        let (Some(value), Some(time)) = (row.values.get_mut(at), row.times.get_mut(at)) else {
            return;
        };
        *value = values;
        *time = Time::new(timestamp_ms);
        self.count += u16::from(self.count() < size);
        self.next = if at + 1 < size { self.next + 1 } else { 0 };
    }
}

/// The least and the greatest of these timestamps; `None` of none.
pub(super) fn span(times_ms: impl Iterator<Item = i64>) -> Option<(i64, i64)> {
    times_ms.fold(None, |span, ms| {
        let (from_ms, to_ms) = span.unwrap_or((ms, ms));
        Some((from_ms.min(ms), to_ms.max(ms)))
    })
}

// What `limits` tells of a window's memory is what it takes.
const _: () = assert!(size_of::<[f64; 2]>() + size_of::<Time>() == limits::WINDOW_EVENT_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The last millisecond of the year 9999, after which no timestamp is accepted.
    const LAST_MS: i64 = 253_402_300_799_999;

    /// Honest times, and every kind of jump.
    fn timestamps() -> impl Strategy<Value = Vec<i64>> {
        let one = prop_oneof![
            8 => 1_700_000_000_000_i64..1_700_000_100_000,
            1 => Just(0),
            1 => Just(LAST_MS),
            1 => 0..LAST_MS,
        ];
        prop::collection::vec(one, 1..60)
    }

    proptest! {
        #[test]
        fn holds_exactly_the_last_events_and_their_span(size in 1_usize..9, times in timestamps()) {
            let (mut values, mut held_times) = (vec![[0.0; 2]; size], vec![Time::default(); size]);
            let mut window = Window::EMPTY;
            for (i, &time) in times.iter().enumerate() {
                let value = [i as f64, -(i as f64)];
                let mut row = Row { slot: 7, values: &mut values, times: &mut held_times };
                window.enter(&mut row, value, time);
                let first = (i + 1).saturating_sub(size);
                prop_assert_eq!(window.count(), i + 1 - first);
                let held = &times[first..=i];
                let span = (*held.iter().min().unwrap(), *held.iter().max().unwrap());
                prop_assert_eq!(window.span_ms(&held_times), Some(span));
                prop_assert_eq!(window.newest(&values), Some(value));
                let mut held: Vec<f64> = window.values(&values).iter().map(|v| v[0]).collect();
                held.sort_by(f64::total_cmp);
                let expected: Vec<f64> = (first..=i).map(|i| i as f64).collect();
                prop_assert_eq!(held, expected);
            }
        }

        #[test]
        fn a_time_comes_back_or_is_the_nearest_that_there_is(ms in any::<i64>()) {
            prop_assert_eq!(Time::new(ms).ms(), ms.clamp(0, (1 << TIME_BITS) - 1));
        }
    }

    #[test]
    fn an_empty_window_has_no_span_and_no_newest() {
        let window = Window::EMPTY;
        assert_eq!(window.span_ms(&[Time::new(5); 3]), None);
        assert_eq!(window.newest(&[[1.0, 2.0]; 3]), None);
        assert!(Time::new(LAST_MS).ms() == LAST_MS);
    }
}
