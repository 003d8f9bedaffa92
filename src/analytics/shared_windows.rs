//! Windows that instances share: a device has one, wherever it is heard.
//!
//! This is the side of the analytics: which devices want their windows, taking one out and putting
//! one in. Who asks whom for a window is decided elsewhere, by one thread, which alone calls what
//! is here.

use super::Analytics;
pub use super::cell::{Cell, Standing};
pub use super::cells::WindowTotals;
use super::device_state::DeviceState;
use super::finding_log::NewestFound;
use super::lease::Terms;
use super::shard::portable::{blank, has_expired};
use super::shard::{DeviceKey, Shard};
use super::slot_list::SlotList;
use crate::limits::{
    DEVICE_ID_BYTES_MAX, DEVICES_PER_HOLD, EVENTS_PER_HOLD, FIELDS_MAX, WINDOWS_PER_HOLD,
};
use percore::clock::Now;
use percore::sync::{Mutex, MutexGuard};

/// The devices of a round of saves that are still to be saved. An instance has one for all of its
/// rounds: what is left in one that is dropped is not saved before its next window comes.
#[derive(Debug, Default)]
pub struct SaveQueue {
    /// Those of each shard.
    lists: Vec<SlotList>,
    /// The memory for copies.
    copies: Vec<Save>,
}

/// A copy of a device that is saved from now on.
#[derive(Debug)]
pub struct Save {
    /// Its id.
    pub id: Vec<u8>,
    /// Its state.
    pub state: DeviceState,
    /// Its standing.
    pub standing: Standing,
}

impl SaveQueue {
    /// Returns true if no device of the round is left.
    pub fn is_empty(&self) -> bool {
        self.lists.iter().all(SlotList::is_empty)
    }
}

/// The outcome of an adoption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// True if it is held now. If it did not wait and there are too many devices, it is not.
    pub is_held: bool,
    /// The events that were judged now, as they had waited.
    pub judged: u64,
    /// The events of the other state that a held one did not have.
    pub joined: u64,
}

impl Analytics {
    /// Shares the windows with other instances from now on, among which this one is `me`. To be
    /// called once, before the first event. A core calls `wake` when there are devices for
    /// [`Self::take_wanted`], and none before.
    pub fn share_windows(&self, me: u64, wake: Box<dyn Fn() + Send + Sync>) {
        self.lease.set_party(me, wake);
        self.begin_tenure(&mut self.lease.terms(), false);
    }

    /// Renews the lease by something that was sent at `sent_ns` and is confirmed now: it is sure
    /// until `until_ns`. If the last one had run out before, that is a lapse.
    pub fn renew_lease(&self, sent_ns: u64, until_ns: u64, now: Now) {
        let mut terms = self.lease.terms();
        if terms.has_run_out(sent_ns.max(now.mono_ns)) {
            self.lapse(&mut terms);
        }
        self.lease.extend(&mut terms, until_ns, now.mono_ns);
    }

    /// Returns true while the others are sure to count on this instance.
    pub fn is_sure(&self, now_ns: u64) -> bool {
        self.lease.terms().is_sure(now_ns)
    }

    /// Returns the times that the lease has run out.
    pub fn lapses(&self, now_ns: u64) -> u32 {
        self.note_lapse(now_ns);
        self.lease.terms().lapses
    }

    /// Puts all that is held in doubt, as after a connection was lost.
    pub fn doubt(&self) {
        self.begin_tenure(&mut self.lease.terms(), false);
    }

    /// Returns the cell of a device. One that has expired is unknown.
    pub fn cell(&self, id: &[u8], now: Now) -> Cell {
        self.note_lapse(now.mono_ns);
        let (key, shard) = self.home_of(id);
        shard.map_or(Cell::Absent, |shard| shard.lock().cell(key, now))
    }

    /// Appends the devices that wait, or that are in doubt and have had an event: each once until
    /// it is adopted, begun alone, confirmed or doubted anew.
    pub fn take_wanted(&self, out: &mut Vec<Box<[u8]>>) {
        let devices = DEVICES_PER_HOLD as usize;
        let mut ids = Vec::with_capacity(devices * DEVICE_ID_BYTES_MAX);
        let mut lengths = Vec::with_capacity(devices);
        for shard in &self.shards {
            let mut has_more = true;
            while has_more {
                let mut held = shard.lock();
                has_more = held.take_wanted(DEVICES_PER_HOLD, &mut ids, &mut lengths);
                MutexGuard::unlock_fair(held);
                let mut rest = ids.as_slice();
                for length in lengths.drain(..) {
                    let (id, after) = rest.split_at_checked(length).unwrap_or_default();
                    out.push(id.into());
                    rest = after;
                }
                ids.clear();
            }
        }
    }

    /// Begins a round of saves: adds the devices that have unsaved events now. Those of a shard of
    /// which devices are left from the last round wait for the next one. Returns how many there
    /// are.
    pub fn begin_saves(&self, queue: &mut SaveQueue) -> usize {
        queue.lists.resize_with(self.shards.len(), SlotList::default);
        for (shard, list) in self.shards.iter().zip(&mut queue.lists) {
            if list.is_empty() {
                shard.lock().exchange_dirty(list);
            }
        }
        queue.lists.iter().map(SlotList::len).sum()
    }

    /// Gives copies of up to `max` devices of the round to `take`, which are saved from now on. If
    /// these are fewer, they were the last.
    pub fn next_saves(
        &self,
        queue: &mut SaveQueue,
        max: usize,
        now: Now,
        mut take: impl FnMut(&Save),
    ) {
        self.note_lapse(now.mono_ns);
        let SaveQueue { lists, copies } = queue;
        // Nothing is allocated under the lock.
        copies.resize_with(WINDOWS_PER_HOLD, || {
            let (id, state) = (Vec::with_capacity(DEVICE_ID_BYTES_MAX), self.blank(0));
            Save { id, state, standing: Standing::Confirmed }
        });
        let mut left = max;
        for (shard, list) in self.shards.iter().zip(lists) {
            while left > 0 && !list.is_empty() {
                let most = left.min(copies.len());
                let mut held = shard.lock();
                let filled = held.save_next(list, now, copies.get_mut(..most).unwrap_or_default());
                MutexGuard::unlock_fair(held);
                copies.iter().take(filled).for_each(&mut take);
                left -= filled;
            }
        }
    }

    /// Counts all held devices as unsaved, because what was saved is lost.
    pub fn unsave_all(&self) {
        for shard in &self.shards {
            let mut visited = Some(0);
            while let Some(before) = visited {
                let mut held = shard.lock();
                visited = held.unsave(before, DEVICES_PER_HOLD);
                MutexGuard::unlock_fair(held);
            }
        }
    }

    /// Returns a copy of a held device, which is saved from now on; `None` if it is not held.
    pub fn copy(&self, id: &[u8], now: Now) -> Option<DeviceState> {
        self.copied(id, |shard, key, copy| shard.save(key, now, copy))
    }

    /// Takes a held device out, with its last anomalies; `None` if it is not held.
    pub fn export(&self, id: &[u8], now: Now) -> Option<DeviceState> {
        let (key, shard) = self.home_of(id);
        let shard = shard?;
        loop {
            // Its findings are listed by its name, which goes with it.
            let newest = shard.lock().newest_found(key, now);
            if newest != NewestFound::default() {
                drop(self.list_anomalies(now));
            }
            let export = |shard: &mut Shard, key: DeviceKey<'_>, copy: &mut DeviceState| {
                shard.export(key, now, newest, copy)
            };
            if let Some(state) = self.copied(id, export) {
                self.quota.release(1);
                return Some(state);
            }
            // Another one was found meanwhile.
            if shard.lock().newest_found(key, now) == newest {
                return None;
            }
        }
    }

    /// Lets this instance hold a device. `base` is its state; none if the device is new, and one
    /// that has expired is none either. `is_copy` tells that it was copied without the knowledge of
    /// the instance that had it.
    ///
    /// If the device waits, its events are judged now. If it is held already, what the other
    /// instance has heard is added. It is confirmed by the ticket; in doubt without one, or if the
    /// lease has run out.
    pub fn adopt(
        &self,
        id: &[u8],
        base: Option<DeviceState>,
        is_copy: bool,
        ticket: Option<u64>,
        now: Now,
    ) -> Adopted {
        let tenure = ticket.and_then(|_| self.sure_tenure(now));
        let ticket = ticket.unwrap_or_default();
        let base = base.filter(|state| !has_expired(state, self.quota.ttl_ns(), now));
        let base = base.map(|state| state.resized(self.rules.window));
        let mut adopted = Adopted::default();
        let state = match base {
            None => {
                let (key, shard) = self.home_of(id);
                let confirm = |shard: &Mutex<Shard>| shard.lock().settle(key, now, ticket, tenure);
                if shard.is_some_and(confirm) {
                    return Adopted { is_held: true, ..adopted };
                }
                None
            }
            Some(base) => {
                let own = self.copied(id, |shard, key, copy| shard.suspend(key, now, copy));
                let (state, joined) = self.united(own, base, is_copy);
                adopted.joined = joined;
                Some(state)
            }
        };
        if let Some(state) = state
            && !self.install(id, &state, now)
        {
            return adopted;
        }
        (adopted.is_held, adopted.judged) = self.judge_waiting(id, ticket, tenure);
        adopted
    }

    /// Confirms a held device by a ticket, if the lease is sure.
    pub fn confirm(&self, id: &[u8], ticket: u64, now: Now) {
        let (tenure, (key, shard)) = (self.sure_tenure(now), self.home_of(id));
        if let (Some(shard), Some(tenure)) = (shard, tenure) {
            shard.lock().confirm(key, now, ticket, tenure);
        }
    }

    /// Lets a device that waits begin a window of its own, as a branch, because there may be one
    /// elsewhere: its events are judged now. It is confirmed by the ticket; without one, or if the
    /// lease has run out, it is in doubt.
    pub fn begin_alone(&self, id: &[u8], ticket: Option<u64>, now: Now) {
        let tenure = ticket.and_then(|_| self.sure_tenure(now));
        let (key, shard) = self.home_of(id);
        // The lease is never locked under the lock of a shard: a lapse does it the other way round.
        let branch = self.lease.new_branch();
        if let Some(shard) = shard
            && shard.lock().begin_alone(key, now, branch)
        {
            self.judge_waiting(id, ticket.unwrap_or_default(), tenure);
        }
    }

    /// Returns the counts of the windows that are shared. Takes one brief lock per shard.
    pub fn windows(&self) -> WindowTotals {
        let totals = self.shards.iter().map(|shard| shard.lock().window_totals());
        totals.fold(WindowTotals::default(), WindowTotals::plus)
    }

    /// Notes that the lease has run out, if it has.
    #[cold]
    #[inline(never)]
    pub(super) fn note_lapse(&self, now_ns: u64) {
        let mut terms = self.lease.terms();
        if terms.has_run_out(now_ns) {
            self.lapse(&mut terms);
        }
    }

    /// Returns the key of a device, and its home.
    fn home_of<'a>(&self, id: &'a [u8]) -> (DeviceKey<'a>, Option<&Mutex<Shard>>) {
        let key = self.device_key(id);
        (key, self.shards.get(key.hash.shard(self.shards.len())).map(|shard| &**shard))
    }

    /// Returns the tenure, if the lease is sure. What is confirmed in it is in doubt once it has
    /// passed, and be it before the confirmation is done.
    fn sure_tenure(&self, now: Now) -> Option<u32> {
        let terms = self.lease.terms();
        terms.is_sure(now.mono_ns).then_some(terms.tenure)
    }

    /// Returns a state with memory for a window of all required fields and of so many others.
    fn blank(&self, optional: usize) -> DeviceState {
        DeviceState { novelty: self.novelty_copies(), ..blank(&self.rules, optional) }
    }

    /// Returns the copy that `copy` makes of a device under the lock; `None` if it makes none.
    fn copied(
        &self,
        id: &[u8],
        copy: impl FnOnce(&mut Shard, DeviceKey<'_>, &mut DeviceState) -> bool,
    ) -> Option<DeviceState> {
        let (key, shard) = self.home_of(id);
        let shard = shard?;
        let has_optional = !self.rules.schema.optional().is_empty();
        let optional = if has_optional { shard.lock().optional_fields(key) } else { 0 };
        // Nothing is allocated under the lock.
        let mut state = self.blank(optional);
        copy(&mut shard.lock(), key, &mut state).then_some(state)
    }

    /// Returns one state of two, and how many events the base had that the own one had not.
    fn united(
        &self,
        own: Option<DeviceState>,
        mut base: DeviceState,
        is_copy: bool,
    ) -> (DeviceState, u64) {
        let Some(own) = own else {
            if is_copy {
                base.forks = base.line().branched(self.lease.new_branch());
            }
            return (base, 0);
        };
        let before = own.accepted;
        let joined = own.join(base, &self.rules);
        let added = joined.accepted.saturating_sub(before);
        (joined, added)
    }

    /// Puts a state in place of that of a device that waits, or is not here. Returns false if there
    /// is no room for it.
    fn install(&self, id: &[u8], state: &DeviceState, now: Now) -> bool {
        let (key, shard) = self.home_of(id);
        let Some(shard) = shard else {
            return false;
        };
        let install = || shard.lock().adopt(key, state, now, &self.quota);
        install() || (self.reclaim_slots(0, now.mono_ns) && install())
    }

    /// Judges the events of a device that waits, and makes it a held one. Returns whether it is
    /// one, and the number of events.
    fn judge_waiting(&self, id: &[u8], ticket: u64, tenure: Option<u32>) -> (bool, u64) {
        let (key, shard) = self.home_of(id);
        let mut points = Vec::with_capacity(EVENTS_PER_HOLD * FIELDS_MAX);
        let mut judged = 0;
        while let Some(shard) = shard {
            let mut held = shard.lock();
            let step = held.judge_waiting(key, ticket, tenure, &mut points);
            // Other cores do not wait for all of its events.
            MutexGuard::unlock_fair(held);
            points.clear();
            let Some((events, is_held)) = step else {
                break;
            };
            judged += events;
            if is_held {
                return (true, judged);
            }
        }
        (false, judged)
    }

    fn lapse(&self, terms: &mut Terms) {
        terms.lapses = terms.lapses.wrapping_add(1);
        self.begin_tenure(terms, true);
        self.lease.end(terms);
    }

    /// Begins a tenure in all shards.
    fn begin_tenure(&self, terms: &mut Terms, is_lapse: bool) {
        let tenure = terms.next_tenure();
        for shard in &self.shards {
            shard.lock().begin_tenure(tenure, is_lapse);
        }
    }
}

#[cfg(test)]
mod tests;
