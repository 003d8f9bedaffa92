//! The identity of a member: its name, and what it writes of itself.

use std::collections::BTreeMap;

use super::answers::{MemberReport, Responder, Said};
use super::directory::{Entry, Incarnation, MemberState, PROTOCOL, Totals};
use super::mail::Message;
use percore::clock::Now;

/// The part of an entry that never changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    /// The name of the instance.
    pub(super) instance: String,
    /// The version of the program.
    pub(super) version: String,
    /// The settings that should be the same everywhere, by their flags.
    pub(super) settings: BTreeMap<String, String>,
}

/// See the head of this file.
pub(super) struct Identity {
    pub(super) profile: Profile,
    pub(super) responder: Box<dyn Responder>,
    /// The name of this life.
    pub(super) me: Incarnation,
    /// The last part of the key of its mailbox, which it keeps for all its lives.
    pub(super) mailbox: String,
    /// The start in fleet time, once that is known.
    pub(super) started_us: Option<i64>,
    /// The counts under the names before this one.
    pub(super) base: Totals,
    /// True if it gives and takes windows of devices.
    pub(super) moves: bool,
    /// The time at which its entry was found lost; 0 if it never was.
    pub(super) lost_us: i64,
    /// The time of its last entry.
    seen_us: i64,
    random: fastrand::Rng,
}

impl Identity {
    pub(super) fn new(profile: Profile, responder: Box<dyn Responder>, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let me = Incarnation(random.u64(..));
        let (mailbox, base) = (me.to_string(), Totals::default());
        Self {
            profile,
            responder,
            me,
            mailbox,
            started_us: None,
            base,
            moves: true,
            lost_us: 0,
            seen_us: 0,
            random,
        }
    }

    /// Begins a new life, as the counters of this one are in the sums of the fleet for good.
    pub(super) fn begin_anew(&mut self, counted: &Totals) {
        self.base.add(counted);
        self.me = Incarnation(self.random.u64(..));
    }

    /// Returns the counters of this life.
    pub(super) fn totals(&self) -> Totals {
        self.responder.totals().since(&self.base)
    }

    /// Returns the entry that it writes at this time. Each is later than the last, even if the
    /// clock of Redis was set back: of two entries the later one is the one that counts.
    pub(super) fn entry(&mut self, now_us: i64, left: bool) -> Entry {
        self.seen_us = now_us.max(self.seen_us.saturating_add(1));
        Entry {
            protocol: PROTOCOL,
            instance: self.profile.instance.clone(),
            version: self.profile.version.clone(),
            mailbox: self.mailbox.clone(),
            settings: self.profile.settings.clone(),
            started_us: self.started_us.unwrap_or(now_us),
            seen_us: self.seen_us,
            left,
            moves: self.moves,
            lost_us: self.lost_us,
            totals: self.totals(),
        }
    }

    /// Returns what it says to questions.
    pub(super) fn say(&self, questions: &[Vec<u8>], now: Now) -> Said {
        let answer = |question: &Vec<u8>| self.responder.answer(question, self.me.0, now);
        let answers = questions.iter().map(answer).collect();
        // The answers are no newer than the counters.
        Said { at_us: now.wall_us, totals: self.totals(), answers }
    }

    /// Answers questions. Returns the entry that has the counters of the answer, too.
    pub(super) fn answer(
        &mut self,
        round: u64,
        questions: &[Vec<u8>],
        now: Now,
    ) -> (Entry, Message) {
        let Said { answers, .. } = self.say(questions, now);
        let entry = self.entry(now.wall_us, false);
        let (from, at_us, totals) = (self.me, entry.seen_us, entry.totals.clone());
        (entry, Message::Answer { from, round, at_us, totals, answers })
    }

    /// Returns the report of this member on the question of this place.
    pub(super) fn report(&self, said: &Said, at: usize) -> MemberReport {
        MemberReport {
            number: self.me.0,
            instance: self.profile.instance.clone(),
            version: self.profile.version.clone(),
            state: MemberState::Live,
            as_of_us: said.at_us,
            totals: said.totals.clone(),
            answer: said.answers.get(at).cloned(),
        }
    }
}
