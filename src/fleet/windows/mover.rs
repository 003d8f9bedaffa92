//! The mover: how windows come to the replica that hears their devices, and go from it.
//!
//! It decides, and its thread waits: a [`Mover`] is told what came, and [`Mover::step`] says what
//! is to be sent and when the next step is due. It knows no socket and no clock. One batch of
//! commands is under way at a time; what comes meanwhile goes with the next one.
//!
//! ```text
//! an event without its window ─▶ claim ─▶ the claim before ─▶ its replica gives
//!                  └─▶ no claim before, or nobody there ─▶ all are asked ─▶ one gives
//!                                                              └─▶ the copies are read
//! ```
//!
//! What each rule is for:
//!
//! - A claim is one atomic swap, so each has exactly one before it and at most one behind it.
//! - A replica writes only keys of its own, so no late command overwrites what another has written.
//! - What is asked for is an exact claim: an old request cannot queue behind a new one.
//! - A copy is made out to one claim, and taken while that claim is open. It has a number of its
//!   own, as there may be another one to the same claim when that has long been taken.
//! - Who holds a window gives it to who asks all; who asks all waits for everybody's answer, and
//!   joins all that it was given.
//! - Who was out of touch gives to a claim behind its own only after hearing that it still waits.
//! - Who is out of touch by its own clock keeps what it has, and claims nothing: it would come back
//!   with the next event, and each time as a branch.
//! - Who asks all has read since it had to who there is; and only who has asked all takes what
//!   nobody gave.
//! - A replica is taken for dead only by who has been in touch for the time of a lease.
//! - Who was out of touch while it saved claims what it saved, even as it leaves: its copy may have
//!   been read before, and nobody reads it again.
//! - Who was out of touch since it asked takes no gift for all there is: others may have gone on.
//! - A gift that may not have been taken is joined to the next one, which has its key.
//! - What was given to one who is gone is joined before its key gets another copy; at once, if its
//!   giver was out of touch meanwhile: the others may have gone on from an older copy, and nobody
//!   looks for this one.
//! - Who hears that Redis has lost its memory is in doubt of all it holds: who came meanwhile found
//!   neither claims nor others, and began windows anew.
//! - Who leaves looks in the end whether Redis has what was saved: nobody else would have it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;

use super::super::directory::Incarnation;
use super::cells::{Base, Cells, Copy, Save};
use super::claim::Claim;
use super::envelope::Envelope;
use super::figures::Figures;
use super::keys::{KeptCopies, Keys};
use super::note::DeviceId;
use super::outbox::{Outbox, Parcel, Purpose};
use super::pursuit::{Pursuit, Stage};
use super::roster::{Life, Roster};
use super::sample::Sample;
use super::taken::{Gift, Taken};
use crate::analytics::shared_windows::{Cell, Standing};
use crate::limits::{
    FLEET_BEAT_MS, WINDOW_BATCH_COMMANDS, WINDOW_GIVEN_MS_MAX, WINDOW_PAUSE_MS,
    WINDOW_SAVES_PER_SECOND, WINDOW_TURN_MS, WINDOW_WAIT_MS_MAX,
};
use crate::store::redis::batch::Batch;
use crate::store::redis::outage_tracker::OutageTracker;
use percore::clock::Now;

mod gives;
mod moves;
mod notes;
#[cfg(test)]
mod probe;
mod replies;
mod saves;

pub(super) use replies::Ended;

const MS: u64 = 1_000_000;
const BEAT_NS: u64 = FLEET_BEAT_MS * MS;

/// The least time between two batches with saves: many go together for the cost of one.
const SAVES_TURN_NS: u64 = 20 * MS;

/// The time after which one that does not answer is asked again.
const AGAIN_NS: u64 = 300 * MS;

/// A window that has not come from a replica that lives for so long is asked for everywhere.
const STUCK_NS: u64 = 1_500 * MS;

/// A device that waits for so long is judged by what is here.
const WAIT_NS: u64 = WINDOW_WAIT_MS_MAX * MS;

/// An offer is valid for this time.
const OFFER_NS: u64 = 1_000 * MS;

/// The next thing to do, after a step.
#[derive(Debug)]
pub(super) enum Step {
    /// Sends [`Mover::commands`], and waits for their end.
    Send,
    /// Waits until this time, if nothing comes before.
    Wait { wake_ns: u64 },
    /// Nothing: all is saved, or the time is over.
    End,
}

/// A copy on its way to another replica, until that has taken it.
#[derive(Debug)]
struct Give {
    to: Claim,
    /// The copy, which has the number of the gift.
    envelope: Envelope,
    /// The lapses of our lease before it, if it was the only one there was.
    was_sole: Option<u32>,
}

/// The offer to one who waited while this replica was out of touch.
#[derive(Debug)]
struct Offer {
    to: Claim,
    echo: u64,
    until_ns: u64,
}

/// See the head of this file.
pub(super) struct Mover<C> {
    me: Incarnation,
    keys: Keys,
    kept: KeptCopies,
    pub(super) cells: C,
    pub(super) figures: Arc<Figures>,
    roster: Roster,
    pursuits: BTreeMap<DeviceId, Pursuit>,
    /// Those whose claims are to be sent.
    to_claim: VecDeque<DeviceId>,
    /// Those that wait for a reading of the directory, to ask all who are in it.
    to_ask: Vec<DeviceId>,
    /// Those whose device may wait for too long, by their beginning.
    waiting: VecDeque<(u64, DeviceId)>,
    /// The pursuits that go on by themselves, by their time.
    due: BTreeSet<(u64, DeviceId)>,
    gives: BTreeMap<DeviceId, Give>,
    /// Those that are to be sent, or sent again.
    to_give: VecDeque<DeviceId>,
    /// Those that were sent, by the time at which they are sent again, and their numbers.
    given: VecDeque<(u64, DeviceId, u64)>,
    /// The gifts to those who are gone, which are in Redis for who looks for them, until then.
    orphans: BTreeMap<DeviceId, (u64, Envelope)>,
    offers: BTreeMap<DeviceId, Offer>,
    taken: Taken,
    /// Devices whose saving failed.
    to_save: BTreeSet<DeviceId>,
    outbox: Outbox,
    under_way: Option<Parcel>,
    outages: OutageTracker,
    last_number: u64,
    save_interval_ns: u64,
    /// The time of the next round of saves, and that of the last batch with some.
    next_round_ns: u64,
    last_saves_ns: u64,
    next_census_ns: u64,
    next_batch_ns: u64,
    /// Some of what was saved and not looked for since.
    saved: Sample,
    /// The time until which this replica leaves.
    leaves_until_ns: Option<u64>,
}

impl<C: Cells> Mover<C> {
    /// Returns the mover of the replica with this mailbox.
    pub(super) fn new(
        me: Incarnation,
        keys: Keys,
        cells: C,
        figures: Arc<Figures>,
        save_interval_ns: u64,
    ) -> Self {
        Self {
            me,
            kept: keys.kept(me),
            keys,
            cells,
            figures,
            roster: Roster::default(),
            pursuits: BTreeMap::new(),
            to_claim: VecDeque::new(),
            to_ask: Vec::new(),
            waiting: VecDeque::new(),
            due: BTreeSet::new(),
            gives: BTreeMap::new(),
            to_give: VecDeque::new(),
            given: VecDeque::new(),
            orphans: BTreeMap::new(),
            offers: BTreeMap::new(),
            taken: Taken::default(),
            to_save: BTreeSet::new(),
            outbox: Outbox::default(),
            under_way: None,
            outages: OutageTracker::default(),
            last_number: 0,
            save_interval_ns,
            next_round_ns: 0,
            last_saves_ns: 0,
            next_census_ns: 0,
            next_batch_ns: 0,
            saved: Sample::default(),
            leaves_until_ns: None,
        }
    }

    /// Orders the mover to save all and to end, until this time at most. No event comes any more.
    pub(super) fn stop(&mut self, deadline_ns: u64) {
        self.leaves_until_ns = Some(deadline_ns);
        self.next_round_ns = 0;
    }

    /// Returns the time at which it ends at the latest, once it was ordered to.
    pub(super) const fn leaves_until_ns(&self) -> Option<u64> {
        self.leaves_until_ns
    }

    /// Does what is due.
    pub(super) fn step(&mut self, now: Now) -> Step {
        self.begin_pursuits(now);
        self.go_on(now);
        self.offers.retain(|_, offer| now.mono_ns < offer.until_ns);
        if self.leaves_until_ns.is_some_and(|until_ns| now.mono_ns >= until_ns) {
            return Step::End;
        }
        if self.under_way.is_none() && now.mono_ns >= self.next_batch_ns {
            self.fill_outbox(now);
            if !self.outbox.is_empty() {
                return self.send(now);
            }
        }
        if self.under_way.is_none() && self.outbox.is_empty() && self.has_left() {
            return Step::End;
        }
        Step::Wait { wake_ns: self.wake_ns(now) }
    }

    /// Begins to look for the windows that events came without.
    fn begin_pursuits(&mut self, now: Now) {
        let mut wanted = Vec::new();
        self.cells.take_wanted(&mut wanted);
        wanted.into_iter().for_each(|id| self.pursue(id, now));
    }

    /// Begins a pursuit, unless there is one.
    fn pursue(&mut self, id: DeviceId, now: Now) {
        if self.pursuits.contains_key(&id) {
            return;
        }
        self.to_claim.push_back(id.clone());
        self.waiting.push_back((now.mono_ns, id.clone()));
        let ticket = self.next_number();
        let lapses = self.cells.lapses(now.mono_ns);
        self.pursuits.insert(id, Pursuit::new(ticket, lapses, now.mono_ns));
    }

    /// Returns a number that this replica has not given before.
    const fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Lets the pursuits go on that are due by themselves.
    fn go_on(&mut self, now: Now) {
        while let Some((due_ns, id)) = self.due.first().cloned().filter(|it| it.0 <= now.mono_ns) {
            self.due.remove(&(due_ns, id.clone()));
            if self.pursuits.get(&id).is_some_and(|pursuit| pursuit.due_ns == due_ns) {
                self.go_on_with(&id, now);
            }
        }
        while self.given.front().is_some_and(|(again_ns, ..)| now.mono_ns >= *again_ns)
            && let Some((_, id, gift)) = self.given.pop_front()
        {
            self.give_again(id, gift, now);
        }
        let is_sure = self.cells.is_sure(now.mono_ns);
        while let Some((began_ns, id)) = self.waiting.front() {
            let waits = self.pursuits.get(id).is_some_and(|it| it.began_ns == *began_ns);
            if waits && is_sure && now.mono_ns < began_ns + WAIT_NS {
                break;
            }
            if waits {
                self.cells.begin_alone(id, None, now);
            }
            self.waiting.pop_front();
        }
    }

    /// Fills the outbox with what is to be sent now.
    fn fill_outbox(&mut self, now: Now) {
        for id in mem::take(&mut self.to_give) {
            if let Some(give) = self.gives.get(&id) {
                let command = self.keys.write(&id, self.me, &give.envelope);
                self.outbox.push(&command, Purpose::Give { id, gift: give.envelope.gift });
            }
        }
        while self.outbox.len() < WINDOW_BATCH_COMMANDS
            && self.cells.is_sure(now.mono_ns)
            && let Some(id) = self.to_claim.pop_front()
        {
            let Some(pursuit) = self.pursuits.get_mut(&id) else {
                continue;
            };
            if pursuit.stage == Stage::ToClaim {
                pursuit.stage = Stage::Claiming;
                let ticket = pursuit.ticket;
                let command = self.keys.claim(&id, Claim { by: self.me, ticket });
                self.outbox.push(&command, Purpose::Claim { id, ticket });
            }
        }
        for id in mem::take(&mut self.to_save) {
            self.save_now(id, now);
        }
        self.save(now);
        if now.mono_ns >= self.next_census_ns {
            self.next_census_ns = now.mono_ns + BEAT_NS;
            self.outbox.push(&self.keys.census(), Purpose::Census);
        }
        if self.has_handed_over() {
            self.read_back();
        }
    }

    fn send(&mut self, now: Now) -> Step {
        self.under_way = Some(self.outbox.take(WINDOW_BATCH_COMMANDS, &self.keys, self.me));
        self.next_batch_ns = now.mono_ns + WINDOW_TURN_MS * MS;
        Step::Send
    }

    /// Returns the commands that are under way, if there are any.
    pub(super) fn commands(&self) -> Option<&Batch> {
        self.under_way.as_ref().map(|sent| &sent.commands)
    }

    /// Returns the time of the next step.
    fn wake_ns(&self, now: Now) -> u64 {
        let due_ns = self.due.first().map(|(due_ns, _)| *due_ns);
        let is_sure = self.cells.is_sure(now.mono_ns);
        let has_more = !self.outbox.is_empty()
            || !self.to_give.is_empty()
            || !self.to_claim.is_empty() && is_sure
            || !self.to_save.is_empty()
            || self.has_handed_over();
        let saves_ns = self.cells.has_saves().then(|| self.last_saves_ns + SAVES_TURN_NS);
        let others_ns = match is_sure {
            true => self.next_census_ns.min(self.next_round_ns),
            false => now.mono_ns + AGAIN_NS / 3,
        };
        let batch_ns = match self.under_way {
            Some(_) => None,
            None if has_more => Some(self.next_batch_ns),
            None => Some(saves_ns.unwrap_or(u64::MAX).min(others_ns).max(self.next_batch_ns)),
        };
        let given_ns = self.given.front().map(|(again_ns, ..)| *again_ns);
        let waits_ns = self.waiting.front().map(|(began_ns, _)| began_ns + WAIT_NS);
        let due = [due_ns, given_ns, waits_ns, batch_ns, self.leaves_until_ns];
        due.into_iter().flatten().min().unwrap_or(u64::MAX).max(now.mono_ns)
    }

    /// Sets the time at which a pursuit goes on by itself.
    fn set_due(&mut self, id: &[u8], due_ns: u64) {
        if let Some(pursuit) = self.pursuits.get_mut(id) {
            let id: DeviceId = id.into();
            self.due.remove(&(pursuit.due_ns, id.clone()));
            pursuit.due_ns = due_ns;
            self.due.insert((due_ns, id));
        }
    }

    /// Ends a pursuit.
    fn remove(&mut self, id: &[u8]) -> Option<Pursuit> {
        let pursuit = self.pursuits.remove(id)?;
        self.due.remove(&(pursuit.due_ns, id.into()));
        Some(pursuit)
    }
}
