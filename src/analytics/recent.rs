//! The recent events: the last events of all cores, in one total order.
//!
//! Each receiving core keeps its own last `window` events. The newest `window` of their union are
//! exactly the newest overall: any event that a core has dropped had `window` newer ones on that
//! core alone. Merging such sets is associative and commutative, with the empty set as identity.
//! Means, deviations and extremes are computed once, from the merged set.

use std::collections::VecDeque;

use crate::metric::event::Event;
use percore::clock::Now;

/// The key of the total order of all events of an instance. No two events have equal keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct OrderKey {
    /// The monotonic time of the turn.
    pub mono_ns: u64,
    /// The core that received the event.
    pub core: u32,
    /// A counter of that core.
    pub sequence: u64,
}

/// An item with a place in the total order.
pub trait Ordered {
    /// Returns the key of its place.
    fn order(&self) -> OrderKey;
}

/// An event of the window over all series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecentEvent {
    /// The place among the events of all cores.
    pub order: OrderKey,
    /// The event's own timestamp, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The values, in the order of `Field::ALL`.
    pub values: [f64; 2],
}

impl Ordered for RecentEvent {
    fn order(&self) -> OrderKey {
        self.order
    }
}

/// The newest N items of a set, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct NewestN<T> {
    limit: usize,
    items: Vec<T>,
}

impl<T: Ordered> NewestN<T> {
    /// Returns the identity of [`Self::merge`] for sets of this limit.
    pub const fn empty(limit: usize) -> Self {
        Self { limit, items: Vec::new() }
    }

    /// Returns the newest of these items, which may be in any order.
    pub fn of(limit: usize, mut items: Vec<T>) -> Self {
        items.sort_unstable_by_key(Ordered::order);
        items.drain(..items.len().saturating_sub(limit));
        Self { limit, items }
    }

    /// Returns the newest of both sets, which have the same limit and no key in common.
    pub fn merge(mut self, other: Self) -> Self {
        self.items.extend(other.items);
        Self::of(self.limit, self.items)
    }

    /// The items, oldest first.
    pub fn items(&self) -> &[T] {
        &self.items
    }
}

/// A ring buffer of the last `limit` items; allocates once.
#[derive(Debug)]
pub(super) struct RingBuffer<T> {
    limit: usize,
    items: VecDeque<T>,
}

impl<T: Copy> RingBuffer<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, items: VecDeque::with_capacity(limit) }
    }

    pub(super) fn push(&mut self, item: T) {
        if self.items.len() >= self.limit {
            self.items.pop_front();
        }
        self.items.push_back(item);
    }

    /// Appends a copy of the items to `target`.
    pub(super) fn copy_to(&self, target: &mut Vec<T>) {
        let (head, tail) = self.items.as_slices();
        target.extend_from_slice(head);
        target.extend_from_slice(tail);
    }
}

/// The events that a core has accepted since it last published. The core owns them without a lock.
///
/// All are counted, but only the last `window` can be in the window over all series and are kept.
#[derive(Debug)]
pub struct PendingEvents {
    core: usize,
    accepted: u64,
    events: RingBuffer<RecentEvent>,
}

impl PendingEvents {
    pub(super) fn new(core: usize, window: usize) -> Self {
        Self { core, accepted: 0, events: RingBuffer::new(window) }
    }

    /// Adds an accepted event, after which so many more of this turn will `follow`. If those alone
    /// fill the window, the event is only counted.
    pub fn push(&mut self, now: Now, event: &Event<'_>, follow: u64) {
        self.accepted += 1;
        if follow >= self.events.limit as u64 {
            return;
        }
        self.events.push(RecentEvent {
            order: OrderKey { mono_ns: now.mono_ns, ..OrderKey::default() },
            timestamp_ms: event.timestamp_ms,
            values: event.values.first_chunk().copied().unwrap_or_default(),
        });
    }

    /// The core whose events these are.
    pub const fn core(&self) -> usize {
        self.core
    }
}

/// The events that a core has published.
#[derive(Debug)]
pub(super) struct PublishedEvents {
    key: OrderKey,
    accepted: u64,
    events: RingBuffer<RecentEvent>,
}

impl PublishedEvents {
    pub(super) fn new(core: u32, window: usize) -> Self {
        Self {
            key: OrderKey { core, ..OrderKey::default() },
            accepted: 0,
            events: RingBuffer::new(window),
        }
    }

    /// Moves the pending events of the core here, and gives each its final key.
    pub(super) fn publish(&mut self, pending: &mut PendingEvents) {
        self.accepted += pending.accepted;
        pending.accepted = 0;
        for mut event in pending.events.items.drain(..) {
            self.key.sequence += 1;
            self.key.mono_ns = self.key.mono_ns.max(event.order.mono_ns);
            event.order = self.key;
            self.events.push(event);
        }
    }

    /// Returns the number of events published so far.
    pub(super) const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Appends a copy of the last events to `target`.
    pub(super) fn copy_to(&self, target: &mut Vec<RecentEvent>) {
        self.events.copy_to(target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Ordered for u64 {
        fn order(&self) -> OrderKey {
            OrderKey { mono_ns: *self, ..OrderKey::default() }
        }
    }

    /// Returns a limit, and three sets without a common key.
    fn three_sets() -> impl Strategy<Value = (usize, [Vec<u64>; 3])> {
        let keys = prop::collection::hash_map(0..1000_u64, 0..3_usize, 0..60);
        (0..12_usize, keys).prop_map(|(limit, keys)| {
            let mut sets = [vec![], vec![], vec![]];
            for (key, set) in keys {
                sets[set].push(key);
            }
            (limit, sets)
        })
    }

    proptest! {
        #[test]
        fn merging_is_associative_commutative_and_has_an_identity((limit, sets) in three_sets()) {
            let [a, b, c] = sets.clone().map(|set| NewestN::of(limit, set));
            let left = a.clone().merge(b.clone()).merge(c.clone());
            prop_assert_eq!(&left, &a.clone().merge(b.clone().merge(c.clone())));
            prop_assert_eq!(&left, &c.merge(b.merge(a.clone())));
            prop_assert_eq!(&a.clone().merge(NewestN::empty(limit)), &a);
            prop_assert_eq!(&NewestN::empty(limit).merge(a.clone()), &a);
            let mut all = sets.concat();
            all.sort_unstable();
            prop_assert_eq!(left.items(), &all[all.len().saturating_sub(limit)..]);
        }

        #[test]
        fn the_union_is_the_last_window_however_events_are_split(
            window in 1..12_usize,
            // Each request: its core, the time since the last request, its number of events, and
            // true if the cores publish after it.
            requests in prop::collection::vec(
                (0..4_usize, 0..3_u64, prop_oneof![3 => Just(1), 1 => 1..30_u64], any::<bool>()),
                0..120),
        ) {
            let mut pending: Vec<_> = (0..4).map(|core| PendingEvents::new(core, window)).collect();
            let mut cores: Vec<_> = (0..4).map(|core| PublishedEvents::new(core, window)).collect();
            let mut expected = Vec::new();
            let mut now = Now::default();
            let mut count = 0.0;
            for (core, later, events, publish) in requests {
                now.mono_ns += later;
                for follow in (0..events).rev() {
                    count += 1.0;
                    let event = Event { values: &[count, 0.0], ..Event::default() };
                    pending[core].push(now, &event, follow);
                    // At equal times the core decides, and on one core the order of arrival.
                    expected.push((now.mono_ns, core, count));
                }
                if publish {
                    cores.iter_mut().zip(&mut pending).for_each(|(c, p)| c.publish(p));
                }
            }
            cores.iter_mut().zip(&mut pending).for_each(|(c, p)| c.publish(p));
            expected.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let mut union = Vec::new();
            cores.iter().for_each(|core| core.copy_to(&mut union));
            let union: Vec<f64> = NewestN::of(window, union)
                .items().iter().map(|event| event.values[0]).collect();
            let newest: Vec<f64> = expected[expected.len().saturating_sub(window)..]
                .iter().map(|event| event.2).collect();
            prop_assert_eq!(union, newest);
            let accepted: u64 = cores.iter().map(PublishedEvents::accepted).sum();
            prop_assert_eq!(accepted, expected.len() as u64);
        }
    }
}
