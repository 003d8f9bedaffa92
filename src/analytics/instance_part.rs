//! The part of an instance in the summary of a fleet: what it tells others, and the merge of all.
//!
//! The laws are those of [`summary`](super::summary): parts merge in any order to the same whole.
//! Fields go by their names, as members may have other ones for a while. The order of events is
//! that of fleet time, which the clock of Redis gives.

use serde::{Deserialize, Serialize};

use super::Analytics;
use super::anomaly::{Point, RecentAnomaly};
use super::recent::{NewestN, OrderKey, Ordered, RecentEvent};
use super::series::Rules;
use super::summary::{AnalyticsTotals, InstanceSummary, PartialSummary};
use crate::limits::{FIELDS_MAX, RECENT_ANOMALIES_MAX, WORKERS_MAX};
use crate::schema::Field;
use percore::clock::Now;

/// The analytics of an instance, as it tells them to others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstancePart {
    accepted: u64,
    last_minute: u64,
    devices: u64,
    devices_refused: u64,
    fields: Vec<FieldCounts>,
    windows: Vec<WindowPart>,
    recent: Vec<PointPart>,
}

/// The counts of a field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct FieldCounts {
    name: String,
    values: u64,
    points: u64,
    episodes: u64,
    /// None of a member that has never heard of it.
    #[serde(default)]
    novelties: u64,
}

/// The newest events of a window over all series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct WindowPart {
    /// The names of the fields that share it.
    fields: Vec<String>,
    /// Each with its place, its own timestamp, and the values of these fields.
    events: Vec<(Place, i64, Vec<f64>)>,
}

/// A place in the order of a fleet: fleet time in nanoseconds, the core, and its counter.
type Place = (u64, u32, u64);

/// An anomaly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PointPart {
    place: Place,
    device_id: Option<String>,
    timestamp_ms: i64,
    field: String,
    value: f64,
    mean: f64,
    stddev: f64,
    z: f64,
}

/// The clock of a fleet beside that of this process.
#[derive(Clone, Copy)]
struct FleetTime(Now);

impl FleetTime {
    /// Returns the place of an event that has this key.
    const fn place(self, order: OrderKey) -> Place {
        let ago_ns = self.0.mono_ns.saturating_sub(order.mono_ns);
        let now_ns = self.0.wall_us.cast_unsigned().saturating_mul(1000);
        (now_ns.saturating_sub(ago_ns), order.core, order.sequence)
    }
}

/// Returns the key of a place of the member of this index, which no other one has.
fn key(member: usize, (mono_ns, core, sequence): Place) -> OrderKey {
    let first = u32::try_from(member * WORKERS_MAX).unwrap_or(u32::MAX);
    OrderKey { mono_ns, core: first.saturating_add(core), sequence }
}

impl Analytics {
    /// Returns the part of this instance; the wall clock of `now` is fleet time.
    pub fn instance_part(&self, now: Now) -> InstancePart {
        let (rules, whole, time) = (&self.rules, self.whole(now), FleetTime(now));
        let names = |fields: std::ops::Range<usize>| {
            let named = fields.filter_map(|at| rules.schema.field(at));
            named.map(|field| field.name().to_owned()).collect()
        };
        let window = |(fields, events): (std::ops::Range<usize>, &NewestN<RecentEvent>)| {
            let width = fields.len();
            let event = |event: &RecentEvent| {
                let values = event.values.iter().take(width).copied().collect();
                (time.place(event.order), event.timestamp_ms, values)
            };
            WindowPart { fields: names(fields), events: events.items().iter().map(event).collect() }
        };
        let counts = rules.schema.fields().iter().enumerate().map(|(at, field)| {
            let count = |counts: &[u64; FIELDS_MAX]| counts.get(at).copied().unwrap_or_default();
            FieldCounts {
                name: field.name().to_owned(),
                values: count(&whole.values),
                points: count(&whole.totals.points),
                episodes: count(&whole.totals.episodes),
                novelties: count(&whole.totals.novelties),
            }
        });
        InstancePart {
            accepted: whole.accepted,
            last_minute: whole.last_minute,
            devices: whole.totals.devices,
            devices_refused: whole.totals.devices_refused,
            fields: counts.collect(),
            windows: rules.shared_windows().zip(&whole.events).map(window).collect(),
            recent: whole.recent.items().iter().map(|it| PointPart::new(it, time)).collect(),
        }
    }

    /// Returns the summary of the parts of several instances. Fields that this one does not have
    /// are left out.
    pub fn merged(&self, parts: &[InstancePart]) -> InstanceSummary {
        let rules = &self.rules;
        let parts = parts.iter().enumerate().map(|(member, part)| part.read(member, rules));
        parts.fold(PartialSummary::empty(rules), PartialSummary::merge).summary(rules)
    }
}

impl PointPart {
    fn new(recent: &RecentAnomaly, time: FleetTime) -> Self {
        let anomaly = recent.anomaly();
        let Point { timestamp_ms, field, value, mean, stddev, z } = anomaly.point;
        Self {
            place: time.place(recent.order()),
            device_id: anomaly.device_id,
            timestamp_ms,
            field: field.name().to_owned(),
            value,
            mean,
            stddev,
            z,
        }
    }

    fn read(&self, member: usize, rules: &Rules) -> Option<RecentAnomaly> {
        let field = rules.schema.fields().iter().find(|field| field.name() == self.field)?;
        let &Self { timestamp_ms, value, mean, stddev, z, .. } = self;
        let point = Point { timestamp_ms, field: *field, value, mean, stddev, z };
        let id = self.device_id.as_deref().map(str::as_bytes);
        Some(RecentAnomaly::new(key(member, self.place), point, id))
    }
}

impl WindowPart {
    fn read(&self, member: usize, rules: &Rules) -> Option<NewestN<RecentEvent>> {
        let event = |(place, timestamp_ms, sent): &(Place, i64, Vec<f64>)| {
            let mut values = [0.0; FIELDS_MAX];
            values.iter_mut().zip(sent).for_each(|(value, sent)| *value = *sent);
            let is_whole = sent.len() == self.fields.len();
            let event =
                RecentEvent { order: key(member, *place), timestamp_ms: *timestamp_ms, values };
            is_whole.then_some(event)
        };
        let events: Option<Vec<_>> = self.events.iter().map(event).collect();
        Some(NewestN::of(rules.summary_events(), events?))
    }
}

impl InstancePart {
    /// Returns the number of devices that the instance holds.
    pub const fn devices(&self) -> u64 {
        self.devices
    }

    fn read(&self, member: usize, rules: &Rules) -> PartialSummary {
        let mut whole = PartialSummary::empty(rules);
        (whole.accepted, whole.last_minute) = (self.accepted, self.last_minute);
        whole.totals = AnalyticsTotals {
            devices: self.devices,
            devices_refused: self.devices_refused,
            ..AnalyticsTotals::default()
        };
        for (at, field) in rules.schema.fields().iter().enumerate() {
            let Some(sent) = self.fields.iter().find(|sent| sent.name == field.name()) else {
                continue;
            };
            let AnalyticsTotals { points, episodes, novelties, .. } = &mut whole.totals;
            for (counts, count) in [
                (&mut whole.values, sent.values),
                (points, sent.points),
                (episodes, sent.episodes),
                (novelties, sent.novelties),
            ] {
                counts.get_mut(at).into_iter().for_each(|place| *place = count);
            }
        }
        for (fields, events) in rules.shared_windows().zip(&mut whole.events) {
            let names = || {
                let named = fields.clone().filter_map(|at| rules.schema.field(at));
                named.map(Field::name)
            };
            let window = self.windows.iter().find(|window| names().eq(&window.fields));
            if let Some(sent) = window.and_then(|window| window.read(member, rules)) {
                *events = sent;
            }
        }
        let recent = self.recent.iter().filter_map(|point| point.read(member, rules));
        whole.recent = NewestN::of(RECENT_ANOMALIES_MAX, recent.collect());
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::{AnalyticsSettings, Arrived};
    use crate::metric::event::Event;
    use crate::metric::id_hash::IdHasher;
    use crate::schema::{FieldSet, Schema};
    use proptest::prelude::*;

    fn analytics(cores: usize) -> (Analytics, IdHasher) {
        let settings = AnalyticsSettings {
            schema: Schema::standard(),
            window: 6,
            threshold: 2.0,
            min_samples: 3,
            cooldown: 2,
            devices_max: 100,
            device_ttl_ns: u64::MAX,
            device_limit: None,
            judge_duplicates: false,
        };
        let ids = IdHasher::default();
        (Analytics::new(settings, cores, ids.clone()), ids)
    }

    /// Brings an event to an instance whose monotonic clock began `ahead_ns` earlier.
    fn post((analytics, ids): &(Analytics, IdHasher), id: &str, cpu: f64, now: Now) {
        let values = [cpu, 1.5];
        let event = Event {
            device_id: Some(id.as_bytes()),
            present: FieldSet::from_bits(3),
            timestamp_ms: now.wall_us / 1000,
            values: &values,
            ..Event::default()
        };
        let mut pending = analytics.pending_events(0);
        pending.push(now, 0, || event);
        let arrived = Arrived { event, hash: ids.hash_of(&event), index: 0 };
        analytics.writer(0, now, 1).apply(&[arrived], &mut Vec::new());
        analytics.publish(&mut pending);
    }

    const fn at(second: u64, ahead_ns: u64) -> Now {
        let wall_us = 1_700_000_000_000_000 + second as i64 * 1_000_000;
        Now { mono_ns: second * 1_000_000_000 + ahead_ns, wall_us }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        /// Three instances that share the events have, merged, what one has that got all of them.
        #[test]
        fn the_union_of_instances_is_that_of_their_events(
            events in prop::collection::vec((0..3_usize, 0..4_u8, any::<bool>()), 1..60),
        ) {
            let ahead_ns = [0, 7_000_000_000_001, 123];
            let members = [1, 2, 3].map(analytics);
            let one = analytics(1);
            for (second, (to, device, is_spike)) in (1..).zip(&events) {
                // A device has one home, so that its verdicts are the same everywhere.
                let home = (*to + usize::from(*device)) % 3;
                let id = format!("d{home}-{device}");
                let cpu = if *is_spike { 900.0 + f64::from(*device) } else { 0.1 };
                post(&members[home], &id, cpu, at(second, ahead_ns[home]));
                post(&one, &id, cpu, at(second, 0));
            }
            let second = events.len() as u64 + 1;
            let mut parts: Vec<_> = members.iter().zip(ahead_ns).map(|((member, _), ahead_ns)| {
                let part = member.instance_part(at(second, ahead_ns));
                let json = sonic_rs::to_vec(&part).unwrap();
                let read: InstancePart = sonic_rs::from_slice(&json).unwrap();
                assert_eq!(read, part);
                read
            }).collect();
            let expected = one.0.instance(at(second, 0));
            prop_assert_eq!(&one.0.merged(&parts), &expected);
            parts.reverse();
            prop_assert_eq!(&one.0.merged(&parts), &expected);
        }
    }

    #[test]
    fn what_another_schema_has_is_left_out() {
        let json = r#"{"accepted":3,"later":{},"fields":[{"name":"x","points":4},
            {"name":"cpu","points":5,"values":3}],"windows":[{"fields":["cpu","rps"],
            "events":[[[1,0,1],5,[1.0,2.0]],[[2,0,2],5,[1.0]]]},{"fields":["x"]}],
            "recent":[{"place":[1,0,1],"device_id":null,"timestamp_ms":1,"field":"x","value":1.0,
            "mean":1.0,"stddev":1.0,"z":1.0}]}"#;
        let part: InstancePart = sonic_rs::from_str(json).unwrap();
        let merged = analytics(1).0.merged(&[part]);
        assert_eq!((merged.series.accepted, merged.totals.points[0]), (3, 5));
        assert_eq!(merged.totals.points.iter().sum::<u64>(), 5);
        // A window with an event that lacks a value is none.
        assert_eq!(merged.series.window.count, 0);
        assert_eq!(merged.series.anomalies.recent, []);
    }
}
