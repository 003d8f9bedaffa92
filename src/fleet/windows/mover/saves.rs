//! The saves: what Redis has of the windows that are held here.

use super::*;
use crate::store::redis::command::Reply;

impl<C: Cells> Mover<C> {
    /// Saves some of what is unsaved: all of it within half the interval, if that is not too much.
    pub(super) fn save(&mut self, now: Now) {
        let leaves = self.leaves_until_ns.is_some();
        if now.mono_ns >= self.next_round_ns || leaves && !self.cells.has_saves() {
            self.next_round_ns = now.mono_ns + self.save_interval_ns / 2;
            self.cells.begin_saves(now);
        }
        let since_ns = now.mono_ns.saturating_sub(self.last_saves_ns);
        if since_ns < SAVES_TURN_NS && !leaves {
            return;
        }
        let due = since_ns.min(1_000 * MS) * WINDOW_SAVES_PER_SECOND / (1_000 * MS);
        let due = if leaves { WINDOW_BATCH_COMMANDS as u64 } else { due };
        let max = usize::try_from(due).unwrap_or(usize::MAX).min(WINDOW_BATCH_COMMANDS);
        if max == 0 {
            return;
        }
        self.last_saves_ns = now.mono_ns;
        let lapses = self.cells.lapses(now.mono_ns);
        let mut saves = Vec::new();
        self.cells.next_saves(max, now, &mut saves);
        saves.into_iter().for_each(|save| self.write(save, lapses, now));
    }

    /// Saves a device, if it is held.
    pub(super) fn save_now(&mut self, id: DeviceId, now: Now) {
        let lapses = self.cells.lapses(now.mono_ns);
        if let Some(copy) = self.cells.copy(&id, now) {
            let cell = self.cells.cell(&id, now);
            let is_confirmed = matches!(cell, Cell::Held { standing: Standing::Confirmed, .. });
            self.write(Save { id, copy, is_confirmed }, lapses, now);
        }
    }

    /// Writes a copy that is kept, unless one that was given away has its place for a moment.
    /// What is in doubt is claimed then: others may have gone on without it, and what they do not
    /// have is to be joined, even if the device is never heard here again.
    fn write(&mut self, save: Save, lapses: u32, now: Now) {
        let Save { id, copy, is_confirmed } = save;
        if self.gives.contains_key(&id) {
            return;
        }
        if self.orphans.contains_key(&id) {
            self.join_orphan(&id, now);
            return self.save_now(id, now);
        }
        if !is_confirmed {
            self.pursue_doubtful(&id, now);
        }
        let Copy { events, body } = copy;
        let envelope = Envelope { events, to: None, gift: 0, is_partial: false, body };
        let command = self.keys.write(&id, self.me, &envelope);
        self.outbox.push(command, Purpose::Save { id, lapses });
    }

    /// Takes the word that a copy was written, which was made after so many lapses of our lease. If
    /// this replica was out of touch since, others may have read the copy before: it is claimed, as
    /// its device may never be heard here again.
    pub(super) fn on_saved(&mut self, id: DeviceId, lapses: u32, now: Now) {
        self.figures.saves.add(1);
        if lapses != self.cells.lapses(now.mono_ns) {
            self.pursue_doubtful(&id, now);
        }
        self.saved.note(id);
    }

    /// Claims what is in doubt. Who leaves does so only where others may have gone on without it,
    /// and would not look for its copy.
    fn pursue_doubtful(&mut self, id: &[u8], now: Now) {
        let is_due = match self.cells.cell(id, now) {
            Cell::Held { standing: Standing::Lapsed, .. } => true,
            Cell::Held { standing: Standing::Reconnected, .. } => self.leaves_until_ns.is_none(),
            _ => false,
        };
        if is_due {
            self.pursue(id.into(), now);
        }
    }

    /// Returns true if this replica leaves, and nothing is to be saved, given or waited for.
    pub(super) fn has_handed_over(&self) -> bool {
        self.leaves_until_ns.is_some()
            && self.gives.is_empty()
            && self.pursuits.is_empty()
            && self.to_save.is_empty()
            && !self.cells.has_unsaved()
    }

    /// Returns true if this replica leaves, and Redis has what it had.
    pub(super) fn has_left(&self) -> bool {
        self.has_handed_over() && self.saved.is_empty()
    }

    /// Looks whether Redis still has what was saved: with this replica the windows go that it has
    /// lost since, and no other command may have met its loss.
    pub(super) fn read_back(&mut self) {
        for id in self.saved.take() {
            let command = self.keys.read(&id, self.me);
            self.outbox.push(command, Purpose::ReadBack { id });
        }
    }

    /// Takes a copy that was looked for. Without it, Redis has lost what it had.
    pub(super) fn on_read_back(&mut self, reply: &Reply) {
        if *reply == Reply::Nil {
            self.cells.unsave_all();
        }
    }
}
