//! The window: a ring buffer of the last events of a series, or of one of its optional fields. Its
//! cursors are here, its values and timestamps in a borrowed [`Row`].
//!
//! A million devices pay for every byte, so of an event its values are kept, and its timestamp in
//! 32 bits as milliseconds since a base of the window. If the events of one window are more than
//! 49 days apart, because the device's clock jumps, their timestamps are kept whole in
//! [`WideTimestamps`]. So every timestamp is exact, correct clocks cost nothing more, and the
//! memory is bounded in any case.

use std::collections::BTreeMap;
use std::iter;

use super::field_state::FieldState;
use crate::limits;

/// The timestamps of the rows whose events are too far apart, by slot, in milliseconds since 1970.
pub(super) type WideTimestamps = BTreeMap<u32, Box<[i64]>>;

/// The storage of `N` fields that share a window, borrowed for one call. All rows have the size of
/// the window.
pub(super) struct Row<'a, const N: usize> {
    /// The number of its slot.
    pub(super) slot: u32,
    /// The states of the fields.
    pub(super) states: &'a mut [FieldState; N],
    /// The fields' values; the first `Window::count` are valid, in ring order.
    pub(super) values: &'a mut [[f64; N]],
    /// Milliseconds since the window's base, in the same order, unless they are wide.
    pub(super) offsets: &'a mut [u32],
    /// The wide timestamps of all rows.
    pub(super) wide: &'a mut WideTimestamps,
}

/// The cursors of one ring buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The time from which the offsets count, or [`NO_BASE`], in milliseconds; as bytes, which need
    /// no padding behind them.
    base_ms: [u8; 8],
    count: u16,
    next: u16,
}

/// The base of a window without offsets: it is empty, or its timestamps are wide. Every timestamp
/// is too far from it for an offset.
const NO_BASE: [u8; 8] = i64::MAX.to_ne_bytes();

/// The largest offset.
const OFFSET_MS_MAX: i64 = u32::MAX as i64;

impl Window {
    /// A window without events.
    pub(super) const EMPTY: Self = Self { base_ms: NO_BASE, count: 0, next: 0 };

    /// Returns the place of the next event.
    pub(super) const fn next(&self) -> usize {
        self.next as usize
    }

    const fn base_ms(&self) -> i64 {
        i64::from_ne_bytes(self.base_ms)
    }

    /// Returns the number of events.
    pub(super) const fn count(&self) -> usize {
        self.count as usize
    }

    /// Returns the least and the greatest timestamp in milliseconds. `wide` is the row's entry in
    /// [`WideTimestamps`].
    pub(super) fn span_ms(&self, offsets: &[u32], wide: Option<&[i64]>) -> Option<(i64, i64)> {
        match wide {
            Some(times) => span(times.iter().take(self.count()).copied()),
            None => span(self.times(offsets)),
        }
    }

    /// Returns the timestamps of a row that is not wide.
    fn times(&self, offsets: &[u32]) -> impl Iterator<Item = i64> {
        let base_ms = self.base_ms();
        offsets.iter().take(self.count()).map(move |&offset| base_ms + i64::from(offset))
    }

    /// Returns the valid values of the row, in ring order.
    pub(super) fn values<'a, const N: usize>(&self, row: &'a [[f64; N]]) -> &'a [[f64; N]] {
        row.get(..self.count()).unwrap_or(row)
    }

    /// Returns the places of the events in a row of `size` places, the oldest first.
    pub(super) fn places(&self, size: usize) -> impl Iterator<Item = usize> {
        let count = self.count().min(size);
        let oldest = if count < size { 0 } else { self.next() };
        (0..count).map(move |at| (oldest + at) % size)
    }

    /// Returns the timestamp of the event in a place, in milliseconds.
    pub(super) fn timestamp_ms(
        &self,
        at: usize,
        offsets: &[u32],
        wide: Option<&[i64]>,
    ) -> Option<i64> {
        match wide {
            Some(times) => times.get(at).copied(),
            None => Some(self.base_ms() + i64::from(*offsets.get(at)?)),
        }
    }

    /// Returns the place of the newest event in a row of `size` places; `None` if there is none.
    pub(super) fn newest(&self, size: usize) -> Option<usize> {
        let last = self.count().min(size).checked_sub(1)?;
        Some(usize::from(self.next).checked_sub(1).unwrap_or(last))
    }

    /// Returns the values in the first place and in the place that the next event will take; `None`
    /// if that is the first place itself. While a place is free, the first value stands for it.
    #[inline(always)]
    pub(super) fn replaced<const N: usize>(
        &self,
        row: &[[f64; N]],
    ) -> Option<([f64; N], [f64; N])> {
        let first = *row.first().filter(|_| self.next > 0)?;
        let is_full = self.count() == row.len();
        let old = row.get(self.next()).filter(|_| is_full);
        Some((first, old.copied().unwrap_or(first)))
    }

    /// Appends the timestamps of the events, in ring order, to `times_ms`.
    pub(super) fn copy_times(
        &self,
        offsets: &[u32],
        wide: Option<&[i64]>,
        times_ms: &mut Vec<i64>,
    ) {
        match wide {
            Some(times) => times_ms.extend(times.iter().take(self.count())),
            None => times_ms.extend(self.times(offsets)),
        }
    }

    /// Returns the window of events with these timestamps, which are in ring order, and writes them
    /// to the row. The next event will take the place `next`.
    pub(super) fn restore(
        slot: u32,
        times_ms: &[i64],
        next: u16,
        offsets: &mut [u32],
        wide: &mut WideTimestamps,
    ) -> Self {
        wide.remove(&slot);
        let Some((from_ms, to_ms)) = span(times_ms.iter().copied()) else {
            return Self::EMPTY;
        };
        let count = times_ms.len() as u16;
        let Some(base_ms) = base_ms(from_ms, to_ms) else {
            let unused = iter::repeat_n(from_ms, offsets.len().saturating_sub(times_ms.len()));
            wide.insert(slot, times_ms.iter().copied().chain(unused).collect());
            return Self { base_ms: NO_BASE, count, next };
        };
        for (offset, time) in offsets.iter_mut().zip(times_ms) {
            *offset = u32::try_from(time.wrapping_sub(base_ms)).unwrap_or_default();
        }
        Self { base_ms: base_ms.to_ne_bytes(), count, next }
    }

    /// Adds an event; it replaces the oldest one if the window is full.
    pub(super) fn push<const N: usize>(
        &mut self,
        row: &mut Row<'_, N>,
        values: [f64; N],
        timestamp_ms: i64,
    ) {
        let size = row.values.len();
        let at = self.next();
        let (Some(value), Some(offset)) = (row.values.get_mut(at), row.offsets.get_mut(at)) else {
            return;
        };
        *value = values;
        // A difference that wraps around is out of range as well.
        match u32::try_from(timestamp_ms.wrapping_sub(self.base_ms())) {
            Ok(since_base) => *offset = since_base,
            Err(_) => self.rebase(row, at, timestamp_ms),
        }
        self.count += u16::from(self.count() < size);
        self.next = if at + 1 < size { self.next + 1 } else { 0 };
    }

    /// Stores a timestamp that is out of the base's range: with another base if one covers all
    /// events of the window, otherwise by making the row wide.
    #[cold]
    fn rebase<const N: usize>(&mut self, row: &mut Row<'_, N>, at: usize, timestamp_ms: i64) {
        if self.count == 0 {
            let middle = OFFSET_MS_MAX / 2;
            self.base_ms = timestamp_ms.saturating_sub(middle).to_ne_bytes();
            if let Some(offset) = row.offsets.get_mut(at) {
                *offset = middle as u32;
            }
            return;
        }
        let mut times = row.wide.remove(&row.slot).unwrap_or_else(|| {
            let unused = iter::repeat_n(timestamp_ms, row.offsets.len() - self.count());
            self.times(row.offsets).chain(unused).collect()
        });
        if let Some(time) = times.get_mut(at) {
            *time = timestamp_ms;
        }
        let held = self.count().max(at + 1);
        let span = span(times.iter().take(held).copied());
        let (from_ms, to_ms) = span.unwrap_or((timestamp_ms, timestamp_ms));
        let Some(base_ms) = base_ms(from_ms, to_ms) else {
            self.base_ms = NO_BASE;
            row.wide.insert(row.slot, times);
            return;
        };
        self.base_ms = base_ms.to_ne_bytes();
        for (offset, time) in row.offsets.iter_mut().zip(times) {
            // A place that is not used may hold anything.
            *offset = u32::try_from(time.wrapping_sub(base_ms)).unwrap_or_default();
        }
    }
}

/// Returns a base for timestamps between these two; `None` if they are too far apart.
fn base_ms(from_ms: i64, to_ms: i64) -> Option<i64> {
    let margin_ms = OFFSET_MS_MAX - to_ms.saturating_sub(from_ms);
    (margin_ms >= 0).then(|| from_ms.saturating_sub(margin_ms / 2))
}

/// Returns the least and the greatest of these timestamps; `None` if there are none.
pub(super) fn span(times_ms: impl Iterator<Item = i64>) -> Option<(i64, i64)> {
    times_ms.fold(None, |span, ms| {
        let (from_ms, to_ms) = span.unwrap_or((ms, ms));
        Some((from_ms.min(ms), to_ms.max(ms)))
    })
}

// The memory of a window is what `limits` says.
const _: () = assert!(size_of::<f64>() == limits::WINDOW_VALUE_BYTES);
const _: () = assert!(size_of::<u32>() == limits::WINDOW_TIMESTAMP_BYTES);
const _: () = assert!(size_of::<i64>() == limits::WINDOW_JUMP_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The last millisecond of the year 9999, after which no timestamp is accepted.
    const LAST_MS: i64 = 253_402_300_799_999;

    /// Timestamps of correct clocks, and every kind of jump.
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
            let (mut values, mut offsets) = (vec![[0.0; 2]; size], vec![0; size]);
            let mut wide = WideTimestamps::new();
            let mut window = Window::EMPTY;
            for (i, &time) in times.iter().enumerate() {
                let value = [i as f64, -(i as f64)];
                let mut row = Row {
                    slot: 7,
                    states: &mut [FieldState::NEW; 2],
                    values: &mut values,
                    offsets: &mut offsets,
                    wide: &mut wide,
                };
                window.push(&mut row, value, time);
                let first = (i + 1).saturating_sub(size);
                prop_assert_eq!(window.count(), i + 1 - first);
                let held = &times[first..=i];
                let span = (*held.iter().min().unwrap(), *held.iter().max().unwrap());
                let row_wide = wide.get(&7).map(|times| &times[..]);
                prop_assert_eq!(window.span_ms(&offsets, row_wide), Some(span));
                // Nothing is wide that need not be.
                prop_assert_eq!(wide.len(), usize::from(span.1 - span.0 > OFFSET_MS_MAX));
                prop_assert_eq!(window.newest(size).map(|at| values[at]), Some(value));
                let in_order: Vec<_> = window
                    .places(size)
                    .map(|at| (values[at][0], window.timestamp_ms(at, &offsets, row_wide)))
                    .collect();
                let expected: Vec<_> = (first..=i).map(|i| (i as f64, Some(times[i]))).collect();
                prop_assert_eq!(in_order, expected);
                let mut times_ms = Vec::new();
                window.copy_times(&offsets, row_wide, &mut times_ms);
                let (mut other, mut other_wide) = (vec![0; size], WideTimestamps::new());
                let next = u16::try_from(window.next()).unwrap();
                let restored = Window::restore(9, &times_ms, next, &mut other, &mut other_wide);
                let other_times = other_wide.get(&9).map(|times| &times[..]);
                prop_assert_eq!(other_wide.len(), wide.len());
                prop_assert_eq!((restored.count, restored.next), (window.count, window.next));
                for at in 0..window.count() {
                    prop_assert_eq!(
                        restored.timestamp_ms(at, &other, other_times),
                        window.timestamp_ms(at, &offsets, row_wide)
                    );
                }
                let mut held: Vec<f64> = window.values(&values).iter().map(|v| v[0]).collect();
                held.sort_by(f64::total_cmp);
                let expected: Vec<f64> = (first..=i).map(|i| i as f64).collect();
                prop_assert_eq!(held, expected);
            }
        }
    }

    #[test]
    fn an_empty_window_has_no_span_and_no_newest() {
        let window = Window::EMPTY;
        assert_eq!(window.span_ms(&[5; 3], None), None);
        assert_eq!(window.newest(3), None);
    }
}
