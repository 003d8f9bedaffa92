//! The saves: what Redis has of the windows that are held here.

use super::*;
use crate::store::redis::command::{End, Reply};

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
        // Nearly always empty, so that nothing is allocated for a save.
        let (mut given_before, mut doubtful) = (Vec::new(), Vec::new());
        let Self { cells, outbox, kept, gives, orphans, .. } = self;
        cells.next_saves(max, now, &mut |save| {
            let Save { id, events, body, is_confirmed } = save;
            if gives.contains_key(id) {
                return;
            }
            if orphans.contains_key(id) {
                return given_before.push(DeviceId::from(id));
            }
            if !is_confirmed {
                doubtful.push(DeviceId::from(id));
            }
            outbox.push_save(id, lapses, |out| kept.pack(id, events, body, out));
        });
        doubtful.iter().for_each(|id| self.pursue_doubtful(id, now));
        given_before.into_iter().for_each(|id| self.save_now(id, now));
    }

    /// Saves a device, if it is held, unless a copy that was given away has its place for a moment.
    pub(super) fn save_now(&mut self, id: DeviceId, now: Now) {
        let lapses = self.cells.lapses(now.mono_ns);
        let Some(copy) = self.cells.copy(&id, now) else {
            return;
        };
        let cell = self.cells.cell(&id, now);
        let is_confirmed = matches!(cell, Cell::Held { standing: Standing::Confirmed, .. });
        if self.gives.contains_key(&id) {
            return;
        }
        if self.orphans.contains_key(&id) {
            self.join_orphan(&id, now);
            return self.save_now(id, now);
        }
        // Others may have gone on without it, and what they do not have is to be joined, even if
        // the device is never heard here again.
        if !is_confirmed {
            self.pursue_doubtful(&id, now);
        }
        let Copy { events, body } = copy;
        let body = |out: &mut Vec<u8>| out.extend_from_slice(&body);
        self.outbox.push_save(&id, lapses, |out| self.kept.pack(&id, events, body, out));
    }

    /// Takes the end of a command that saved the copy of a device. If this replica was out of touch
    /// since the copy was made, others may have read the one before: the device is claimed, as it
    /// may never be heard here again. Returns true if the copy is saved.
    pub(super) fn on_save_ended(
        &mut self,
        id: &[u8],
        was_out_of_touch: bool,
        end: End,
        now: Now,
    ) -> bool {
        match end.into_result() {
            Ok(Reply::Error(error)) => {
                self.note_error(&error, now);
                self.figures.saves_failed.add(error.kind);
            }
            Err(error) => self.note_error(&error, now),
            Ok(_) => {
                if was_out_of_touch {
                    self.pursue_doubtful(id, now);
                }
                return true;
            }
        }
        self.to_save.insert(id.into());
        false
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

    /// Returns what is left to do at the end, by numbers of devices: the copies that Redis has
    /// refused or not confirmed, which the cells do not count any more, the gifts that nobody has
    /// taken, and the claims without a reply.
    pub(in super::super) fn left(&self) -> [u64; 3] {
        let unsaved = self.to_save.len() + self.outbox.saves();
        [unsaved, self.gives.len(), self.pursuits.len()].map(|devices| devices as u64)
    }

    /// Looks whether Redis still has what was saved: with this replica the windows go that it has
    /// lost since, and no other command may have met its loss.
    pub(super) fn read_back(&mut self) {
        for id in self.saved.take() {
            let command = self.keys.read(&id, self.me);
            self.outbox.push(&command, Purpose::ReadBack { id });
        }
    }

    /// Takes a copy that was looked for. Without it, Redis has lost what it had.
    pub(super) fn on_read_back(&mut self, reply: &Reply) {
        if *reply == Reply::Nil {
            self.cells.unsave_all();
        }
    }
}
