//! The application of a batch: its events are scored, added to their devices' windows and given to
//! the store, some at a time.
//!
//! With several shards a large batch goes through them one after the other, so that each is locked
//! for a group of events and not for a single one; one that another core has locked comes later. A
//! device has one home, so its events keep their order. What depends on the order of all events,
//! the answer and the window over all series, is made in the order of the request.

use std::mem;
use std::ops::Range;

use super::ingest_error::IngestError;
use super::report::Report;
use super::state::State;
use crate::analytics::recent::PendingEvents;
use crate::analytics::{Arrived, Guesses, ShardWriter};
use crate::limits::EVENTS_PER_HOLD;
use crate::metric::batch::Batch;
use crate::metric::id_hash::IdHash;
use crate::store::Appender;
use crate::store::encoding::Encoding;
use percore::clock::Now;

/// Events of a batch for each shard from which on they are ordered by their homes: fewer are not
/// worth it.
const EVENTS_PER_SHARD_MIN: usize = 2;

/// The memory of one core for applying batches.
#[derive(Debug, Default)]
pub(super) struct BatchOrder {
    events: Vec<Placed>,
    by_home: Vec<Placed>,
    /// The number of events of each home, and then where they end in `by_home`.
    homes: Vec<usize>,
    /// Those of homes that were busy.
    put_off: Vec<Range<usize>>,
}

/// An event of the batch.
#[derive(Clone, Copy, Debug, Default)]
struct Placed {
    index: u32,
    home: usize,
    hash: IdHash,
}

/// A batch under way.
struct Application<'a> {
    batch: &'a Batch<'a>,
    state: &'a State,
    now: Now,
    analytics: ShardWriter<'a>,
    guesses: Guesses,
    store: Appender<'a>,
    pending: &'a mut PendingEvents,
    report: &'a mut Report,
    late_before_ms: i64,
}

/// Applies the events of a batch that `core` received at this time.
pub(super) fn apply_batch(
    batch: &Batch<'_>,
    (core, now): (usize, Now),
    state: &State,
    order: &mut BatchOrder,
    pending: &mut PendingEvents,
    report: &mut Report,
) -> Result<(), IngestError> {
    // Computed only if a full queue refuses what does not fit.
    let bytes = |encoding: &Encoding| {
        batch.iter().flatten().map(|event| encoding.record_bytes(&event)).sum::<usize>()
    };
    let store = state.store.open(core, now, bytes).ok_or(IngestError::StoreFull)?;
    report.assigned_timestamp = batch.assigned_timestamp();
    report.accepted = batch.events() as u64;
    let mut application = Application {
        batch,
        state,
        now,
        analytics: state.analytics.writer(core, now, batch.len()),
        guesses: Guesses::NONE,
        store,
        pending,
        report,
        late_before_ms: now.wall_ms().saturating_sub(state.settings.store_ttl_ms),
    };
    let shards = state.analytics.shards();
    if shards > 1 && batch.events() >= EVENTS_PER_SHARD_MIN * shards {
        application.apply_by_home(order, core);
    } else if batch.len() == 1 {
        application.apply_single();
    } else {
        application.apply_in_order();
    }
    drop(application);
    report.describe_anomalies(batch);
    Ok(())
}

impl<'a> Application<'a> {
    /// Applies the only event.
    #[inline(always)]
    fn apply_single(&mut self) {
        for (index, item) in (0..).zip(self.batch.spans()) {
            match item {
                Ok(spans) => {
                    let event = self.batch.event(spans);
                    let hash = self.state.ids.hash_of(&event);
                    self.pending.push(self.now, 0, || event);
                    self.take(&[Arrived { event, hash, index }], &[]);
                }
                Err(rejection) => self.report.add_rejection(index, *rejection),
            }
        }
    }

    /// Applies the events in their order, some at a time.
    fn apply_in_order(&mut self) {
        let Self { batch, state, now, .. } = *self;
        let mut follow = batch.events() as u64;
        let mut items = (0..).zip(batch.spans());
        in_groups(
            self,
            |this, group| {
                let mut places = group.iter_mut();
                for (index, item) in items.by_ref() {
                    match item {
                        Ok(spans) => {
                            let event = batch.event(spans);
                            let hash = state.ids.hash_of(&event);
                            follow -= 1;
                            this.pending.push(now, follow, || event);
                            if let Some(place) = places.next() {
                                *place = Arrived { event, hash, index };
                            }
                            if places.len() == 0 {
                                break;
                            }
                        }
                        Err(rejection) => this.report.add_rejection(index, *rejection),
                    }
                }
                EVENTS_PER_HOLD - places.len()
            },
            Self::take,
        );
    }

    /// Applies the events in the order of their homes.
    fn apply_by_home(&mut self, order: &mut BatchOrder, core: usize) {
        let shards = self.state.analytics.shards();
        order.begin(shards);
        let mut follow = self.batch.events() as u64;
        for (index, item) in (0..).zip(self.batch.spans()) {
            match item {
                Ok(spans) => {
                    let device_id = self.batch.device_id(spans);
                    let hash = self.state.ids.hash(device_id.unwrap_or_default());
                    let home = self.analytics.home(device_id, hash);
                    // Each core begins at another shard, so that they do not all wait for one.
                    order.add(Placed { index, home: (home + shards - core) % shards, hash });
                    follow -= 1;
                    self.pending.push(self.now, follow, || self.batch.event(spans));
                }
                Err(rejection) => self.report.add_rejection(index, *rejection),
            }
        }
        let BatchOrder { events, by_home, homes, put_off } = order;
        sort_by_home(events, homes, by_home);
        put_off.clear();
        let mut start = 0;
        for (home, end) in homes.iter().enumerate() {
            let placed = by_home.get(start..*end).unwrap_or_default();
            // Where another core is just now, this one comes later.
            if !placed.is_empty() && self.analytics.is_busy((home + core) % shards) {
                put_off.push(start..*end);
            } else {
                self.apply_home(placed);
            }
            start = *end;
        }
        for range in put_off.drain(..) {
            self.apply_home(by_home.get(range).unwrap_or_default());
        }
    }

    /// Applies events of one home.
    fn apply_home(&mut self, placed: &[Placed]) {
        let mut placed = placed.iter();
        in_groups(
            self,
            |this, group| {
                let mut places = group.iter_mut();
                for Placed { index, hash, .. } in placed.by_ref() {
                    if let Some(event) = this.batch.event_at(*index as usize)
                        && let Some(place) = places.next()
                    {
                        *place = Arrived { event, hash: *hash, index: *index };
                    }
                    if places.len() == 0 {
                        break;
                    }
                }
                EVENTS_PER_HOLD - places.len()
            },
            Self::take,
        );
    }

    /// Scores and stores some events. `next` has those that come next.
    fn take(&mut self, group: &[Arrived<'_>], next: &[Arrived<'_>]) {
        let Self { report, guesses, .. } = self;
        let points = report.points.len();
        report.applied += self.analytics.apply_before(group, next, guesses, &mut report.points);
        if self.report.points.len() > points {
            self.report.count_anomalies(points);
        }
        for Arrived { event, hash, .. } in group {
            self.store.append(event, *hash);
            self.report.late += u64::from(event.timestamp_ms < self.late_before_ms);
        }
    }
}

/// Hands events on in groups, each once it is known which one comes next. `fill` fills a group
/// with the next events, and returns their number; fewer than there is room for are the last.
/// `take` gets a group and the one that comes next.
#[inline(always)]
fn in_groups<'a, T>(
    context: &mut T,
    mut fill: impl FnMut(&mut T, &mut [Arrived<'a>; EVENTS_PER_HOLD]) -> usize,
    mut take: impl FnMut(&mut T, &[Arrived<'a>], &[Arrived<'a>]),
) {
    let mut memory = [[Arrived::default(); EVENTS_PER_HOLD]; 2];
    let [mut group, mut next] = memory.each_mut();
    let mut waiting = 0;
    loop {
        let filled = fill(context, next);
        let coming = next.get(..filled).unwrap_or_default();
        take(context, group.get(..waiting).unwrap_or_default(), coming);
        if filled < EVENTS_PER_HOLD {
            return take(context, coming, &[]);
        }
        mem::swap(&mut group, &mut next);
        waiting = filled;
    }
}

impl BatchOrder {
    /// Begins a batch for so many homes.
    fn begin(&mut self, homes: usize) {
        self.events.clear();
        self.homes.clear();
        self.homes.resize(homes, 0);
    }

    fn add(&mut self, placed: Placed) {
        self.events.push(placed);
        if let Some(count) = self.homes.get_mut(placed.home) {
            *count += 1;
        }
    }
}

/// Writes the events to `by_home` in the order of their homes, those of each in the order in which
/// they were added. Has in `homes` the number of events of each, and then where they end.
fn sort_by_home(events: &[Placed], homes: &mut [usize], by_home: &mut Vec<Placed>) {
    let mut next = 0;
    for home in &mut *homes {
        next += mem::replace(home, next);
    }
    by_home.clear();
    by_home.resize(events.len(), Placed::default());
    for placed in events {
        let Some(next) = homes.get_mut(placed.home) else {
            continue;
        };
        if let Some(place) = by_home.get_mut(*next) {
            *place = *placed;
        }
        *next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::id_hash::IdHasher;
    use proptest::prelude::*;

    #[test]
    fn a_group_is_taken_once_the_next_one_is_known() {
        for events in 0..50_u32 {
            let mut taken: Vec<[Vec<u32>; 2]> = Vec::new();
            let mut indexes = 0..events;
            in_groups(
                &mut taken,
                |_, group| {
                    let places = group.iter_mut().zip(indexes.by_ref());
                    places.map(|(place, index)| place.index = index).count()
                },
                |taken, group, next| {
                    taken.push([group, next].map(|of| of.iter().map(|it| it.index).collect()));
                },
            );
            let all: Vec<_> = taken.iter().flat_map(|[group, _]| group.clone()).collect();
            assert_eq!(all, (0..events).collect::<Vec<_>>());
            for pair in taken.windows(2) {
                assert_eq!(pair[0][1], pair[1][0]);
            }
            let whole = &taken[1..taken.len() - 1];
            assert!(whole.iter().all(|[group, _]| group.len() == EVENTS_PER_HOLD));
            assert!(taken.last().is_some_and(|[_, next]| next.is_empty()));
        }
    }

    proptest! {
        #[test]
        fn events_are_ordered_by_home_and_keep_their_order_in_it(
            batches in prop::collection::vec(
                (1..70_usize, prop::collection::vec(any::<u16>(), 0..200)), 1..4),
        ) {
            let ids = IdHasher::default();
            // The memory of one batch is that of the next.
            let mut order = BatchOrder::default();
            for (homes, events) in batches {
                order.begin(homes);
                let mut expected: Vec<_> = (0..)
                    .zip(&events)
                    .map(|(index, home)| (usize::from(*home) % homes, index))
                    .collect();
                for (home, index) in &expected {
                    let (home, index) = (*home, *index);
                    order.add(Placed { index, home, hash: ids.hash(&[index as u8]) });
                }
                expected.sort_by_key(|(home, _)| *home);
                let BatchOrder { events, by_home, homes: ends, .. } = &mut order;
                sort_by_home(events, ends, by_home);
                let found: Vec<_> = by_home.iter()
                    .map(|placed| {
                        assert_eq!(placed.hash, ids.hash(&[placed.index as u8]));
                        (placed.home, placed.index)
                    })
                    .collect();
                let ends = (0..homes).map(|home| expected.partition_point(|(of, _)| *of <= home));
                prop_assert_eq!(order.homes.clone(), ends.collect::<Vec<_>>());
                prop_assert_eq!(found, expected);
            }
        }
    }
}
