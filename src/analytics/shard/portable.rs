//! The states of a shard's devices as they move: copied from a slot, and put into one.

use super::{Device, DeviceKey, Shard};
use crate::analytics::anomaly_log::Owner;
use crate::analytics::device_state::{DeviceState, MinuteState, WindowState};
use crate::analytics::expiry::ExpirySweep;
use crate::analytics::prefetch::prefetch;
use crate::analytics::series::Rules;
use crate::analytics::sliding_counter::SlidingCounter;
use crate::limits::RECENT_ANOMALIES_MAX;
use percore::clock::Now;

/// Returns a state with memory for the last anomalies of a device and for all its windows, so many
/// optional ones among them.
pub(in crate::analytics) fn blank(rules: &Rules, optional: usize) -> DeviceState {
    let window = |fields: usize| WindowState {
        size: 0,
        next: 0,
        times_ms: Vec::with_capacity(rules.window),
        values: Vec::with_capacity(rules.window * fields),
        fields: Vec::with_capacity(fields),
    };
    let required = rules.schema.required().len();
    DeviceState {
        accepted: 0,
        points: 0,
        episodes: 0,
        seen_us: 0,
        timestamp: 0,
        last_minute: MinuteState::default(),
        required: (required > 0).then(|| window(required)),
        optional: (0..optional).map(|_| (0, window(1))).collect(),
        forks: Vec::new(),
        recent: Vec::with_capacity(RECENT_ANOMALIES_MAX),
        novelty: Vec::new(),
    }
}

/// Returns fleet time, in microseconds, at a time of the monotonic clock, in nanoseconds.
fn fleet_us(mono_ns: i64, now: Now) -> i64 {
    let ago_ns = now.mono_ns.cast_signed().saturating_sub(mono_ns);
    now.wall_us.saturating_sub(ago_ns.div_euclid(1000))
}

/// Returns the time of the monotonic clock, in nanoseconds, which may be before its origin, at a
/// fleet time, in microseconds.
fn mono_ns(fleet_us: i64, now: Now) -> i64 {
    let ago_ns = now.wall_us.saturating_sub(fleet_us).saturating_mul(1000);
    now.mono_ns.cast_signed().saturating_sub(ago_ns)
}

/// Returns the time of a device's last event on the monotonic clock. One that is before the origin
/// of that, or in the future, is as near to it as may be.
pub(super) fn seen_ns_of(state: &DeviceState, now: Now) -> u64 {
    u64::try_from(mono_ns(state.seen_us, now)).unwrap_or_default().min(now.mono_ns)
}

/// Returns true if a state is of a device that has been silent for too long.
pub(in crate::analytics) fn has_expired(state: &DeviceState, ttl_ns: u64, now: Now) -> bool {
    let silent_us = now.wall_us.saturating_sub(state.seen_us);
    let silent_ns = u64::try_from(silent_us).unwrap_or_default().saturating_mul(1000);
    ExpirySweep::new(ttl_ns, 0).is_expired(0, silent_ns)
}

/// Bytes that memory is read by.
const LINE_BYTES: usize = 64;

/// Asks for all lines of some numbers.
fn prefetch_all<T>(numbers: &[T]) {
    let lines = numbers.iter().step_by(LINE_BYTES / size_of::<T>());
    lines.chain(numbers.last()).for_each(prefetch);
}

impl Shard {
    /// Asks for the windows in these slots, which are to be copied. They are in no cache, and come
    /// side by side: so all of them take little longer than one.
    pub(super) fn prefetch_windows(&self, slots: &[u32]) {
        slots.iter().filter_map(|slot| self.slots.record(*slot)).for_each(Device::prefetch);
        for row in slots.iter().filter_map(|slot| self.slots.read(*slot)) {
            let count = row.record.window.count();
            prefetch_all(row.values.get(..count * row.states.len()).unwrap_or_default());
            prefetch_all(row.offsets.get(..count).unwrap_or_default());
            prefetch_all(row.states);
        }
    }

    /// Returns the number of optional fields that a device has sent.
    pub(in crate::analytics) fn optional_fields(&self, key: DeviceKey<'_>) -> usize {
        self.find(key).map_or(0, |slot| self.optional.count(slot))
    }

    /// Copies the state of the device in a slot to one that is [`blank`].
    pub(super) fn copy_state(&self, slot: u32, now: Now, copy: &mut DeviceState) {
        let Some(row) = self.slots.read(slot) else {
            return;
        };
        let device = row.record;
        [copy.accepted, copy.points, copy.episodes] = device.counts.totals(slot, &self.carries);
        copy.seen_us = fleet_us(device.seen_ns.cast_signed(), now);
        copy.timestamp = device.timestamp;
        let (counts, newest_ns) = device.last_minute.buckets();
        if counts != [0; _] {
            copy.last_minute = MinuteState { counts, newest_us: fleet_us(newest_ns, now) };
        }
        if let Some(required) = &mut copy.required {
            row.copy_to(&device.window, required);
        }
        let mut held = 0;
        for (field, row) in self.optional.of(slot) {
            if held == copy.optional.len() {
                // A field that has come since the memory was allocated.
                copy.optional.extend(blank(&self.rules, 1).optional);
            }
            if let Some(place) = copy.optional.get_mut(held) {
                place.0 = field as u8;
                row.copy_to(&row.record.window, &mut place.1);
            }
            held += 1;
        }
        copy.optional.truncate(held);
        copy.forks.extend(self.cells.forks.get(&slot).into_iter().flatten());
        copy.novelty.extend(self.novelty_of(slot));
        if copy.points > 0 {
            copy.recent.extend(self.anomalies_of(slot, device).take(RECENT_ANOMALIES_MAX));
            copy.recent.reverse();
        }
    }

    /// Puts a state in place of that of the device in a slot. The events that wait for it are
    /// neither judged nor counted yet.
    pub(super) fn install(&mut self, slot: u32, tag: u32, state: &DeviceState, now: Now) {
        self.slots.clear(slot);
        let window = state.required.as_ref().and_then(|it| self.slots.restore_row(slot, it));
        self.optional.replace(slot, &state.optional);
        if let Some(novel) = &mut self.novel {
            novel.replace(slot, &state.novelty);
        }
        let owner = Owner { slot, tag };
        let brought = self.cells.brought.add(owner, &state.recent);
        if state.forks.is_empty() {
            self.cells.forks.remove(&slot);
        } else {
            self.cells.forks.insert(slot, state.forks.clone());
        }
        // What was found here before came with the state: the chain of anomalies begins anew, as
        // this number is none that was given.
        let newest_anomaly = self.anomalies.log.anomalies.next();
        let Some(device) = self.slots.record_mut(slot) else {
            return;
        };
        device.window = window.unwrap_or(device.window);
        let counts = [state.accepted, state.points, state.episodes];
        device.counts.set(counts, slot, &mut self.carries);
        device.seen_ns = device.seen_ns.max(seen_ns_of(state, now));
        device.timestamp = state.timestamp;
        let MinuteState { counts, newest_us } = state.last_minute;
        let newest_ns = mono_ns(newest_us, now);
        device.last_minute = SlidingCounter::of_buckets(counts, newest_ns, now.mono_ns);
        device.newest_anomaly = newest_anomaly;
        device.cell.brought = brought;
    }
}
