//! The recent events: the last values of each field from all cores, in one total order.
//!
//! Each receiving core keeps its own last `window` events: those with the required fields, and
//! those with each optional field. The newest `window` of their union are exactly the newest
//! overall: any event that a core has dropped had `window` newer ones on that core alone. Merging
//! such sets is associative and commutative, with the empty set as identity. Means, deviations and
//! extremes are computed once, from the merged set.

use std::mem;
use std::ops::Range;

use super::series::Rules;
use crate::limits::FIELDS_MAX;
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
    /// The values of the fields that share the window, from the first place on.
    pub values: [f64; FIELDS_MAX],
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

/// The last `limit` events with certain fields, oldest first from `next` on; allocates once.
#[derive(Debug)]
struct Ring {
    /// The indexes of the fields.
    fields: Range<usize>,
    limit: usize,
    events: Vec<(OrderKey, i64)>,
    /// The fields' values side by side, as many as each event has.
    values: Vec<f64>,
    next: usize,
    /// The number of events that came with these fields, if they are optional.
    sent: u64,
}

impl Ring {
    fn new(fields: Range<usize>, limit: usize) -> Self {
        let (events, values) =
            (Vec::with_capacity(limit), Vec::with_capacity(limit * fields.len()));
        Self { fields, limit, events, values, next: 0, sent: 0 }
    }

    /// Returns the rings of a schema: of the required fields, and of each optional one.
    fn all(rules: &Rules) -> Vec<Self> {
        rules.shared_windows().map(|fields| Self::new(fields, rules.summary_events())).collect()
    }

    /// Adds an event that has the ring's fields.
    #[inline]
    fn push_event(&mut self, order: OrderKey, event: &Event<'_>) {
        let values = event.values.get(self.fields.clone()).unwrap_or_default();
        self.push(order, event.timestamp_ms, values);
    }

    /// Adds an event with its values of the ring's fields; the oldest one makes room.
    #[inline]
    fn push(&mut self, order: OrderKey, timestamp_ms: i64, values: &[f64]) {
        if self.events.len() < self.limit {
            self.events.push((order, timestamp_ms));
            self.values.extend_from_slice(values);
            return;
        }
        if let Some(event) = self.events.get_mut(self.next) {
            *event = (order, timestamp_ms);
        }
        let places = self.values.get_mut(self.next * values.len()..).unwrap_or_default();
        places.iter_mut().zip(values).for_each(|(place, value)| *place = *value);
        self.next = if self.next + 1 < self.limit { self.next + 1 } else { 0 };
    }

    /// Calls `take` with each event, oldest first.
    #[inline]
    fn for_each(&self, mut take: impl FnMut(OrderKey, i64, &[f64])) {
        let width = self.fields.len();
        let (newer, older) = self.events.split_at_checked(self.next).unwrap_or_default();
        let values = self.values.split_at_checked(self.next * width).unwrap_or_default();
        for (events, mut values) in [(older, values.1), (newer, values.0)] {
            for (order, timestamp_ms) in events {
                let (own, rest) = values.split_at_checked(width).unwrap_or_default();
                take(*order, *timestamp_ms, own);
                values = rest;
            }
        }
    }

    fn clear(&mut self) {
        self.events.clear();
        self.values.clear();
        self.next = 0;
    }
}

/// The events that a core has accepted since it last published. The core owns them without a lock.
///
/// All are counted, but only the last `window` can be in the window over all series and are kept.
#[derive(Debug)]
pub struct PendingEvents {
    core: usize,
    accepted: u64,
    required: u16,
    /// An event that more will follow than this is only counted.
    follow_max: u64,
    rings: Vec<Ring>,
}

impl PendingEvents {
    pub(super) fn new(core: usize, rules: &Rules) -> Self {
        let required = rules.schema.required_set().bits();
        let is_last_of_required = rules.summary_events() as u64 - 1;
        let has_optional = !rules.schema.optional().is_empty();
        let follow_max = if has_optional { u64::MAX } else { is_last_of_required };
        Self { core, accepted: 0, required, follow_max, rings: Ring::all(rules) }
    }

    /// Adds an accepted event, after which so many more of this turn will `follow`. If those alone
    /// fill the window, the event's required fields are only counted. (Its optional ones may be the
    /// last of their kind.)
    #[inline]
    pub fn push<'e>(&mut self, now: Now, follow: u64, event: impl FnOnce() -> Event<'e>) {
        self.accepted += 1;
        if follow > self.follow_max {
            return;
        }
        let event = &event();
        let order = OrderKey { mono_ns: now.mono_ns, ..OrderKey::default() };
        let required = self.required.count_ones() as usize;
        if required > 0
            && let Some(ring) = self.rings.first_mut()
            && follow < ring.limit as u64
        {
            ring.push_event(order, event);
        }
        let mut optional = event.present.bits() & !self.required;
        while optional != 0 {
            // The rings of optional fields stand behind that of the required ones.
            let field = optional.trailing_zeros() as usize;
            if let Some(ring) = self.rings.get_mut(field - required + required.min(1)) {
                ring.sent += 1;
                ring.push_event(order, event);
            }
            optional &= optional - 1;
        }
    }

    /// The core whose events these are.
    pub const fn core(&self) -> usize {
        self.core
    }
}

/// The events that a core has published.
#[derive(Debug)]
pub(super) struct PublishedEvents {
    accepted: u64,
    /// Each with the key of its newest event.
    rings: Vec<(OrderKey, Ring)>,
}

impl PublishedEvents {
    pub(super) fn new(core: u32, rules: &Rules) -> Self {
        let key = OrderKey { core, ..OrderKey::default() };
        Self { accepted: 0, rings: Ring::all(rules).into_iter().map(|ring| (key, ring)).collect() }
    }

    /// Moves the pending events of the core here, and gives each its final key.
    pub(super) fn publish(&mut self, pending: &mut PendingEvents) {
        self.accepted += pending.accepted;
        pending.accepted = 0;
        for ((key, published), pending) in self.rings.iter_mut().zip(&mut pending.rings) {
            pending.for_each(|order, timestamp_ms, values| {
                key.sequence += 1;
                key.mono_ns = key.mono_ns.max(order.mono_ns);
                published.push(*key, timestamp_ms, values);
            });
            published.sent += mem::take(&mut pending.sent);
            pending.clear();
        }
    }

    /// Returns the number of events published so far.
    pub(super) const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Returns the number of values of each field published so far; `required` has the bits of
    /// those that every event has.
    pub(super) fn values(&self, required: u16) -> [u64; FIELDS_MAX] {
        let mut values = [0; FIELDS_MAX];
        for (_, ring) in &self.rings {
            let is_required = required >> ring.fields.start & 1 == 1;
            let count = if is_required { self.accepted } else { ring.sent };
            values.get_mut(ring.fields.clone()).unwrap_or_default().fill(count);
        }
        values
    }

    /// Appends a copy of the last events to `targets`, one for each window.
    pub(super) fn copy_to(&self, targets: &mut [Vec<RecentEvent>]) {
        for ((_, ring), target) in self.rings.iter().zip(targets) {
            ring.for_each(|order, timestamp_ms, sent| {
                let mut values = [0.0; FIELDS_MAX];
                values.iter_mut().zip(sent).for_each(|(place, value)| *place = *value);
                target.push(RecentEvent { order, timestamp_ms, values });
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{FieldOptions, FieldSet, Schema};
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

        /// Turns of one core, each the fields of its events: `a` always, `b` and `c` perhaps.
        #[test]
        fn every_value_counts_for_its_field(
            turns in prop::collection::vec(prop::collection::vec(0..4_u16, 0..9), 0..20),
        ) {
            let field = |name: &str, is_required| FieldOptions {
                name: name.to_owned(), is_required, range: None, least_deviation: 0.0,
            };
            let names = ["device_id".to_owned()];
            let fields = [field("a", true), field("b", false), field("c", false)];
            let schema = Schema::leak(&fields, [&names, &names, &names]);
            let rules = Rules {
                schema,
                window: 3,
                threshold: 2.0,
                min_samples: 1,
                cooldown: 0,
                judges_duplicates: false,
            };
            let mut pending = PendingEvents::new(0, &rules);
            let mut core = PublishedEvents::new(0, &rules);
            let mut expected = [0; FIELDS_MAX];
            for turn in turns {
                for (optional, follow) in turn.iter().zip((0..turn.len() as u64).rev()) {
                    let bits = 1 | optional << 1;
                    let present = FieldSet::from_bits(bits);
                    let event = Event { present, values: &[1.0; 3], ..Event::default() };
                    pending.push(Now::default(), follow, || event);
                    (0..3).for_each(|field| expected[field] += u64::from(bits >> field & 1));
                }
                core.publish(&mut pending);
            }
            prop_assert_eq!(core.values(schema.required_set().bits()), expected);
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
            // One event more than the window is kept for the summary.
            let schema = Schema::standard();
            let rules =
                Rules {
                    schema,
                    window: window - 1,
                    threshold: 2.0,
                    min_samples: 1,
                    cooldown: 0,
                    judges_duplicates: false,
                };
            let mut pending: Vec<_> = (0..4).map(|core| PendingEvents::new(core, &rules)).collect();
            let mut cores: Vec<_> = (0..4).map(|core| PublishedEvents::new(core, &rules)).collect();
            let mut expected = Vec::new();
            let mut now = Now::default();
            let mut count = 0.0;
            for (core, later, events, publish) in requests {
                now.mono_ns += later;
                for follow in (0..events).rev() {
                    count += 1.0;
                    let event = Event {
                        present: schema.required_set(),
                        values: &[count, 0.0],
                        ..Event::default()
                    };
                    pending[core].push(now, follow, || event);
                    // At equal times the core decides, and on one core the order of arrival.
                    expected.push((now.mono_ns, core, count));
                }
                if publish {
                    cores.iter_mut().zip(&mut pending).for_each(|(c, p)| c.publish(p));
                }
            }
            cores.iter_mut().zip(&mut pending).for_each(|(c, p)| c.publish(p));
            expected.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let mut union = [Vec::new()];
            cores.iter().for_each(|core| core.copy_to(&mut union));
            let [union] = union;
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
