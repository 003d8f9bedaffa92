//! The census: the reading of the directory once a beat and before each round, and what follows.

use super::*;
use crate::limits::FLEET_DOUBT_MS;

const DOUBT_NS: u64 = FLEET_DOUBT_MS * 1_000_000;

impl Member {
    /// Returns the commands of a census. After a while without one this process may have been
    /// frozen, and its entry folded: then it looks before it writes.
    pub(super) fn census(&mut self, now: Now) -> (Purpose, Vec<Command>) {
        let writes = self.lease.has_read(now.mono_ns);
        let mut commands = Vec::new();
        if writes {
            // As with answers to others: no later one of the fleet has less.
            let fleet_now = Now { wall_us: self.now_us(now), ..now };
            self.rounds.answer(|questions| self.own.say(questions, fleet_now));
            let entry = self.own.entry(fleet_now.wall_us, false);
            self.may_be_known = true;
            commands.push(self.keys.write(self.own.me, &entry));
        }
        commands.push(self.keys.read());
        (Purpose::Census { writes }, commands)
    }

    /// Takes the directory as it is now.
    pub(super) fn on_directory(
        &mut self,
        read: Directory,
        writes: bool,
        is_other: bool,
        sent_ns: u64,
        now: Now,
    ) {
        let now_us = self.now_us(now);
        self.status.unreadable.add(read.unreadable as u64);
        let is_folded = read.was_folded(self.own.me).is_some();
        if let Some(totals) = read.was_folded(self.own.me) {
            // What was counted under this name is in the sums of the fleet for good.
            self.outbox.push(self.keys.remove(&[self.own.me]));
            self.own.begin_anew(totals);
            self.has_written = false;
            self.next_beat_ns = now.mono_ns;
        }
        let was_absent = mem::take(&mut self.was_absent);
        let is_absent = was_absent || !read.entries.contains_key(&self.own.me);
        let lost_memory = self.has_written && is_absent;
        self.has_written |= writes && !is_folded;
        let known = mem::replace(&mut self.directory, read);
        if lost_memory {
            reporter::memory_lost();
            // The others are told soon, yet not all the time where Redis keeps nothing.
            self.own.lost_us = now_us.max(self.own.lost_us.saturating_add(1));
            self.next_beat_ns = self.next_beat_ns.min(now.mono_ns + BEAT_NS / 4);
        }
        let is_old = !lost_memory && !self.lease.has_read(now.mono_ns);
        let lost = self.directory.recover(known, is_old, now_us);
        let Self { keys, outbox, .. } = self;
        outbox.extend(lost.absent.iter().map(|(who, entry)| keys.write_absent(*who, entry)));
        outbox.extend(lost.older.iter().map(|(who, entry)| keys.write(*who, entry)));
        outbox.extend(lost.folded.iter().map(|folded| keys.write_absent_folded(folded)));
        let own = self.directory.entries.get(&self.own.me);
        if own.is_some_and(|own| own.state(now_us) != MemberState::Live) {
            // This process was frozen before it sent that: nobody is to fold it.
            self.next_beat_ns = now.mono_ns;
        }
        self.reporter.compare(&self.directory, self.own.me, now_us);
        self.status.note(&self.directory, self.own.me, now_us);
        let live = self.directory.peers(self.own.me, MemberState::Live, now_us);
        if writes {
            self.lease.confirm(sent_ns, now.mono_ns, lost_memory || is_other);
            if !self.is_deaf {
                // Who cannot hear the others does not keep windows that they ask for.
                self.own.responder.renew_lease(sent_ns, sent_ns.saturating_add(DOUBT_NS), now);
            }
            self.reporter.up(now.mono_ns, live.len() + 1);
        } else {
            self.lease.note_read(sent_ns);
        }
        if writes && !is_folded {
            self.ask_members(&live, now_us);
        }
    }
}
