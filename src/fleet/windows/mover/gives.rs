//! The gifts: how a window is given away, and what becomes of it until it was taken.

use super::super::note::Said;
use super::*;

impl<C: Cells> Mover<C> {
    /// Tells who follows a claim of ours that there is nothing.
    pub(super) fn refuse(&mut self, id: &[u8], Claim { by, ticket }: Claim) {
        self.outbox.note(by, id, Said::Absent { ticket, round: 0 });
    }

    /// Gives a window away. What is on its way stays in memory until it has come.
    pub(super) fn give(&mut self, id: &[u8], to: Claim, now: Now) {
        let cell = self.cells.cell(id, now);
        let is_partial = matches!(cell, Cell::Held { standing: Standing::Lapsed, .. });
        self.give_as(id, to, is_partial, now);
    }

    /// Gives a window away, of which it is known whether there may be more elsewhere.
    pub(super) fn give_as(&mut self, id: &[u8], to: Claim, is_partial: bool, now: Now) {
        self.drop_pursuit(id, now);
        if matches!(self.cells.cell(id, now), Cell::Held { .. }) {
            self.join_given(id, now);
        }
        let cell = self.cells.cell(id, now);
        let is_sole = matches!(cell, Cell::Held { standing: Standing::Confirmed, .. });
        let was_sole = is_sole.then(|| self.cells.lapses(now.mono_ns));
        let Some(copy) = self.cells.export(id, now) else {
            return self.refuse(id, to);
        };
        let Copy { events, body } = copy;
        let gift = self.next_number();
        let envelope = Envelope { events, to: Some(to), gift, is_partial, body };
        self.gives.insert(id.into(), Give { to, envelope, was_sole });
        self.to_give.push_back(id.into());
        self.figures.note_gone(id);
    }

    /// Sends again what has not been taken. Who is gone does not take it: it is in Redis for those
    /// who look for it there, until there is a window here, which has the same key. If somebody may
    /// have gone on while we were out of touch, nobody looks for it: then it is joined here, as a
    /// copy, because who is gone may have taken it all the same.
    pub(super) fn give_again(&mut self, id: DeviceId, gift: u64, now: Now) {
        let Some(to) = self.given_to(&id, gift) else {
            return;
        };
        if self.roster.life(to.by, now.mono_ns) == Life::Live {
            self.to_give.push_back(id);
            return;
        }
        let is_sole = self.is_sole(&id, now);
        if let Some(Give { envelope, .. }) = self.gives.get(&id) {
            let until_ns = now.mono_ns + WINDOW_GIVEN_MS_MAX * MS;
            self.orphans.insert(id.clone(), (until_ns, envelope.clone()));
        }
        if !is_sole {
            self.join_orphan(&id, now);
        }
        self.end_give(&id, gift, now);
    }

    /// Joins what was given before and may not have been taken: the next gift takes its key.
    fn join_given(&mut self, id: &[u8], now: Now) {
        if let Some(Give { envelope, .. }) = self.gives.remove(id) {
            self.orphans.insert(id.into(), (now.mono_ns, envelope));
            self.figures.note_come(id);
        }
        self.join_orphan(id, now);
    }

    /// Joins what was given to one who is gone, before its key gets another copy.
    pub(super) fn join_orphan(&mut self, id: &[u8], now: Now) {
        if let Some((_, envelope)) = self.orphans.remove(id) {
            let base = Base { body: &envelope.body, is_copy: true };
            let ticket = match self.cells.cell(id, now) {
                Cell::Held { ticket, standing: Standing::Confirmed } => Some(ticket),
                _ => None,
            };
            self.cells.adopt(id, Some(base), ticket, now);
        }
    }

    /// Returns true if what is on its way from here is all there is: it was when it was given, and
    /// the others have counted on this replica since.
    fn is_sole(&self, id: &[u8], now: Now) -> bool {
        let was_sole = self.gives.get(id).and_then(|give| give.was_sole);
        was_sole == Some(self.cells.lapses(now.mono_ns))
    }

    /// Takes back what was given to a claim that does not wait any more, and was not taken.
    pub(super) fn take_back(&mut self, id: &[u8], gift: u64, now: Now) {
        if self.given_to(id, gift).is_none() {
            return;
        }
        let is_sole = self.is_sole(id, now);
        let Some(Give { envelope, .. }) = self.gives.remove(id) else {
            return;
        };
        self.figures.note_come(id);
        match self.pursuits.get_mut(id) {
            Some(pursuit) if is_sole => {
                pursuit.gifts.push((self.me, envelope));
                self.take_gifts(id, now);
            }
            // Somebody may have gone on without it: it is joined to what that one has.
            pursuit => {
                let ticket = pursuit.map_or(0, |pursuit| pursuit.ticket);
                let base = Base { body: &envelope.body, is_copy: false };
                self.cells.adopt(id, Some(base), Some(0).filter(|_| is_sole), now);
                self.to_save.insert(id.into());
                if !is_sole && ticket == 0 {
                    self.pursue(id.into(), now);
                }
            }
        }
    }

    /// Returns the claim that this gift was made out to, if it has not been taken.
    pub(super) fn given_to(&self, id: &[u8], gift: u64) -> Option<Claim> {
        let give = self.gives.get(id).filter(|give| give.envelope.gift == gift)?;
        Some(give.to)
    }

    /// Forgets what was given away.
    pub(super) fn end_give(&mut self, id: &[u8], gift: u64, now: Now) {
        if self.given_to(id, gift).is_some() {
            self.gives.remove(id);
            self.figures.given.add(1);
            self.figures.note_come(id);
            self.to_save.insert(id.into());
            self.choose_if_answered(id, now);
        }
    }
}
