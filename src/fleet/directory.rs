//! The directory: which replicas there are and have been, and what each has counted.
//!
//! It is one hash in Redis. Each replica writes a field of its own, whole, once a second: so a
//! repeated write is harmless, and a lost one is made good by the next. Counters are absolute.
//! Those who have gone stay in it, so that the totals of the fleet never fall; when there are many,
//! the oldest are folded into one field.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::json;
use crate::limits::{
    FLEET_FOLDED_KEPT, FLEET_FORMER_MAX, FLEET_LAPSED_MS, FLEET_LEASE_MS, FLEET_TEXT_BYTES_MAX,
};
use crate::store::redis::command::Reply;

/// The form of entries and messages. Replicas of other forms are listed, and not asked.
pub(super) const PROTOCOL: u32 = 1;

/// The field of the hash that has the folded entries.
pub(super) const FOLDED_FIELD: &str = "0";

const LEASE_US: i64 = FLEET_LEASE_MS as i64 * 1000;
const LAPSED_US: i64 = FLEET_LAPSED_MS as i64 * 1000;

/// Entries that are folded together: a member that misses a beat still finds the names of all that
/// were folded since it looked.
const FOLDED_AT_ONCE: usize = FLEET_FOLDED_KEPT / 4;

/// The name of one life of a replica: a random number, as a counter would begin anew with a Redis
/// that has lost its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Incarnation(pub(super) u64);

impl Incarnation {
    /// Returns its digits, which are its name in keys.
    pub(super) fn digits(self) -> [u8; 16] {
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        std::array::from_fn(|place| digit((self.0 >> (60 - 4 * place) & 0xf) as u8))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digits().iter().try_for_each(|digit| out.write_char(char::from(*digit)))
    }
}

impl FromStr for Incarnation {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let known = u64::from_str_radix(text, 16).ok().map(Self);
        known.filter(|known| known.to_string() == text).ok_or(())
    }
}

/// Counters by name. They are added up by name as well, so that a replica carries those of a later
/// version without knowing them. `lost` may be negative: of who was taken for dead and came back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Totals(BTreeMap<String, i64>);

/// The counter of events that wait for the store. What a replica that died had pending is lost.
const PENDING: &str = "pending";

/// The counter of events that replicas took along when they died.
const LOST: &str = "lost";

impl Totals {
    /// Returns a counter; 0 if there is none of this name.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |value| u64::try_from(*value).unwrap_or_default())
    }

    /// Sets a counter.
    pub fn set(&mut self, name: &str, value: u64) {
        self.0.insert(name.to_owned(), i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Adds all counters of another one.
    pub fn add(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*value);
        }
    }

    /// Returns the counters of a replica that is gone: nothing of it waits any more.
    fn of_gone(&self) -> Self {
        let mut totals = self.clone();
        let lost = totals.0.remove(PENDING).unwrap_or_default();
        let sum = totals.0.entry(LOST.to_owned()).or_default();
        *sum = sum.saturating_add(lost);
        totals
    }

    /// Returns what was counted since `base`, of a replica that was taken for dead then: what it
    /// had pending was counted as lost, and is not.
    pub(super) fn since(&self, base: &Self) -> Self {
        let mut rest = self.clone();
        for (name, before) in &base.0 {
            let name = if name == PENDING { LOST } else { name };
            let value = rest.0.entry(name.to_owned()).or_default();
            *value = value.saturating_sub(*before);
        }
        rest
    }
}

/// An entry of the directory, which a replica writes of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    /// See [`PROTOCOL`].
    pub(super) protocol: u32,
    /// The name of the instance.
    pub(super) instance: String,
    /// The version of the program.
    pub(super) version: String,
    /// The last part of the key of its mailbox.
    pub(super) mailbox: String,
    /// The settings that should be the same everywhere, by their flags.
    pub(super) settings: BTreeMap<String, String>,
    /// The start, in fleet time.
    pub(super) started_us: i64,
    /// The time at which this was written, in fleet time.
    pub(super) seen_us: i64,
    /// True if it has ended in order, and will never come back.
    pub(super) left: bool,
    /// True if it takes messages, and with them gives and takes windows of devices.
    pub(super) moves: bool,
    /// The time at which it found that Redis had lost its entry, in fleet time; 0 if it never did.
    /// It is the first to write after such a loss, and writes for the others, too: these find their
    /// entries, and know of the loss by this alone.
    pub(super) lost_us: i64,
    /// Its counters.
    pub(super) totals: Totals,
}

/// The state of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It wrote its entry within the time of the lease.
    Live,
    /// It did not, nor did it leave: it was killed, is frozen, or cannot reach Redis.
    Lapsed,
    /// It has ended in order.
    Left,
}

impl Entry {
    /// Reads an entry; `None` if it is none, or has a name that is too long to be told.
    fn read(json: &[u8]) -> Option<Self> {
        let entry: Self = json::read(json)?;
        let texts = [&entry.instance, &entry.version, &entry.mailbox];
        texts.iter().all(|text| text.len() <= FLEET_TEXT_BYTES_MAX).then_some(entry)
    }

    /// Returns what should be the same everywhere.
    const fn common(&self) -> (u32, &String, &BTreeMap<String, String>) {
        (self.protocol, &self.version, &self.settings)
    }

    /// Returns true if it is there, or missed: it has not left, and was heard of a minute ago at
    /// most.
    pub(super) const fn is_expected(&self, now_us: i64) -> bool {
        !self.left && now_us.saturating_sub(self.seen_us) < LAPSED_US
    }

    /// Returns the state at this time.
    pub(super) const fn state(&self, now_us: i64) -> MemberState {
        if self.left {
            MemberState::Left
        } else if now_us.saturating_sub(self.seen_us) < LEASE_US {
            MemberState::Live
        } else {
            MemberState::Lapsed
        }
    }
}

/// The counters of entries that were folded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Folded {
    /// Their sums.
    pub(super) totals: Totals,
    /// The last ones that were folded, by their field, with what they brought in: one may have been
    /// frozen, and come back.
    pub(super) last: Vec<(String, Totals)>,
}

/// The entries that Redis has lost.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Entries that are not there.
    pub(super) absent: Vec<(Incarnation, Entry)>,
    /// Entries of which an older one is there.
    pub(super) older: Vec<(Incarnation, Entry)>,
    pub(super) folded: Option<Folded>,
}

/// The directory as it was last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) entries: BTreeMap<Incarnation, Entry>,
    pub(super) folded: Folded,
    /// Fields that could not be read.
    pub(super) unreadable: usize,
}

impl Directory {
    /// Reads the reply to `HGETALL`.
    pub(super) fn read(reply: &Reply) -> Option<Self> {
        let Reply::List(parts) = reply else {
            return None;
        };
        let mut directory = Self::default();
        for pair in parts.chunks(2) {
            let [Reply::Bytes(field), Reply::Bytes(value)] = pair else {
                return None;
            };
            let field = str::from_utf8(field).unwrap_or_default();
            if field == FOLDED_FIELD {
                match json::read(value) {
                    Some(folded) => directory.folded = folded,
                    None => directory.unreadable += 1,
                }
            } else if let (Ok(incarnation), Some(entry)) = (field.parse(), Entry::read(value)) {
                directory.entries.insert(incarnation, entry);
            } else {
                directory.unreadable += 1;
            }
        }
        Some(directory)
    }

    /// Returns the sums of all who are gone; `me`, who asks, is not.
    pub(super) fn totals_of_gone(&self, me: Incarnation, now_us: i64) -> Totals {
        let mut totals = self.folded.totals.clone();
        let is_gone = |(who, entry): &(&Incarnation, &Entry)| {
            **who != me && entry.state(now_us) != MemberState::Live
        };
        let gone = self.entries.iter().filter(is_gone);
        gone.for_each(|(who, entry)| totals.add(&self.rest_of(*who, &entry.totals).of_gone()));
        totals
    }

    /// Returns the number of members that are missed.
    pub(super) fn missed(&self, me: Incarnation, now_us: i64) -> usize {
        let lapsed = self.peers(me, MemberState::Lapsed, now_us).into_iter();
        let entries = lapsed.filter_map(|peer| self.entries.get(&peer));
        entries.filter(|entry| entry.is_expected(now_us)).count()
    }

    /// Returns true if a member has other settings than `me`, or is of another version.
    pub(super) fn differs(&self, me: Incarnation, peer: Incarnation) -> bool {
        let of = |who| self.entries.get(&who).map(Entry::common);
        of(me).is_some_and(|own| of(peer).is_some_and(|other| own != other))
    }

    /// Returns those of the counters of a member that are not in the folded sums: one that was
    /// frozen for long may write its entry once more before it has seen that it was folded.
    pub(super) fn rest_of(&self, who: Incarnation, totals: &Totals) -> Totals {
        self.was_folded(who).map_or_else(|| totals.clone(), |folded| totals.since(folded))
    }

    /// Takes what a member has told of itself in an answer, if it is newer than its entry: Redis
    /// has it already.
    pub(super) fn hear(&mut self, from: Incarnation, at_us: i64, totals: &Totals) {
        let entry = self.entries.get_mut(&from);
        if let Some(entry) = entry.filter(|entry| entry.seen_us < at_us && !entry.left) {
            entry.seen_us = at_us;
            entry.totals = totals.clone();
        }
    }

    /// Returns the members in this state but for `me`.
    pub(super) fn peers(
        &self,
        me: Incarnation,
        state: MemberState,
        now_us: i64,
    ) -> Vec<Incarnation> {
        let others = self.entries.iter();
        let others = others.filter(|(peer, it)| **peer != me && it.state(now_us) == state);
        others.map(|(peer, _)| *peer).collect()
    }

    /// Returns true if `me` is to fold entries now: the live member of the least name does.
    pub(super) fn folds(&self, me: Incarnation, now_us: i64, after_us: i64) -> bool {
        let is_due = self.to_fold(now_us, after_us).iter().any(|who| *who != me);
        is_due && self.peers(me, MemberState::Live, now_us).iter().all(|peer| *peer > me)
    }

    /// Returns what an entry of this name brought in, if it was folded lately.
    pub(super) fn was_folded(&self, incarnation: Incarnation) -> Option<&Totals> {
        let name = incarnation.to_string();
        self.folded.last.iter().find(|(folded, _)| *folded == name).map(|(_, totals)| totals)
    }

    /// Returns true if the entry of a member is newer here than in another reading.
    pub(super) fn is_newer(&self, who: Incarnation, other: &Self) -> bool {
        let seen_us = |directory: &Self| directory.entries.get(&who).map(|entry| entry.seen_us);
        seen_us(self) > seen_us(other)
    }

    /// Takes from `known`, an earlier reading, what Redis has lost since: all of it if it has lost
    /// its memory, and the last writes if a replica without them has become the primary. Entries
    /// that are not there are lost unless they were folded; with `is_old`, too many may have been
    /// folded since `known` to tell. Returns what is to be written again.
    pub(super) fn recover(&mut self, known: Self, is_old: bool, now_us: i64) -> Lost {
        let mut lost = Lost::default();
        for (incarnation, entry) in known.entries {
            let read = self.entries.get(&incarnation);
            let is_absent = !is_old && read.is_none();
            let is_older = read.is_some_and(|read| read.seen_us < entry.seen_us);
            if !(is_absent || is_older) || self.was_folded(incarnation).is_some() {
                continue;
            }
            // Who lives writes its entry itself.
            if entry.state(now_us) != MemberState::Live {
                let list = if is_absent { &mut lost.absent } else { &mut lost.older };
                list.push((incarnation, entry.clone()));
            }
            self.entries.insert(incarnation, entry);
        }
        if self.folded == Folded::default() && known.folded != self.folded {
            lost.folded = Some(known.folded.clone());
            self.folded = known.folded;
        }
        lost
    }

    /// Returns those entries that are to be folded: of who has been gone for `after_us`, and the
    /// oldest of too many who are gone; few at once, so that all who are there learn of each.
    pub(super) fn to_fold(&self, now_us: i64, after_us: i64) -> Vec<Incarnation> {
        let mut gone: Vec<_> = self.entries.iter().collect();
        // Who has written once more after it was folded begins anew, and removes that.
        let is_gone = |(who, entry): &(&Incarnation, &Entry)| {
            entry.state(now_us) != MemberState::Live && self.was_folded(**who).is_none()
        };
        gone.retain(is_gone);
        gone.sort_by_key(|(_, entry)| entry.seen_us);
        let surplus = gone.len().saturating_sub(FLEET_FORMER_MAX);
        let is_due = |(at, entry): &(usize, &Entry)| {
            *at < surplus || now_us.saturating_sub(entry.seen_us) > after_us
        };
        let due = gone.iter().enumerate().filter(|(at, (_, entry))| is_due(&(*at, entry)));
        due.map(|(_, (incarnation, _))| **incarnation).take(FOLDED_AT_ONCE).collect()
    }

    /// Returns the folded entries, these among them.
    pub(super) fn fold(&self, which: &[Incarnation]) -> Folded {
        let mut folded = self.folded.clone();
        for incarnation in which {
            if let Some(entry) = self.entries.get(incarnation) {
                folded.totals.add(&entry.totals.of_gone());
                folded.last.push((incarnation.to_string(), entry.totals.clone()));
            }
        }
        let surplus = folded.last.len().saturating_sub(FLEET_FOLDED_KEPT);
        // The name of one that has an entry is needed as long as that is there.
        let is_there = |name: &str| name.parse().is_ok_and(|who| self.entries.contains_key(&who));
        let mut at = 0;
        folded.last.retain(|(name, _)| {
            at += 1;
            at > surplus || is_there(name)
        });
        folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(counts: &[(&str, u64)]) -> Totals {
        let mut totals = Totals::default();
        counts.iter().for_each(|(name, count)| totals.set(name, *count));
        totals
    }

    fn entry(seen_us: i64, left: bool, counts: &[(&str, u64)]) -> Entry {
        Entry { seen_us, left, totals: totals(counts), ..Entry::default() }
    }

    #[test]
    fn names_have_one_form() {
        assert_eq!("00000000000000ff".parse(), Ok(Incarnation(255)));
        for wrong in ["", "0", "ff", "00000000000000FF", "+0000000000000ff", "x"] {
            assert_eq!(wrong.parse::<Incarnation>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn what_the_dead_had_pending_is_lost() {
        let mut directory = Directory::default();
        let counts = [("accepted", 10), ("stored", 7), ("pending", 3)];
        directory.entries.insert(Incarnation(1), entry(0, false, &counts));
        directory.entries.insert(Incarnation(2), entry(9_000_000, false, &counts));
        let left = [("accepted", 5), ("stored", 5), ("pending", 0)];
        directory.entries.insert(Incarnation(3), entry(0, true, &left));
        let gone = directory.totals_of_gone(Incarnation(9), 10_000_000);
        assert_eq!(gone, totals(&[("accepted", 15), ("stored", 12), ("lost", 3)]));
        // Folding changes no sum.
        let which = directory.to_fold(10_000_000, 5_000_000);
        assert_eq!(which, [Incarnation(1), Incarnation(3)]);
        directory.folded = directory.fold(&which);
        which.iter().for_each(|gone| drop(directory.entries.remove(gone)));
        assert_eq!(directory.totals_of_gone(Incarnation(9), 10_000_000), gone);
        assert_eq!(directory.was_folded(Incarnation(1)), Some(&totals(&counts)));
        assert_eq!(directory.was_folded(Incarnation(2)), None);
    }

    #[test]
    fn of_many_who_are_gone_the_oldest_are_folded() {
        let mut directory = Directory::default();
        for number in 0..FLEET_FORMER_MAX as u64 + 3 {
            let seen_us = number.cast_signed() * 10;
            directory.entries.insert(Incarnation(number), entry(seen_us, true, &[]));
        }
        let which = directory.to_fold(1000, i64::MAX);
        assert_eq!(which, [Incarnation(0), Incarnation(1), Incarnation(2)]);
    }

    #[test]
    fn what_redis_has_lost_is_written_again() {
        let mut known = Directory::default();
        known.folded.totals.set("accepted", 7);
        let counts = [("accepted", 10)];
        for (number, seen_us, left) in [(1, 0, true), (2, 9_500_000, false), (3, 5, false)] {
            known.entries.insert(Incarnation(number), entry(seen_us, left, &counts));
        }
        let now_us = 10_000_000;
        let mut emptied = Directory::default();
        let lost = emptied.recover(known.clone(), false, now_us);
        assert_eq!(emptied, known);
        // Of who was away for long, others may have folded all of it.
        let mut folded = Directory { folded: known.folded.clone(), ..Directory::default() };
        assert_eq!(folded.recover(known.clone(), true, now_us), Lost::default());
        assert!(folded.entries.is_empty());
        let names: Vec<_> = lost.absent.iter().map(|(name, _)| name.0).collect();
        assert_eq!((names, lost.folded), (vec![1, 3], Some(known.folded.clone())));
        // One that lacks the last write of who has left.
        let mut behind = known.clone();
        behind.entries.insert(Incarnation(1), entry(-1, false, &[]));
        let lost = behind.recover(known.clone(), false, now_us);
        assert_eq!(behind, known);
        assert_eq!((lost.absent, lost.older.len()), (vec![], 1));
        // One of whom another member has folded.
        let mut folded = known.clone();
        folded.folded = folded.fold(&[Incarnation(1)]);
        folded.entries.remove(&Incarnation(1));
        let expected = folded.clone();
        assert_eq!(folded.recover(known, false, now_us), Lost::default());
        assert_eq!(folded, expected);
    }

    #[test]
    fn whatever_is_in_the_hash_is_read_or_counted() {
        let bytes = |text: &str| Reply::Bytes(text.as_bytes().to_vec());
        let known = r#"{"instance":"a","later":[1],"totals":{"accepted":3}}"#;
        let hash = [
            bytes("0000000000000001"),
            bytes(known),
            bytes("0000000000000002"),
            bytes("{"),
            bytes("0000000000000003"),
            bytes(&"[".repeat(100_000)),
            bytes("0000000000000004"),
            bytes(&format!(r#"{{"instance":"{}"}}"#, "a".repeat(FLEET_TEXT_BYTES_MAX + 1))),
            bytes("else"),
            bytes("{}"),
            bytes("0"),
            bytes("3"),
        ];
        let directory = Directory::read(&Reply::List(hash.to_vec())).unwrap();
        assert_eq!((directory.entries.len(), directory.unreadable), (1, 5));
        assert_eq!(directory.entries[&Incarnation(1)].totals.get("accepted"), 3);
        for wrong in [Reply::Nil, Reply::Integer(1), Reply::List(vec![bytes("0")])] {
            assert_eq!(Directory::read(&wrong), None);
        }
    }
}
