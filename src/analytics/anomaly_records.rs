//! The findings of a shard: its counts, its last anomalies, and the logs.

use super::anomaly::{Finding, Found, NovelPoint, Point, RecentAnomalies, RecentAnomaly};
use super::anomaly_log::Owner;
use super::device::Device;
use super::finding_log::FindingLog;
use super::recent::OrderKey;
use super::series::Anomalous;
use super::sliding_counter::SlidingCounter;
use crate::limits::FIELDS_MAX;
use crate::metric::event::Event;
use crate::schema::Schema;
use percore::clock::Now;

/// The request that brought an event: when, which core received it, and how many events that core
/// had received before it. So anomalies that fall into several shards in one turn have an order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    pub(super) now: Now,
    pub(super) core: u32,
    pub(super) received: u64,
}

/// An event under way through a shard.
pub(super) struct Arrival<'a> {
    pub(super) event: &'a Event<'a>,
    /// Its index in the request.
    pub(super) index: u32,
    pub(super) slot: u32,
    /// The tag of its device.
    pub(super) tag: u32,
    pub(super) receipt: Receipt,
}

/// The anomalies of a shard.
pub(super) struct AnomalyRecords {
    pub(super) log: FindingLog,
    pub(super) recent: RecentAnomalies,
    pub(super) last_minute: SlidingCounter<60>,
    /// The points by field.
    pub(super) points: [u64; FIELDS_MAX],
    /// The episodes by field.
    pub(super) episodes: [u64; FIELDS_MAX],
    /// The novelties by field.
    pub(super) novelties: [u64; FIELDS_MAX],
}

impl AnomalyRecords {
    /// Returns records without anomalies.
    pub(super) fn new() -> Self {
        Self {
            log: FindingLog::new(),
            recent: RecentAnomalies::new(),
            last_minute: SlidingCounter::new(),
            points: [0; FIELDS_MAX],
            episodes: [0; FIELDS_MAX],
            novelties: [0; FIELDS_MAX],
        }
    }

    /// Adds the anomalies of one event among the fields from `first` on, and appends them to
    /// `points`.
    #[cold]
    #[inline(never)]
    pub(super) fn add<const N: usize>(
        &mut self,
        schema: &Schema,
        arrival: &Arrival<'_>,
        device: &mut Device,
        first: usize,
        anomalous: &Anomalous<N>,
        points: &mut Vec<Found>,
    ) {
        let Arrival { event, index, slot, tag, receipt: Receipt { now, core, received } } =
            *arrival;
        let Anomalous { z, moments, .. } = anomalous;
        for at in (0..N).filter(|at| anomalous.fields >> at & 1 == 1) {
            let pick = |all: &[f64]| all.get(at).copied().unwrap_or_default();
            let Some(field) = schema.field(first + at) else {
                return;
            };
            let point = Point {
                timestamp_ms: event.timestamp_ms,
                field,
                value: event.value(field).unwrap_or_default(),
                mean: pick(&moments.mean),
                stddev: pick(&moments.stddev),
                z: pick(z),
            };
            let episodes = u64::from(anomalous.opened >> at & 1);
            device.last_minute.record(now.mono_ns);
            let owner = Owner { slot, tag };
            let previous = device.newest_anomaly;
            device.newest_anomaly = self.log.anomalies.push(owner, previous, point, now.mono_ns);
            let number = received + u64::from(index);
            let sequence = number * FIELDS_MAX as u64 + field.index() as u64;
            let order = OrderKey { mono_ns: now.mono_ns, core, sequence };
            self.recent.insert(RecentAnomaly::new(order, point, event.device_id));
            self.last_minute.record(now.mono_ns);
            add(&mut self.points, field.index(), 1);
            add(&mut self.episodes, field.index(), episodes);
            points.push(Found { index, finding: Finding::Anomaly(point) });
        }
    }

    /// Adds a novelty of an event, and appends it to `points`.
    #[cold]
    pub(super) fn add_novel(
        &mut self,
        arrival: &Arrival<'_>,
        point: NovelPoint,
        points: &mut Vec<Found>,
    ) {
        let Arrival { index, slot, tag, receipt, .. } = *arrival;
        self.log.push_novelty(Owner { slot, tag }, point, receipt.now.mono_ns);
        add(&mut self.novelties, point.field.index(), 1);
        points.push(Found { index, finding: Finding::Novel(point) });
    }
}

fn add(sums: &mut [u64; FIELDS_MAX], at: usize, by: u64) {
    if let Some(sum) = sums.get_mut(at) {
        *sum += by;
    }
}
