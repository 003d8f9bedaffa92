//! A member of a fleet: when it writes its entry, reads those of others, asks and answers.
//!
//! It decides, and its threads wait: a [`Member`] is told what came, and [`Member::step`] says what
//! is to be sent and when the next step is due. It knows no socket and no clock. One batch of
//! commands is under way at a time; what comes meanwhile goes with the next one, so that a slow
//! Redis gets fewer and larger batches.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::answers::Responder;
use super::commands::{self, Keys};
use super::directory::{Directory, Incarnation, MemberState};
use super::exchange::{Batch, Exchange, Fold, Phase, Purpose, Step, error_of};
use super::fleet_clock::FleetClock;
use super::identity::{Identity, Profile};
use super::lease::Lease;
use super::mailbox::Mailbox;
use super::reporter::{self, Reporter};
use super::rounds::Rounds;
use super::status::Status;
use crate::limits::{FLEET_BEAT_MS, FLEET_FORGET_MS, FLEET_PAUSE_MS, FLEET_SETTLE_MS};
use crate::store::redis::command::{Command, Reply};
use crate::store::redis::error::{ErrorKind, RedisError};
use percore::clock::Now;

const BEAT_NS: u64 = FLEET_BEAT_MS * 1_000_000;
const PAUSE_NS: u64 = FLEET_PAUSE_MS * 1_000_000;
const SETTLE_NS: u64 = FLEET_SETTLE_MS * 1_000_000;
const FORGET_US: i64 = FLEET_FORGET_MS as i64 * 1000;

mod asking;
mod census;

/// See the head of this file.
pub(super) struct Member {
    own: Identity,
    keys: Keys,
    status: Arc<Status>,
    reporter: Reporter,
    clock: FleetClock,
    lease: Lease,
    directory: Directory,
    rounds: Rounds,
    /// Commands that go with the next batch.
    outbox: Vec<Command>,
    /// The first of them that writes the own entry.
    first_write: Option<usize>,
    under_way: Option<(Purpose, Option<usize>)>,
    /// A write did not find the own entry, which had been there.
    was_absent: bool,
    /// The entries that are to be folded, and the connection that watches the directory for that.
    fold: Option<(u64, Fold)>,
    next_time_ns: u64,
    next_beat_ns: u64,
    next_fold_ns: u64,
    /// The entry of who has been gone for so long is folded.
    forget_us: i64,
    /// Nothing is sent before this time.
    resume_ns: u64,
    /// True once an entry of this life is in the directory.
    has_written: bool,
    /// True once one may be, of this life or of one before.
    may_be_known: bool,
    /// The connection of the last census.
    connection: Option<u64>,
    has_asked_policy: bool,
    /// True while the mailbox cannot be read.
    is_deaf: bool,
    phase: Phase,
}

impl Member {
    pub(super) fn new(
        fleet: &str,
        profile: Profile,
        responder: Box<dyn Responder>,
        status: Arc<Status>,
        seed: u64,
    ) -> Self {
        Self {
            own: Identity::new(profile, responder, seed),
            keys: Keys::new(fleet),
            status,
            reporter: Reporter::default(),
            clock: FleetClock::default(),
            lease: Lease::default(),
            directory: Directory::default(),
            rounds: Rounds::default(),
            outbox: Vec::new(),
            first_write: None,
            under_way: None,
            was_absent: false,
            fold: None,
            next_time_ns: 0,
            next_beat_ns: 0,
            next_fold_ns: 0,
            forget_us: FORGET_US,
            resume_ns: 0,
            has_written: false,
            may_be_known: false,
            connection: None,
            has_asked_policy: false,
            is_deaf: false,
            phase: Phase::Running,
        }
    }

    /// Returns the way to empty the mailbox of this member.
    pub(super) fn own_mailbox(&self) -> Mailbox {
        self.keys.mailbox_of(&self.own.mailbox)
    }

    /// Returns this replica, by the last part of the key of its mailbox.
    pub(super) const fn mailbox(&self) -> Incarnation {
        // It has had one life so far.
        self.own.me
    }

    /// Orders the member to write its last entry until `deadline_ns`, and to end.
    pub(super) fn stop(&mut self, deadline_ns: u64) {
        self.phase = Phase::Leaving(deadline_ns);
        // A pause could outlast the time that is left.
        self.resume_ns = 0;
    }

    /// Returns true if Redis has taken the entry of this member, or failed to.
    pub(super) const fn has_looked(&self) -> bool {
        self.has_written || self.resume_ns > 0
    }

    /// Does what is due.
    pub(super) fn step(&mut self, now: Now) -> Step {
        if self.lease.has_lapsed(now.mono_ns) {
            self.status.lapses.add(1);
        }
        let is_up = self.lease.is_sure(now.mono_ns) && !self.is_deaf;
        self.status.up.store(is_up, Ordering::Relaxed);
        if self.rounds.begins_ns().is_some_and(|begins_ns| now.mono_ns >= begins_ns) {
            self.rounds.begin(now.mono_ns);
        }
        let over = if is_up && self.phase == Phase::Running {
            std::iter::from_fn(|| self.rounds.take_over(now.mono_ns)).collect()
        } else {
            self.rounds.take_all(now.mono_ns)
        };
        over.into_iter().for_each(|round| self.finish(round, now));
        match self.phase {
            Phase::Gone => return Step::End,
            Phase::Leaving(deadline_ns) if now.mono_ns >= deadline_ns => return Step::End,
            // Nobody knows of it.
            Phase::Leaving(_) if !self.may_be_known => return Step::End,
            _ => {}
        }
        match self.next_batch(now) {
            Some(batch) => Step::Send { batch, wake_ns: self.wake_ns(now) },
            None => Step::Wait { wake_ns: self.wake_ns(now) },
        }
    }

    /// Returns the commands that are to be sent now, if any are.
    fn next_batch(&mut self, now: Now) -> Option<Batch> {
        if self.under_way.is_some() || now.mono_ns < self.resume_ns {
            return None;
        }
        let mut batch = Batch::default();
        let mut first_write = None;
        let purpose = if now.mono_ns >= self.next_time_ns {
            // Alone, as it is the more exact the quicker it is.
            batch.commands.push(commands::time());
            Purpose::Time
        } else if let Some((connection, fold)) = self.fold.take() {
            batch.commands = self.keys.fold(&fold.which, &fold.folded);
            batch.only_over = Some(connection);
            Purpose::Fold(fold)
        } else {
            batch.commands = mem::take(&mut self.outbox);
            first_write = self.first_write.take();
            let (purpose, own) = self.next_purpose(now, !batch.commands.is_empty())?;
            batch.commands.extend(own);
            purpose
        };
        self.under_way = Some((purpose, first_write));
        Some(batch)
    }

    /// Returns what is to be done beside the bringing of messages, with its commands.
    fn next_purpose(&mut self, now: Now, has_mail: bool) -> Option<(Purpose, Vec<Command>)> {
        let is_asked = self.rounds.has_unasked();
        if self.phase != Phase::Running && self.lease.has_read(now.mono_ns) {
            let entry = self.own.entry(self.now_us(now), true);
            Some((Purpose::Leave, vec![self.keys.write(self.own.me, &entry)]))
        } else if self.phase != Phase::Running || now.mono_ns >= self.next_beat_ns || is_asked {
            Some(self.census(now))
        } else if has_mail {
            Some((Purpose::Post, Vec::new()))
        } else if !self.has_asked_policy {
            Some((Purpose::Policy, vec![commands::memory_settings()]))
        } else if now.mono_ns >= self.next_fold_ns
            && self.directory.folds(self.own.me, self.now_us(now), self.forget_us)
        {
            Some((Purpose::Watch, self.keys.watch()))
        } else {
            None
        }
    }

    /// Returns the time of the next step.
    fn wake_ns(&self, now: Now) -> u64 {
        let deadline_ns = match self.phase {
            Phase::Leaving(deadline_ns) => Some(deadline_ns),
            Phase::Running | Phase::Gone => None,
        };
        let sends_ns = match self.under_way {
            Some(_) => None,
            None if self.outbox.is_empty() && self.fold.is_none() && !self.rounds.has_unasked() => {
                Some(self.next_time_ns.min(self.next_beat_ns).max(self.resume_ns))
            }
            None => Some(self.resume_ns),
        };
        let rounds = [self.rounds.begins_ns(), self.rounds.ends_ns()];
        let due = rounds.into_iter().chain([self.lease.ends_ns(), deadline_ns, sends_ns]);
        due.flatten().min().unwrap_or(u64::MAX).max(now.mono_ns)
    }

    /// Takes the end of the batch under way.
    pub(super) fn on_exchange(&mut self, exchange: Exchange, now: Now) {
        let Some((purpose, first_write)) = self.under_way.take() else {
            return;
        };
        let Exchange { sent_ns, received_ns, connection, result } = exchange;
        let mut replies = match result {
            Ok(replies) => replies,
            Err(error) => return self.fail(&error, now),
        };
        let own = replies.split_off(replies.len().saturating_sub(purpose.replies()));
        let is_new = |at: usize| replies.get(at) == Some(&Reply::Integer(1));
        self.was_absent |= self.has_written && first_write.is_some_and(is_new);
        if let Some(error) = replies.iter().find_map(error_of) {
            // A message that did not arrive is missing in an answer, no more.
            self.tell(error, now);
        }
        if let Some(error) = own.iter().find_map(error_of).filter(|_| purpose != Purpose::Policy) {
            return self.fail(error, now);
        }
        let is_known = self.on_own_replies(purpose, &own, (sent_ns, received_ns), connection, now);
        if !is_known {
            let message = "an unexpected reply to a command of the fleet";
            self.fail(&RedisError::new(ErrorKind::Protocol, message), now);
        }
    }

    /// Takes the replies to the purpose of a batch. Returns false if they are no such replies.
    fn on_own_replies(
        &mut self,
        purpose: Purpose,
        own: &[Reply],
        (sent_ns, received_ns): (u64, u64),
        connection: Option<u64>,
        now: Now,
    ) -> bool {
        let last = own.last().unwrap_or(&Reply::Nil);
        match purpose {
            Purpose::Time => {
                let Some(told_us) = commands::read_time(last) else {
                    return false;
                };
                self.clock.add(sent_ns, received_ns, told_us);
                self.clock
                    .at(0)
                    .into_iter()
                    .for_each(|offset_us| self.status.set_offset(offset_us));
                self.next_time_ns = sent_ns + BEAT_NS;
                self.own.started_us = self.own.started_us.or_else(|| self.clock.at(sent_ns));
            }
            Purpose::Policy => {
                self.has_asked_policy = true;
                commands::read_eviction_policy(last).into_iter().for_each(reporter::evicts);
            }
            Purpose::Census { writes } => {
                let Some(directory) = Directory::read(last) else {
                    return false;
                };
                self.was_absent |=
                    self.has_written && writes && own.first() == Some(&Reply::Integer(1));
                // Another server may have the keys now, without the last writes.
                let is_other = mem::replace(&mut self.connection, connection) != connection;
                // The first look is followed by the first entry.
                self.next_beat_ns = if writes { sent_ns + BEAT_NS } else { now.mono_ns };
                if !writes {
                    // Those who were cut off as well write theirs first.
                    self.next_fold_ns = now.mono_ns + SETTLE_NS;
                }
                self.on_directory(directory, writes, is_other, sent_ns, now);
            }
            Purpose::Watch => {
                let Some(read) = Directory::read(last) else {
                    return false;
                };
                let mut which = read.to_fold(self.now_us(now), self.forget_us);
                which.retain(|who| *who != self.own.me && !self.directory.is_newer(*who, &read));
                let folded = read.fold(&which);
                self.fold = connection.map(|connection| (connection, Fold { which, folded }));
            }
            Purpose::Fold(Fold { which, folded }) => {
                // Nothing was done if another one has written meanwhile.
                if *last != Reply::Nil {
                    self.directory.folded = folded;
                    which.iter().for_each(|gone| drop(self.directory.entries.remove(gone)));
                }
                self.next_fold_ns = now.mono_ns + BEAT_NS;
            }
            Purpose::Leave => self.phase = Phase::Gone,
            Purpose::Post => {}
        }
        true
    }

    /// Returns fleet time or, before it is known, the time of this machine.
    fn now_us(&self, now: Now) -> i64 {
        self.clock.at(now.mono_ns).unwrap_or(now.wall_us)
    }

    /// Notes that a batch failed. Entries are written anew by the next census, and those who were
    /// not asked are missing in the answer.
    fn fail(&mut self, error: &RedisError, now: Now) {
        self.resume_ns = now.mono_ns + PAUSE_NS;
        self.fold = None;
        self.next_fold_ns = now.mono_ns + BEAT_NS;
        self.tell(error, now);
    }

    fn tell(&mut self, error: &RedisError, now: Now) {
        self.status.errors.add(error.kind);
        self.reporter.down(now.mono_ns, error);
    }
}

#[cfg(test)]
mod simulation;
