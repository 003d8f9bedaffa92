//! Tables of members, in which their names are found.
//!
//! Nearly all names are canonical, and the members of a device's metrics stand in the same order
//! each time, with the same spaces around them. So a table has patterns: names with what is before
//! and behind them. Each remembers which one followed it last, and that one is compared first, by
//! one or two words.

use std::cell::Cell;

use crate::metric::member::Member;
use crate::metric::word::{byte_at, load_word, word_at};
use crate::schema::{Field, Schema};

/// The members of a schema, to be found by their names.
#[derive(Clone, Debug)]
pub(super) struct MemberTable {
    /// An entry that stands for the start, those that may be the first of an object or line, one
    /// that stands for a member of another name, and those that may follow. The two that stand for
    /// something match nothing.
    entries: Vec<Entry>,
    /// The place of the entry that stands for a member of another name.
    other: usize,
    /// The number of names.
    names: usize,
}

/// A member with a pattern that it is found by: `,"cpu":` or ` cpu=`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The first sixteen bytes of the pattern, as far as it has so many.
    words: [u64; 2],
    masks: [u64; 2],
    /// The bytes of the pattern.
    pub(super) bytes: u32,
    /// The place of the entry that followed this one the last time.
    follower: Cell<u32>,
    /// The place of this entry.
    place: u32,
    /// Its bit, see [`Member::bit`].
    pub(super) bit: u32,
    pub(super) member: Member,
    /// The bytes of its value the last time, where that is a device id.
    pub(super) value_bytes: Cell<u32>,
    /// The place of its name among the names of which the table was made.
    pub(super) index: usize,
    pattern: Box<[u8]>,
}

/// The bytes that are compared as words.
const WORD_BYTES: u32 = 16;

/// A place between the members of an object or line: after one of them, or before the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemberCursor {
    /// The place of the entry before.
    before: u32,
}

/// The texts before and behind a name in a pattern.
type Frame = [&'static str; 2];

impl MemberTable {
    /// Makes the table of a schema, as JSON writes its members, with at most one space after a
    /// comma or a colon.
    pub(super) fn of_objects(schema: &'static Schema) -> Self {
        let firsts = [["{\"", "\":"], ["{\"", "\": "]];
        let followers = [[",\"", "\":"], [", \"", "\": "], [",\"", "\": "], [", \"", "\":"]];
        Self::new(&json_members(schema), &firsts, &followers)
    }

    /// Makes the table of a schema, as JSON writes its names and their colons.
    pub(super) fn of_names(schema: &'static Schema) -> Self {
        Self::new(&json_members(schema), &[["\"", "\":"]], &[["\"", "\":"]])
    }

    /// Makes the table of the fields of a schema, as line protocol writes them.
    pub(super) fn of_line_fields(schema: &'static Schema) -> Self {
        let fields: Vec<_> = schema.fields().iter().copied().map(Member::Value).collect();
        Self::new(&fields, &[[" ", "="]], &[[",", "="]])
    }

    /// Makes the table of the tags that name the device, as line protocol writes them.
    pub(super) fn of_tags(schema: &'static Schema) -> Self {
        let tags = schema.device_tags.iter().map(|name| Member::DeviceId(name));
        Self::new(&tags.collect::<Vec<_>>(), &[[",", "="]], &[[",", "="]])
    }

    fn new(members: &[Member], firsts: &[Frame], followers: &[Frame]) -> Self {
        let framed = |frame: &Frame| {
            let [before, behind] = *frame;
            let entry = move |(index, member): (usize, &Member)| {
                Entry::new(*member, index, format!("{before}{}{behind}", member.name()))
            };
            members.iter().enumerate().map(entry)
        };
        let none = Entry::new(Member::Timestamp(""), 0, String::new());
        let none = Entry { words: [1; 2], masks: [0; 2], ..none };
        let firsts = std::iter::once(none.clone()).chain(firsts.iter().flat_map(framed));
        let mut entries: Vec<_> = firsts.collect();
        let other = entries.len();
        entries.extend(std::iter::once(none).chain(followers.iter().flat_map(framed)));
        (0..).zip(&mut entries).for_each(|(place, entry)| entry.place = place);
        Self { entries, other, names: members.len() }
    }

    /// Returns the entry that stands for the start.
    #[inline(always)]
    pub(super) fn start(&self) -> Option<&Entry> {
        self.entries.first()
    }

    /// Returns the entry that stands for a member of another name.
    #[inline(always)]
    pub(super) fn other(&self) -> Option<&Entry> {
        self.entries.get(self.other)
    }

    /// Returns the entry that follows `before` and whose pattern is at `at`, where `word` is.
    #[inline(always)]
    pub(super) fn next<'a>(
        &'a self,
        before: &Entry,
        text: &[u8],
        at: u32,
        word: u64,
    ) -> Option<&'a Entry> {
        match self.entries.get(before.follower.get() as usize) {
            Some(entry) if entry.is_at(text, at, word) => Some(entry),
            _ => self.search(before, text, at),
        }
    }

    /// Returns the entry that may follow `before` and whose pattern is at `at`; of two, the one
    /// with a space behind the name. It is expected the next time.
    #[inline(never)]
    pub(super) fn search<'a>(&'a self, before: &Entry, text: &[u8], at: u32) -> Option<&'a Entry> {
        let word = word_at(text, at);
        let (firsts, followers) = self.entries.split_at_checked(self.other)?;
        let entries = if before.place == 0 { firsts } else { followers };
        // Where a member is left out, it is likely one of the next.
        let behind = (before.place as usize + 1).saturating_sub(self.other);
        let (earlier, later) = entries.split_at_checked(behind)?;
        let is_at = |entry: &&Entry| entry.is_at(text, at, word);
        let mut entry = later.iter().chain(earlier).find(is_at)?;
        if byte_at(text, at + entry.bytes) == b' ' {
            let is_longer = |other: &&Entry| other.bytes > entry.bytes && is_at(other);
            entry = entries.iter().find(is_longer).unwrap_or(entry);
        }
        before.follower.set(entry.place);
        Some(entry)
    }

    /// Returns the place before the first member of an object or line.
    pub(super) const fn cursor(&self) -> MemberCursor {
        MemberCursor { before: 0 }
    }

    /// Returns the member whose pattern is at `at`, and the end of that. Moves the cursor behind
    /// it.
    pub(super) fn read(
        &self,
        text: &[u8],
        at: u32,
        cursor: &mut MemberCursor,
    ) -> Option<(Member, u32)> {
        let before = self.entries.get(cursor.before as usize)?;
        let entry = self.next(before, text, at, word_at(text, at))?;
        cursor.before = entry.place;
        Some((entry.member, at + entry.bytes))
    }

    /// Returns the member of this name in any case, as the Go service matched names.
    pub(super) fn of_name(&self, name: &[u8]) -> Option<Member> {
        let mut members = self.entries.iter().skip(1).take(self.names).map(|entry| entry.member);
        members.find(|member| name.eq_ignore_ascii_case(member.name().as_bytes()))
    }
}

/// Returns the members that a metric may have in JSON.
fn json_members(schema: &'static Schema) -> Vec<Member> {
    let times = schema.timestamp_names.iter().map(|name| Member::Timestamp(name));
    let devices = schema.device_names.iter().map(|name| Member::DeviceId(name));
    let fields = schema.fields().iter().map(|field: &Field| Member::Value(*field));
    devices.chain(times).chain(fields).collect()
}

impl Entry {
    fn new(member: Member, index: usize, pattern: String) -> Self {
        let pattern: Box<[u8]> = pattern.into_bytes().into();
        let mask = |from: usize| match pattern.len().saturating_sub(from) {
            bytes @ 0..8 => (1_u64 << (8 * bytes)) - 1,
            _ => u64::MAX,
        };
        Self {
            words: [load_word(&pattern, 0), load_word(&pattern, 8)],
            masks: [mask(0), mask(8)],
            bytes: pattern.len() as u32,
            member,
            index,
            bit: member.bit(),
            follower: Cell::new(0),
            value_bytes: Cell::new(0),
            place: 0,
            pattern,
        }
    }

    /// Returns true if the pattern is at `at`, where `word` was loaded.
    #[inline(always)]
    fn is_at(&self, text: &[u8], at: u32, word: u64) -> bool {
        let ([first, second], [first_mask, second_mask]) = (self.words, self.masks);
        if word & first_mask != first || self.bytes <= 8 {
            return word & first_mask == first;
        }
        let is_second = word_at(text, at + 8) & second_mask == second;
        is_second && (self.bytes <= WORD_BYTES || self.is_long_at(text, at))
    }

    #[inline(never)]
    fn is_long_at(&self, text: &[u8], at: u32) -> bool {
        text.get(at as usize..).is_some_and(|rest| rest.starts_with(&self.pattern))
    }
}
