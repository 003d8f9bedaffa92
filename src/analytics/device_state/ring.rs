//! Rings: a window that is in no slot gets events of another, or another size.

use std::array::from_mut;
use std::collections::BTreeMap;
use std::ops::Range;

use super::WindowState;
use crate::analytics::field_state::write_sums;
use crate::analytics::running_sums::RunningSums;
use crate::analytics::series::{self, Rules};
use crate::analytics::window::{Row, WideTimestamps, Window};

/// Events of a window, the oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Events {
    pub(super) times_ms: Vec<i64>,
    /// The values, those of one event side by side.
    pub(super) values: Vec<f64>,
}

impl WindowState {
    /// Returns the newest events, so many if there are.
    pub(super) fn newest(&self, events: usize) -> Events {
        let (oldest, count, fields) = (self.oldest(), self.count(), self.fields.len());
        let places = (count.saturating_sub(events)..count).map(|at| (oldest + at) % count);
        let values_at = |at| self.values.get(at * fields..(at + 1) * fields).unwrap_or_default();
        Events {
            times_ms: places.clone().filter_map(|at| self.times_ms.get(at).copied()).collect(),
            values: places.flat_map(values_at).copied().collect(),
        }
    }

    /// Returns the events whose numbers are in these ranges, if it had so many events in all.
    pub(super) fn within(&self, ranges: &[Range<u64>], accepted: u64) -> Events {
        let fields = self.fields.len();
        let Events { times_ms, values } = self.newest(usize::MAX);
        let first = accepted.saturating_sub(times_ms.len() as u64);
        let is_within = |number: &u64| ranges.iter().any(|range| range.contains(number));
        let mut within = Events::default();
        let events = (first..).zip(times_ms).zip(values.chunks(fields.max(1)));
        for ((_, time_ms), values) in events.filter(|((number, _), _)| is_within(number)) {
            within.times_ms.push(time_ms);
            within.values.extend_from_slice(values);
        }
        within
    }

    /// Returns those of the newest events, so many, that are not in the other window of the same
    /// single field. One that has left it, as it is full of later ones, is not returned either.
    pub(super) fn newest_but(&self, other: &Self, events: usize) -> Events {
        let mut held: BTreeMap<(i64, u64), usize> = BTreeMap::new();
        for (time_ms, value) in other.times_ms.iter().zip(&other.values) {
            *held.entry((*time_ms, value.to_bits())).or_default() += 1;
        }
        let is_full = other.count() == usize::from(other.size);
        let from_ms = other.times_ms.iter().min().filter(|_| is_full);
        let newest = self.newest(events);
        let is_other = |(time_ms, value): &(i64, f64)| {
            let found = held.get_mut(&(*time_ms, value.to_bits())).filter(|left| **left > 0);
            let is_held = found.map(|left| *left -= 1).is_some();
            !is_held && from_ms.is_none_or(|from_ms| time_ms >= from_ms)
        };
        let (times_ms, values) =
            newest.times_ms.into_iter().zip(newest.values).filter(is_other).unzip();
        Events { times_ms, values }
    }

    /// Adds events without verdicts on them: each where its time is among those that there are, so
    /// that the newest of all are kept.
    pub(super) fn add(&mut self, rules: &Rules, events: &Events) {
        let is_later = self.times_ms.iter().max() <= events.times_ms.iter().min();
        if is_later || events.times_ms.is_empty() {
            return self.push(rules, events);
        }
        let merged = self.newest(usize::MAX).merged(events, self.fields.len());
        self.set(self.size, merged);
    }

    /// Adds events behind the others, as if it were in its slot.
    fn push(&mut self, rules: &Rules, events: &Events) {
        let (size, fields) = (usize::from(self.size), self.fields.len());
        let mut columns = Vec::with_capacity(fields);
        let mut end = (Vec::new(), self.next);
        // The numbers of a field do not depend on the others, so they may come one by one.
        for (at, state) in self.fields.iter_mut().enumerate() {
            let mut column: Vec<[f64; 1]> =
                self.values.iter().skip(at).step_by(fields).map(|value| [*value]).collect();
            column.resize(size, [0.0]);
            let (mut offsets, mut wide) = (vec![0; size], WideTimestamps::new());
            let times_ms = &self.times_ms;
            let mut window = Window::restore(0, times_ms, self.next, &mut offsets, &mut wide);
            let values = events.values.iter().skip(at).step_by(fields);
            for (value, time_ms) in values.zip(&events.times_ms) {
                let mut row = Row {
                    slot: 0,
                    states: from_mut(state),
                    values: &mut column,
                    offsets: &mut offsets,
                    wide: &mut wide,
                };
                series::apply_unjudged(rules, &mut window, &mut row, &[*value], *time_ms);
            }
            let mut times_ms = Vec::with_capacity(size);
            window.copy_times(&offsets, wide.get(&0).map(AsRef::as_ref), &mut times_ms);
            end = (times_ms, window.next() as u16);
            columns.push(column.into_iter().flatten());
        }
        (self.times_ms, self.next) = end;
        self.values = interleaved(&mut columns, self.times_ms.len() * fields);
    }

    /// Returns the window with so many places, and the newest events that they take. Its sums are
    /// computed anew.
    pub(super) fn resized(mut self, size: u16) -> Self {
        if size == self.size {
            return self;
        }
        let events = self.newest(size.into());
        self.set(size, events);
        self
    }

    /// Makes it a window of so many places with the newest of these events. Its sums are computed
    /// anew.
    fn set(&mut self, size: u16, events: Events) {
        let fields = self.fields.len();
        let Events { mut times_ms, mut values } = events;
        let surplus = times_ms.len().saturating_sub(size.into());
        times_ms.drain(..surplus);
        values.drain(..(surplus * fields).min(values.len()));
        for (at, state) in self.fields.iter_mut().enumerate() {
            let column = values.iter().skip(at).step_by(fields).map(|value| [*value]);
            write_sums(from_mut(state), &RunningSums::of(&column.collect::<Vec<_>>()));
        }
        let count = times_ms.len() as u16;
        self.next = if count == size { 0 } else { count };
        (self.size, self.times_ms, self.values) = (size, times_ms, values);
    }
}

impl Events {
    /// Returns these events and others of as many fields by their times. Those of either keep their
    /// order.
    fn merged(&self, others: &Self, fields: usize) -> Self {
        let mut merged = Self::default();
        let [mut own, mut others] =
            [self, others].map(|it| it.times_ms.iter().zip(it.values.chunks(fields)).peekable());
        let next = || {
            let is_own = match (own.peek(), others.peek()) {
                (Some((own_ms, _)), Some((other_ms, _))) => own_ms <= other_ms,
                (own, _) => own.is_some(),
            };
            if is_own { own.next() } else { others.next() }
        };
        for (time_ms, values) in std::iter::from_fn(next) {
            merged.times_ms.push(*time_ms);
            merged.values.extend_from_slice(values);
        }
        merged
    }
}

/// Returns so many values, of all columns in turn.
pub(super) fn interleaved(columns: &mut [impl Iterator<Item = f64>], values: usize) -> Vec<f64> {
    let mut all = Vec::with_capacity(values);
    while all.len() < values {
        let before = all.len();
        all.extend(columns.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            break;
        }
    }
    all
}
