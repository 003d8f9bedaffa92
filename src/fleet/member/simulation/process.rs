//! A modelled process: a member, its events, its clocks, and its links to Redis.

use std::sync::{Arc, Mutex};

use fastrand::Rng;

use super::super::*;
use crate::fleet::directory::Totals;
use crate::limits::FLEET_LEASE_MS;

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1000 * MS;

/// The counters of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: u64,
    stored: u64,
    coalesced: u64,
    dropped: u64,
}

impl Counters {
    const fn pending(self) -> u64 {
        self.accepted - self.stored - self.coalesced - self.dropped
    }

    /// Accepts some events, and stores others.
    fn grow(&mut self, random: &mut Rng) {
        self.accepted += random.u64(1..6);
        for outcome in [&mut self.stored, &mut self.coalesced, &mut self.dropped] {
            *outcome += random.u64(..3);
        }
        // The store has no more than there is.
        while self.stored + self.coalesced + self.dropped > self.accepted {
            self.accepted += 1;
        }
    }

    fn settle(&mut self) {
        self.stored += self.pending();
    }
}

/// The server behind a member.
struct SimResponder(Arc<Mutex<Counters>>);

impl Responder for SimResponder {
    fn totals(&self) -> Totals {
        let counters = *self.0.lock().unwrap();
        let mut totals = Totals::default();
        totals.set("accepted", counters.accepted);
        totals.set("stored", counters.stored);
        totals.set("coalesced", counters.coalesced);
        totals.set("dropped", counters.dropped);
        totals.set("pending", counters.pending());
        totals
    }

    fn renew_lease(&self, _sent_ns: u64, _until_ns: u64, _now: Now) {}

    fn answer(&self, question: &[u8], _member: u64, _now: Now) -> Vec<u8> {
        let mut answer = question.to_vec();
        answer.extend(self.0.lock().unwrap().accepted.to_string().bytes());
        answer
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Runs,
    Stopping,
    Left,
    Killed,
}

/// See the head of this file.
pub(super) struct Process {
    pub(super) name: String,
    pub(super) member: Option<Member>,
    pub(super) life: Life,
    pub(super) died_ns: u64,
    pub(super) counters: Arc<Mutex<Counters>>,
    mono_ahead_ns: u64,
    wall_ahead_us: i64,
    pub(super) mailbox: Vec<u8>,
    /// The number of the last connection, and whether it is open.
    pub(super) opened: u64,
    pub(super) is_open: bool,
    /// The number of the last batch, and when it was sent if it is under way.
    pub(super) batch: u64,
    pub(super) sent_ns: Option<u64>,
    /// The number of the connection that waits for messages.
    pub(super) mail_connection: u64,
    pub(super) awaits_mail: bool,
    pub(super) wake: u64,
    pub(super) frozen_until_ns: u64,
    /// It is to freeze when it sends next, for so long.
    pub(super) freezes_for_ns: Option<u64>,
    pub(super) cut_until_ns: u64,
    /// Its accepted events over time.
    accepted: Vec<(u64, u64)>,
    /// Those that Redis has in an entry, over time.
    written: Vec<(u64, u64)>,
    /// The times of those entries that were new.
    heard: Vec<(u64, u64)>,
    /// Its name in the directory, and what it counted under former ones.
    pub(super) me: String,
    base: u64,
    /// The most that it was told by the fleet.
    pub(super) told: (u64, u64),
}

impl Process {
    pub(super) fn new(number: usize, forget_us: i64, random: &mut Rng) -> Self {
        let counters = Arc::<Mutex<Counters>>::default();
        let instance = format!("p{number}");
        let profile = Profile { instance: instance.clone(), ..Profile::default() };
        let responder = Box::new(SimResponder(Arc::clone(&counters)));
        let status = Arc::default();
        let mut member = Member::new("f", profile, responder, status, random.u64(..));
        member.forget_us = forget_us;
        let mailbox = member.own_mailbox().commands()[0].words()[1].to_vec();
        Self {
            name: instance,
            me: member.own.me.to_string(),
            member: Some(member),
            life: Life::Runs,
            died_ns: 0,
            counters,
            mono_ahead_ns: random.u64(..1000 * SECOND),
            wall_ahead_us: random.i64(-300_000_000..300_000_000),
            mailbox,
            opened: 0,
            is_open: false,
            batch: 0,
            sent_ns: None,
            mail_connection: 0,
            awaits_mail: false,
            wake: 0,
            frozen_until_ns: 0,
            freezes_for_ns: None,
            cut_until_ns: 0,
            accepted: Vec::new(),
            written: Vec::new(),
            heard: Vec::new(),
            base: 0,
            told: (0, 0),
        }
    }

    /// Returns its clocks.
    pub(super) fn now(&self, now_ns: u64) -> Now {
        let wall_us = 1_700_000_000_000_000 + (now_ns / 1000).cast_signed() + self.wall_ahead_us;
        Now { mono_ns: now_ns + self.mono_ahead_ns, wall_us }
    }

    /// Returns the time of the simulation at which its clock has this time.
    pub(super) fn at(&self, mono_ns: u64) -> u64 {
        mono_ns.saturating_sub(self.mono_ahead_ns)
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.life, Life::Runs | Life::Stopping)
    }

    /// Accepts some events, once it serves.
    pub(super) fn serve(&mut self, now_ns: u64, random: &mut Rng) {
        let looked = self.member.as_ref().is_some_and(Member::has_looked);
        if self.life == Life::Runs && looked {
            let mut counters = self.counters.lock().unwrap();
            counters.grow(random);
            self.accepted.push((now_ns, counters.accepted));
        }
    }

    /// Orders it to stop.
    pub(super) fn stop(&mut self, now_ns: u64, left_ns: u64) {
        self.life = Life::Stopping;
        self.counters.lock().unwrap().settle();
        let deadline_ns = self.now(now_ns).mono_ns + left_ns;
        self.member.as_mut().unwrap().stop(deadline_ns);
    }

    /// Returns the events that it had accepted at this time.
    pub(super) fn accepted_at(&self, at_ns: u64) -> u64 {
        latest(&self.accepted, at_ns)
    }

    /// Returns those of them that an entry in Redis had.
    pub(super) fn written_at(&self, at_ns: u64) -> u64 {
        latest(&self.written, at_ns)
    }

    pub(super) fn first_written_ns(&self) -> Option<u64> {
        self.written.first().map(|(at_ns, _)| *at_ns)
    }

    /// Returns the time at which it was last heard of, by this time.
    pub(super) fn heard_ns(&self, at_ns: u64) -> u64 {
        latest(&self.heard, at_ns)
    }

    pub(super) fn last_written_ns(&self) -> Option<u64> {
        self.written.last().map(|(at_ns, _)| *at_ns)
    }

    /// Notes the name that it has now.
    pub(super) fn note_name(&mut self) {
        if let Some(member) = &self.member {
            self.me = member.own.me.to_string();
            self.base = member.own.base.get("accepted");
        }
    }

    /// Notes a command that Redis ran for it.
    pub(super) fn note_run(&mut self, command: &Command, now_ns: u64, redis_us: i64) {
        let [name, _, field, entry] = *command.words() else {
            return;
        };
        if name == b"HSET" && field == self.me.as_bytes() {
            let accepted = number_of(entry, "accepted") + self.base;
            let so_far = self.written_at(u64::MAX);
            self.written.push((now_ns, accepted.max(so_far)));
            // It may have been frozen before it sent that.
            let seen_us = number_of(entry, "seen_us").cast_signed();
            if redis_us - seen_us < FLEET_LEASE_MS.cast_signed() * 1000 {
                self.heard.push((now_ns, now_ns));
            }
        }
    }
}

fn latest(series: &[(u64, u64)], at_ns: u64) -> u64 {
    let after = series.partition_point(|(then_ns, _)| *then_ns <= at_ns);
    after.checked_sub(1).map_or(0, |last| series[last].1)
}

/// Returns a number of an entry.
fn number_of(entry: &[u8], name: &str) -> u64 {
    let entry = str::from_utf8(entry).unwrap();
    let (_, rest) = entry.split_once(&format!("\"{name}\":")).unwrap();
    rest.split_once(|next: char| !next.is_ascii_digit()).unwrap().0.parse().unwrap()
}
