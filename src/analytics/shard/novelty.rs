//! The second judge of a shard: what is new in the series of its devices.

use super::{DeviceKey, Shard};
use crate::analytics::anomaly::Found;
use crate::analytics::anomaly_records::Arrival;
use crate::analytics::novel_fields::NovelFields;
use crate::analytics::novelty::{FieldNovelty, NoveltySettings};

impl Shard {
    /// Asks the second judge as well from now on. To be called before the first event.
    pub(in crate::analytics) fn ask_novelty(&mut self, settings: NoveltySettings) {
        self.novel = Some(NovelFields::new(settings, self.slots.len()));
        self.further_bits = u16::MAX;
        self.anomalies.log.reserve_novelties();
    }

    /// Asks the second judge about an event whose device has a slot.
    #[inline(never)]
    pub(super) fn judge_novelty(&mut self, arrival: &Arrival<'_>, points: &mut Vec<Found>) {
        let Self { rules, novel, anomalies, .. } = self;
        let Some(novel) = novel else {
            return;
        };
        novel.judge(arrival.slot, arrival.event, rules.schema, |point| {
            anomalies.add_novel(arrival, point, points);
        });
    }

    /// Appends copies of what the second judge knows of a device.
    pub(in crate::analytics) fn copy_novelty(
        &self,
        key: DeviceKey<'_>,
        now_ns: u64,
        copies: &mut Vec<FieldNovelty>,
    ) {
        let slot = self.novel.as_ref().and_then(|_| self.find_current(key, now_ns));
        copies.extend(slot.into_iter().flat_map(|slot| self.novelty_of(slot)));
    }

    /// Returns copies of what the second judge knows of the device in a slot.
    pub(super) fn novelty_of(&self, slot: u32) -> impl Iterator<Item = FieldNovelty> {
        self.novel.iter().flat_map(move |novel| novel.of(slot))
    }
}
