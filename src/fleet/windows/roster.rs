//! The roster: which replicas live, as this one can be sure of.
//!
//! Of a replica that has died a window is taken without asking it, so the error that hurts is to
//! take a living one for dead. No clock but the own monotonic one decides: a replica is dead once
//! its entry has not changed for the time of a lease, while this one has read the directory all the
//! time. It is itself in doubt by then, by its own clock, if it lives. A directory that lost an
//! entry has lost its memory, and proves nothing for as long.

use std::collections::BTreeMap;

use super::super::directory::{Directory, Incarnation};
use crate::limits::{FLEET_DOUBT_MS, FLEET_FORGET_MS, FLEET_LEASE_MS, FLEET_SETTLE_MS};

const LEASE_NS: u64 = FLEET_LEASE_MS * 1_000_000;
const DOUBT_NS: u64 = FLEET_DOUBT_MS * 1_000_000;
const FORGET_NS: u64 = FLEET_FORGET_MS * 1_000_000;
const SETTLE_NS: u64 = FLEET_SETTLE_MS * 1_000_000;

/// Replicas that are not in the directory are remembered for this long.
const STRANGER_NS: u64 = 10 * LEASE_NS;

/// The state of a replica, as far as it matters to windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It may live.
    Live,
    /// It has left in order, with all its windows saved.
    Left,
    /// It was killed, or cannot reach Redis and knows it.
    Dead,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    seen_us: i64,
    has_left: bool,
    /// True if it moves windows.
    can_move: bool,
    /// When it was first known to be as it is.
    changed_ns: u64,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Roster {
    known: BTreeMap<Incarnation, Known>,
    /// Those who were heard of, and are not in the directory yet or any more, by the first time.
    strangers: BTreeMap<Incarnation, u64>,
    /// The time at which the last reading was sent.
    read_ns: Option<u64>,
    /// The time of the first reading.
    begun_ns: Option<u64>,
    /// The time since which readings have been without a gap.
    since_ns: u64,
    /// The time at which Redis was found to have lost what it knew.
    lost_ns: Option<u64>,
    /// The newest time of such a loss that a replica has told of.
    told_us: i64,
}

impl Roster {
    /// Takes a reading of the directory, which was asked for at `sent_ns`. `me` is the mailbox of
    /// this replica. Returns true if Redis has lost what it knew.
    pub(super) fn read(
        &mut self,
        directory: &Directory,
        me: Incarnation,
        sent_ns: u64,
        now_ns: u64,
    ) -> bool {
        let mut read = BTreeMap::<Incarnation, Known>::new();
        for entry in directory.entries.values() {
            let Ok(by) = entry.mailbox.parse() else {
                continue;
            };
            let (seen_us, has_left) = (entry.seen_us, entry.left);
            let known = Known { seen_us, has_left, can_move: entry.moves, changed_ns: now_ns };
            // A replica may have had several lives, with one mailbox.
            let is_newest = read.get(&by).is_none_or(|other| other.seen_us < seen_us);
            if is_newest {
                read.insert(by, known);
            }
        }
        let has_gap = self.read_ns.is_none_or(|read_ns| sent_ns.saturating_sub(read_ns) > DOUBT_NS);
        let is_missing = |(by, known): (&Incarnation, &Known)| {
            !known.has_left
                && now_ns.saturating_sub(known.changed_ns) < LEASE_NS
                && !read.contains_key(by)
        };
        let lost_memory = self.known.iter().any(is_missing);
        if has_gap || lost_memory || !read.contains_key(&me) {
            self.since_ns = now_ns;
        }
        for (by, known) in &mut read {
            let is_same =
                |old: &Known| (old.seen_us, old.has_left) == (known.seen_us, known.has_left);
            if let Some(old) = self.known.get(by).filter(|old| is_same(old) && !has_gap) {
                known.changed_ns = old.changed_ns;
            }
        }
        // Those who are gone from the directory are remembered for as long as that proves nothing.
        self.known.retain(|_, known| now_ns.saturating_sub(known.changed_ns) < 2 * LEASE_NS);
        self.known.append(&mut read);
        let Self { known, strangers, .. } = self;
        strangers.retain(|by, since_ns| {
            !known.contains_key(by) && now_ns.saturating_sub(*since_ns) < STRANGER_NS
        });
        self.read_ns = Some(sent_ns);
        self.begun_ns.get_or_insert(now_ns);
        if lost_memory {
            self.lost_ns = Some(now_ns);
        }
        lost_memory
    }

    /// Notes what a reading of the directory tells of losses, before it is read. Returns true if a
    /// replica tells of one that was not known: that one was the first to write after it, and
    /// nothing may be to be seen of it since.
    pub(super) fn hear_of_loss(&mut self, directory: &Directory, now_ns: u64) -> bool {
        let told_us = directory.entries.values().map(|entry| entry.lost_us).max();
        let told_us = told_us.unwrap_or_default().max(self.told_us);
        let before_us = std::mem::replace(&mut self.told_us, told_us);
        // Who has just come knows nothing that could be lost.
        let is_new = self.read_ns.is_some() && told_us > before_us;
        // It may have been seen already.
        if is_new && self.lost_ns.is_none_or(|ns| now_ns.saturating_sub(ns) >= SETTLE_NS) {
            (self.since_ns, self.lost_ns) = (now_ns, Some(now_ns));
        }
        is_new
    }

    /// Notes that something came from a replica: it lives.
    pub(super) fn hear(&mut self, from: Incarnation, now_ns: u64) {
        if let Some(known) = self.known.get_mut(&from) {
            known.changed_ns = now_ns;
        }
    }

    /// Returns true if all who live are known: the directory was read, and has not lost an entry
    /// in the time that its writer needs to notice.
    pub(super) fn has_all(&self, now_ns: u64) -> bool {
        let is_whole = |lost_ns| now_ns.saturating_sub(lost_ns) >= SETTLE_NS;
        self.read_ns.is_some() && self.lost_ns.is_none_or(is_whole)
    }

    /// Returns true if there is nobody who may have a window and could not be asked: all are known,
    /// and each of them lives or has left in order.
    pub(super) fn knows_all(&mut self, now_ns: u64) -> bool {
        let begun = self.begun_ns.is_some_and(|ns| now_ns.saturating_sub(ns) >= SETTLE_NS);
        let is_whole = self.lost_ns.is_none_or(|ns| now_ns.saturating_sub(ns) >= FORGET_NS);
        let known: Vec<_> = self.known.keys().copied().collect();
        begun && is_whole && known.into_iter().all(|it| self.life(it, now_ns) != Life::Dead)
    }

    /// Returns true if the directory has been read for long enough to tell who is dead.
    pub(super) fn is_trusted(&self, now_ns: u64) -> bool {
        let is_recent =
            self.read_ns.is_some_and(|read_ns| now_ns.saturating_sub(read_ns) < DOUBT_NS);
        is_recent && now_ns.saturating_sub(self.since_ns) >= LEASE_NS
    }

    /// Returns the state of a replica.
    pub(super) fn life(&mut self, of: Incarnation, now_ns: u64) -> Life {
        let heard_ns = match self.known.get(&of) {
            Some(known) if known.has_left => return Life::Left,
            Some(known) => known.changed_ns,
            // It may have come since the last reading.
            None => *self.strangers.entry(of).or_insert(now_ns),
        };
        let is_silent = self.read_ns.is_some_and(|ns| ns.saturating_sub(heard_ns) >= LEASE_NS);
        if is_silent && self.is_trusted(now_ns) { Life::Dead } else { Life::Live }
    }

    /// Returns the other replicas that live and move windows.
    pub(super) fn peers(&mut self, me: Incarnation, now_ns: u64) -> Vec<Incarnation> {
        let can_move = self.known.iter().filter(|(by, known)| **by != me && known.can_move);
        let mut peers: Vec<_> = can_move.map(|(by, _)| *by).collect();
        peers.retain(|peer| self.life(*peer, now_ns) == Life::Live);
        peers
    }

    /// Returns all replicas that may have left copies behind, this one included.
    pub(super) fn all(&self, me: Incarnation) -> Vec<Incarnation> {
        let mut all: Vec<_> = self.known.keys().copied().collect();
        if !self.known.contains_key(&me) {
            all.push(me);
        }
        all
    }
}
