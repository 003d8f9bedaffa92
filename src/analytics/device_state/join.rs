//! Joining: two states of one device become one, as their lineage says.
//!
//! The events that only the second has are added to the windows of the first without verdicts, as
//! they had theirs, and by their times: they may be older than those that the first has. What the
//! device shows of its newest event is that of the state which saw it later.

use std::ops::Range;

use super::{DeviceState, MINUTE_BUCKETS, MinuteState, WindowState};
use crate::analytics::anomaly::Point;
use crate::analytics::lineage::{Counted, Relation, Side, relate};
use crate::analytics::novelty::FieldNovelty;
use crate::analytics::series::Rules;
use crate::limits::{RECENT_ANOMALIES_MAX, WINDOW_MAX};

/// Microseconds of a bucket of [`MinuteState`].
const BUCKET_US: i64 = 10_000_000;

impl DeviceState {
    /// Returns one state of this one, which is held here, and of another one.
    pub fn join(self, base: Self, rules: &Rules) -> Self {
        let Relation { first, extra, counted, forks } = relate(self.line(), base.line());
        let (first, second) = if first == Side::Own { (self, base) } else { (base, self) };
        let [mut joined, second] = [first, second].map(|state| state.resized(rules.window));
        joined.forks = forks;
        joined.add(second, &extra, counted, rules);
        joined
    }

    /// Returns the state with windows of so many places, which have the newest events that these
    /// take. Sums are computed anew.
    pub fn resized(mut self, size: usize) -> Self {
        let size = size.clamp(1, WINDOW_MAX) as u16;
        self.required = self.required.map(|window| window.resized(size));
        let optional = self.optional.into_iter();
        self.optional = optional.map(|(field, window)| (field, window.resized(size))).collect();
        self
    }

    /// Adds the events of another state with these numbers; so much is counted in the end.
    fn add(&mut self, second: Self, extra: &[Range<u64>], counted: Counted, rules: &Rules) {
        let points = counted.points.saturating_sub(self.points);
        let Counted { accepted, episodes, .. } = counted;
        (self.accepted, self.points, self.episodes) = (accepted, counted.points, episodes);
        let second_accepted = second.accepted;
        let is_later = second.seen_us > self.seen_us;
        if is_later {
            (self.seen_us, self.timestamp) = (second.seen_us, second.timestamp);
        }
        self.last_minute.add(second.last_minute, points);
        add_recent(&mut self.recent, &second.recent);
        add_novelty(&mut self.novelty, second.novelty, is_later);
        let count = |range: &Range<u64>| range.end.saturating_sub(range.start);
        let events = extra.iter().map(count).fold(0, u64::saturating_add);
        let events = usize::try_from(events).unwrap_or(usize::MAX);
        if let (Some(window), Some(second)) = (&mut self.required, &second.required) {
            window.add(rules, &second.within(extra, second_accepted));
            window.set_verdicts(second, is_later);
        }
        for (field, second) in second.optional {
            match self.optional.binary_search_by_key(&field, |(field, _)| *field) {
                Err(at) if events > 0 => self.optional.insert(at, (field, second)),
                Err(_) => {}
                // How many of the events had this field is not known.
                Ok(at) => {
                    if let Some((_, window)) = self.optional.get_mut(at) {
                        window.add(rules, &second.newest_but(window, events));
                        window.set_verdicts(&second, is_later);
                    }
                }
            }
        }
    }
}

impl WindowState {
    /// Takes the newest verdicts of another window if that is the later one.
    fn set_verdicts(&mut self, second: &Self, is_later: bool) {
        for (state, later) in self.fields.iter_mut().zip(&second.fields).filter(|_| is_later) {
            *state = state.with_verdict_of(*later);
        }
    }
}

impl MinuteState {
    /// Adds the last anomalies of another state, so many.
    fn add(&mut self, second: Self, points: u64) {
        if points == 0 || second.counts == [0; _] {
            return;
        }
        if self.counts == [0; _] {
            self.newest_us = second.newest_us;
        }
        let newest_us = self.newest_us.max(second.newest_us);
        let mut counts = [0_u32; MINUTE_BUCKETS];
        for (bucket, count) in self.since(newest_us) {
            if let Some(sum) = counts.get_mut(bucket) {
                *sum = sum.saturating_add(count);
            }
        }
        let mut rest = points;
        for (bucket, count) in second.since(newest_us) {
            let added = u64::from(count).min(rest) as u32;
            rest -= u64::from(added);
            if let Some(sum) = counts.get_mut(bucket) {
                *sum = sum.saturating_add(added);
            }
        }
        *self = Self { counts, newest_us };
    }

    /// Returns the counts, each with the number of its bucket if the newest one began at this time.
    fn since(self, newest_us: i64) -> impl Iterator<Item = (usize, u32)> {
        let passed_us = newest_us.saturating_sub(self.newest_us);
        let passed = passed_us.saturating_add(BUCKET_US / 2) / BUCKET_US;
        let first = usize::try_from(passed).unwrap_or(MINUTE_BUCKETS).min(MINUTE_BUCKETS);
        (first..).zip(self.counts)
    }
}

/// Takes of each field what the second judge knows by more events: it cannot be joined, and what it
/// has learnt of some events is of use without the others. Whether a series stands still is known
/// by who heard the device last.
fn add_novelty(novelty: &mut Vec<FieldNovelty>, second: Vec<FieldNovelty>, is_later: bool) {
    for other in second {
        match novelty.binary_search_by_key(&other.field, |it| it.field) {
            Err(at) if is_later => novelty.insert(at, other),
            Err(at) => novelty.insert(at, FieldNovelty { stillness: None, ..other }),
            Ok(at) => {
                let Some(own) = novelty.get_mut(at) else {
                    continue;
                };
                let stillness = if is_later { other.stillness } else { own.stillness };
                if own.events() < other.events() {
                    *own = other;
                }
                own.stillness = stillness;
            }
        }
    }
}

/// Adds anomalies that are not among the last ones yet. The oldest of too many are dropped.
fn add_recent(recent: &mut Vec<Point>, second: &[Point]) {
    let bits = |point: &Point| {
        let numbers = [point.value, point.mean, point.stddev, point.z].map(f64::to_bits);
        (point.timestamp_ms, point.field.index(), numbers)
    };
    let is_full = recent.len() >= RECENT_ANOMALIES_MAX;
    let from_ms = recent.iter().map(|point| point.timestamp_ms).min().filter(|_| is_full);
    let is_new = |point: &&Point| {
        from_ms.is_none_or(|from_ms| point.timestamp_ms > from_ms)
            && recent.iter().all(|other| bits(other) != bits(point))
    };
    let added: Vec<_> = second.iter().filter(is_new).copied().collect();
    if recent.is_empty() || added.is_empty() {
        recent.extend(added);
    } else {
        recent.extend(added);
        recent.sort_by_key(|point| point.timestamp_ms);
    }
    recent.drain(..recent.len().saturating_sub(RECENT_ANOMALIES_MAX));
}

#[cfg(test)]
mod tests {
    use super::super::Encoder;
    use super::*;
    use crate::analytics::device_state::ring::Events;
    use crate::analytics::device_state::samples::{Series, states_of};
    use crate::analytics::lineage::Fork;
    use crate::analytics::moments::Moments;
    use crate::analytics::novelty::judgement::EventTime;
    use crate::analytics::novelty::series_bands::SeriesBands;
    use crate::analytics::novelty::stillness::Stillness;
    use crate::analytics::novelty::{EXCESS_ON, NoveltySettings};
    use crate::schema::samples::one_optional;
    use proptest::prelude::*;

    /// An event of the device: its time, and its values of two required fields and perhaps of an
    /// optional one.
    #[derive(Clone, Copy, Debug)]
    struct Event {
        time_ms: i64,
        required: [f64; 2],
        optional: Option<f64>,
    }

    const BRANCH: u64 = 11;

    fn rules(window: usize) -> Rules {
        let schema = one_optional();
        Rules {
            schema,
            window,
            threshold: 2.0,
            min_samples: 4,
            cooldown: 3,
            judges_duplicates: false,
        }
    }

    /// Returns the state of a device that sent these events to one instance.
    fn replayed(window: usize, events: &[Event]) -> DeviceState {
        let rules = rules(window);
        let (mut required, mut optional) = (Series::new(rules, 0), Series::new(rules, 2));
        for event in events {
            required.push(event.time_ms, &event.required);
            if let Some(value) = event.optional {
                optional.push(event.time_ms, &[value]);
            }
        }
        let has_optional = events.iter().any(|event| event.optional.is_some());
        let [points, episodes] = [0, 1].map(|at| required.found[at] + optional.found[at]);
        DeviceState {
            accepted: events.len() as u64,
            points,
            episodes,
            seen_us: events.last().map_or(0, |event| 1000 * event.time_ms),
            timestamp: events.last().map_or(0, |event| event.time_ms.cast_unsigned()),
            last_minute: MinuteState::default(),
            required: Some(required.state()),
            optional: has_optional.then(|| (2, optional.state())).into_iter().collect(),
            forks: Vec::new(),
            recent: Vec::new(),
            novelty: Vec::new(),
        }
    }

    /// Events that all heard, and those that only one of two did, whose times are mixed.
    fn histories() -> impl Strategy<Value = [Vec<Event>; 3]> {
        let event = (0..5_u8, any::<[u8; 3]>(), any::<bool>());
        prop::collection::vec((event, 0..10_u8, any::<bool>()), 0..80).prop_map(|events| {
            let mut histories = [Vec::new(), Vec::new(), Vec::new()];
            let fork = events.len() / 3;
            for (at, ((kind, [a, b, c], has_optional), spike, is_own)) in
                events.into_iter().enumerate()
            {
                let a = f64::from(a) / 10.0 + if spike == 0 { 1e3 * f64::from(kind) } else { 0.0 };
                let event = Event {
                    time_ms: 1_000 * at as i64,
                    required: [a, f64::from(b)],
                    optional: has_optional.then_some(f64::from(c)),
                };
                let which = if at < fork { 0 } else { 1 + usize::from(is_own) };
                histories[which].push(event);
            }
            histories
        })
    }

    fn sums_of(window: &WindowState) -> Vec<FieldBits> {
        window.fields.iter().map(|field| field.bits()).map(|([_, a, b], _)| (a, b)).collect()
    }

    type FieldBits = (u64, u64);

    /// Returns the last events that a window of this field has.
    fn last<'a>(events: impl DoubleEndedIterator<Item = &'a Event>, size: usize) -> Vec<Event> {
        let mut last: Vec<_> = events.rev().take(size).copied().collect();
        last.reverse();
        last
    }

    fn events_of(window: &WindowState) -> Events {
        window.newest(usize::MAX)
    }

    /// Checks the sums of a window against a pass over it.
    fn check_sums(window: &WindowState) {
        let fields = window.fields.len();
        for (at, field) in window.fields.iter().enumerate() {
            let values = window.values.iter().skip(at).step_by(fields).map(|value| [*value]);
            let values: Vec<_> = values.collect();
            let mut sums = crate::analytics::field_state::read_sums(&[*field]);
            let (kept, passed) = (sums.moments(&values), Moments::of(&values));
            let Some((kept, passed)) = kept.zip(passed) else {
                continue;
            };
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs().max(1e-3);
            assert!(near(kept.mean[0], passed.mean[0]), "{kept:?} {passed:?}");
            assert!(near(kept.stddev[0], passed.stddev[0]), "{kept:?} {passed:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// One took the other's copy, or was begun alone: the result is what one instance has that
        /// got the events of the longer one, and then those that it has not.
        #[test]
        fn the_result_has_the_events_of_both(
            [common, one, two] in histories(),
            size in 1..30_usize,
            case in 0..3_u8,
        ) {
            let all = |parts: &[&Vec<Event>]| parts.iter().copied().flatten().copied().collect();
            let common_counted = replayed(size, &common).counted();
            let (first, second): (Vec<Event>, Vec<Event>) = match case {
                2 => (all(&[&common, &one]), two.clone()),
                _ => (all(&[&common, &one]), all(&[&common, &two])),
            };
            let [mut a, mut b] = [&first, &second].map(|events| replayed(size, events));
            match case {
                2 => b.forks = vec![Fork::new(BRANCH, Counted::NONE)],
                _ => a.forks = vec![Fork::new(BRANCH, common_counted)],
            }
            // In case 1 the copy comes to who has the events that it was taken of.
            let (own, base) = if case == 0 { (&a, &b) } else { (&b, &a) };
            let joined = own.clone().join(base.clone(), &rules(size));
            let again = joined.clone().join(base.clone(), &rules(size));
            prop_assert_eq!(&again, &joined, "joining the same again changes nothing");
            let is_own_first = relate(own.line(), base.line()).first == Side::Own;
            let (a, b, first, second, two) = if is_own_first == (case == 0) {
                (a, b, first, second, two)
            } else {
                let rest = if case == 2 { all(&[&common, &one]) } else { one };
                (b, a, second, first, rest)
            };

            let extra = if case == 2 { b.counted() } else { b.counted().since(common_counted) };
            prop_assert_eq!(joined.counted(), a.counted().plus(extra));
            let later = if b.seen_us > a.seen_us { &b } else { &a };
            prop_assert_eq!((joined.seen_us, joined.timestamp), (later.seen_us, later.timestamp));

            // The required fields: just as one instance has it, but for the verdicts.
            let mut whole: Vec<Event> = all(&[&first, &two]);
            let newest_ms = last(first.iter(), 1).first().map_or(i64::MIN, |event| event.time_ms);
            let is_later = two.iter().all(|event| event.time_ms > newest_ms);
            whole.sort_by_key(|event| event.time_ms);
            let expected = replayed(size, &whole).required.unwrap();
            let window = joined.required.clone().unwrap();
            prop_assert!(window.is_valid());
            prop_assert_eq!(events_of(&window), events_of(&expected));
            check_sums(&window);
            // If those of the second are later, and in its ring, the place of each is the same.
            if is_later && two.len() <= size {
                prop_assert_eq!(sums_of(&window), sums_of(&expected));
                prop_assert_eq!(
                    (window.next, &window.times_ms, &window.values),
                    (expected.next, &expected.times_ms, &expected.values)
                );
            }
            for (field, later) in
                window.fields.iter().zip(later.required.as_ref().map(|it| &it.fields[..]).unwrap())
            {
                prop_assert_eq!(field.score(), later.score());
                prop_assert_eq!(field.is_anomalous(), later.is_anomalous());
                prop_assert_eq!(*field, field.with_verdict_of(*later));
            }

            // The optional field: what the second's ring has, unless it is too old.
            let has = |event: &&Event| event.optional.is_some();
            let of_first = last(first.iter().filter(has), size);
            let from_ms = of_first.first().filter(|_| of_first.len() == size);
            let from_ms = from_ms.map_or(i64::MIN, |event| event.time_ms);
            let of_second = last(second.iter().filter(has), size);
            let is_extra = |event: &&Event| {
                event.time_ms >= from_ms && two.iter().any(|it| it.time_ms == event.time_ms)
            };
            let mut of_both: Vec<_> =
                of_first.iter().chain(of_second.iter().filter(is_extra)).copied().collect();
            of_both.sort_by_key(|event| event.time_ms);
            let expected = last(of_both.iter(), size);
            let found = joined.optional.first().map(|(_, it)| events_of(it)).unwrap_or_default();
            prop_assert_eq!(
                found.times_ms,
                expected.iter().map(|event| event.time_ms).collect::<Vec<_>>()
            );
            prop_assert_eq!(
                found.values,
                expected.iter().filter_map(|event| event.optional).collect::<Vec<_>>()
            );
            joined.optional.iter().for_each(|(_, window)| check_sums(window));
        }

        #[test]
        fn another_size_keeps_the_newest_events(
            [events, ..] in histories(),
            size in 1..30_usize,
            other in 1..30_usize,
        ) {
            let state = replayed(size, &events);
            let resized = state.clone().resized(other);
            let windows = |state: &DeviceState| -> Vec<WindowState> {
                let optional = state.optional.iter().map(|(_, window)| window);
                state.required.iter().chain(optional).cloned().collect()
            };
            for (was, is) in windows(&state).iter().zip(&windows(&resized)) {
                prop_assert!(is.is_valid());
                prop_assert_eq!(usize::from(is.size), other);
                prop_assert_eq!(events_of(is), was.newest(other));
                check_sums(is);
                for (was, is) in was.fields.iter().zip(&is.fields) {
                    prop_assert_eq!(*is, is.with_verdict_of(*was));
                }
            }
            prop_assert_eq!(resized.counted(), state.counted());
            prop_assert_eq!(state.clone().resized(size), state);
        }

        /// Whatever two states are, joining them ends in one that can be given away.
        #[test]
        fn any_two_states_become_a_valid_one(
            own in states_of(one_optional()),
            base in states_of(one_optional()),
            window in 1..60_usize,
            relation in 0..4_u8,
        ) {
            let (mut own, mut base) = (own, base);
            let three = Counted { accepted: 3, ..Counted::NONE };
            match relation {
                0 => own.forks = vec![Fork::new(BRANCH, three)],
                1 => base.forks = vec![Fork::new(BRANCH, three)],
                2 => own.forks = vec![Fork::new(BRANCH, Counted::NONE)],
                _ => {}
            }
            let joined = own.join(base, &rules(window));
            let windows = joined.required.iter().chain(joined.optional.iter().map(|(_, it)| it));
            for it in windows {
                prop_assert!(it.is_valid() && usize::from(it.size) == window);
            }
            prop_assert!(joined.recent.len() <= RECENT_ANOMALIES_MAX);
            let mut bytes = Vec::new();
            Encoder::new(one_optional()).encode(&joined, &mut bytes);
            prop_assert!(DeviceState::decode(&bytes, one_optional()).is_ok());
        }
    }

    #[test]
    fn anomalies_of_the_last_minute_are_counted_once() {
        let minute = |counts, newest_us| MinuteState { counts, newest_us };
        let joined = |mut first: MinuteState, second, points| {
            first.add(second, points);
            first
        };
        let (ten, none) = (10_000_000, MinuteState::default());
        let first = minute([1, 2, 3, 4, 5, 6], 100 * ten);
        assert_eq!(joined(first, none, 9), first);
        assert_eq!(joined(first, minute([7; 6], 3 * ten), 0), first);
        // Of the second's only the last three are new.
        let second = minute([2, 2, 2, 0, 0, 0], 102 * ten + 2_000_000);
        let expected = minute([2, 1, 1, 2, 3, 4], 102 * ten + 2_000_000);
        assert_eq!(joined(first, second, 3), expected);
        let expected = minute([1, 2, 5, 5, 5, 6], 100 * ten);
        assert_eq!(joined(first, minute([2, 2, 0, 0, 0, 0], 98 * ten), 3), expected);
        assert_eq!(joined(none, second, 100), second);
        let long_ago = minute([9; 6], i64::MIN);
        assert_eq!(joined(first, long_ago, 100), first);
    }

    #[test]
    fn the_newest_anomalies_of_both_are_kept_once() {
        let field = one_optional().fields()[0];
        let point = |timestamp_ms, value| Point {
            timestamp_ms,
            field,
            value,
            mean: f64::NAN,
            stddev: 1.0,
            z: 4.0,
        };
        let points =
            |times: Range<i64>| -> Vec<_> { times.map(|time| point(time, time as f64)).collect() };
        let joined = |mut first: Vec<Point>, second: &[Point]| -> Vec<_> {
            add_recent(&mut first, second);
            let once: Vec<_> = first.iter().map(|point| point.timestamp_ms).collect();
            add_recent(&mut first, second);
            assert_eq!(once, first.iter().map(|point| point.timestamp_ms).collect::<Vec<_>>());
            once
        };
        assert_eq!(joined(points(0..3), &points(1..5)), [0, 1, 2, 3, 4]);
        assert_eq!(joined(points(3..5), &points(0..4)), [0, 1, 2, 3, 4]);
        let expected: Vec<_> = (10..30).collect();
        assert_eq!(joined(points(10..30), &points(0..12)), expected);
        assert_eq!(joined(points(0..12), &points(10..30)), expected);
        assert_eq!(joined(points(10..30), &points(0..30)), expected);
        let same = [point(7, 1.0), point(7, 2.0)];
        assert_eq!(joined(same[..1].to_vec(), &same), [7, 7]);
    }

    #[test]
    fn of_two_that_know_a_field_the_one_with_more_events_stays() {
        let sensitivity = NoveltySettings::sensitivity(EXCESS_ON);
        let known = |field, events: i64| {
            let mut bands = SeriesBands::new();
            for ms in 0..events {
                bands.push(&sensitivity, 1.0, EventTime { ms, hour: 0 });
            }
            FieldNovelty { field, bands: Some(bands), stillness: None }
        };
        let mut own = vec![known(1, 5), known(3, 5)];
        let second = vec![known(0, 2), known(1, 6), known(3, 4), known(7, 1)];
        add_novelty(&mut own, second, true);
        assert_eq!(own, [known(0, 2), known(1, 6), known(3, 5), known(7, 1)]);
    }

    #[test]
    fn what_stands_still_is_known_by_who_heard_the_device_last() {
        let still = |runs: u32| {
            let mut still = Stillness::default();
            (0..runs).for_each(|_| _ = still.push(1.0, 99));
            Some(still)
        };
        let of = |field, runs| FieldNovelty { field, bands: None, stillness: still(runs) };
        let mut own = vec![of(1, 2)];
        add_novelty(&mut own, vec![of(0, 9), of(1, 9)], false);
        assert_eq!(own, [FieldNovelty { stillness: None, ..of(0, 9) }, of(1, 2)]);
        add_novelty(&mut own, vec![of(0, 3), of(1, 1)], true);
        assert_eq!(own, [of(0, 3), of(1, 1)]);
    }
}
