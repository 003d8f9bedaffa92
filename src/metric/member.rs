//! Members of a metric's object that have a meaning here, and how their names are found.

use std::cell::Cell;

use crate::limits::DEVICE_ID_BYTES_MAX;
use crate::metric::word::load_word;
use crate::schema::{Field, Schema};

/// A member of a metric's object. A *field* is one that holds a measured value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// The time of the measurement, by the name that carries it.
    Timestamp(&'static str),
    /// The device that measured, by the name that carries it.
    DeviceId(&'static str),
    /// A measured value.
    Value(Field),
}

impl Member {
    /// The bit of the time in a set of members; fields have the bits of their indexes.
    pub(super) const TIMESTAMP_BIT: u32 = 1 << 16;

    /// The bit of the device id in a set of members.
    pub(super) const DEVICE_ID_BIT: u32 = 1 << 17;

    /// The name in its canonical spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timestamp(name) | Self::DeviceId(name) => name,
            Self::Value(field) => field.name(),
        }
    }

    /// Returns what the value of this member must be, in the words of an error text.
    pub(super) fn expectation(self) -> &'static str {
        match self {
            Self::Timestamp(_) => "a number of s, ms, us or ns or an ISO 8601 time since 1970",
            Self::DeviceId(_) => "1 to 128 bytes of A-Z a-z 0-9 . _ : -",
            Self::Value(field) => field.expectation(),
        }
    }

    /// Returns true if `null` stands for its absence.
    pub(super) const fn is_optional(self) -> bool {
        match self {
            Self::Value(field) => !field.is_required(),
            Self::Timestamp(_) | Self::DeviceId(_) => true,
        }
    }

    /// Returns its bit in a set of members. All names of one thing have the same bit.
    #[inline(always)]
    pub(super) const fn bit(self) -> u32 {
        match self {
            Self::Timestamp(_) => Self::TIMESTAMP_BIT,
            Self::DeviceId(_) => Self::DEVICE_ID_BIT,
            Self::Value(field) => 1 << field.index(),
        }
    }
}

// The limit that the expectation writes out.
const _: () = assert!(DEVICE_ID_BYTES_MAX == 128);

/// The members of a schema, to be found by their names.
///
/// Nearly all names are canonical, and the members of a device's metrics stand in the same order
/// each time. So each entry remembers which one followed it last; that one is compared first, by
/// one or two words.
#[derive(Clone, Debug)]
pub(super) struct MemberTable {
    entries: Vec<Entry>,
}

/// A member with its pattern: the name and what is around it, `"cpu":` or `cpu=`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The first sixteen bytes of the pattern, as far as it has so many.
    words: [u64; 2],
    masks: [u64; 2],
    /// The bytes of the pattern.
    bytes: usize,
    pub(super) member: Member,
    /// Its bit, see [`Member::bit`].
    pub(super) bit: u32,
    /// The place of the entry that followed this one the last time.
    follower: Cell<u32>,
    /// The place of this entry.
    place: u32,
    pattern: Box<[u8]>,
}

/// The bytes that are compared as words.
const WORD_BYTES: usize = 16;

/// A place between the members of an object or line: after one of them, or before the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemberCursor {
    before: u32,
    /// The place of the entry that is expected next.
    guess: u32,
}

impl MemberTable {
    /// Makes the table of the fields of a schema, as line protocol writes them: `cpu=`.
    pub(super) fn of_line_fields(schema: &'static Schema) -> Self {
        let fields = schema.fields().iter();
        let entry = |field: &Field| Entry::new(Member::Value(*field), format!("{}=", field.name()));
        Self::with_start(fields.map(entry))
    }

    /// Makes the table of the tags that name the device, as line protocol writes them: `host=`.
    pub(super) fn of_tags(schema: &'static Schema) -> Self {
        let tag = |name: &'static String| Entry::new(Member::DeviceId(name), format!("{name}="));
        Self::with_start(schema.device_tags.iter().map(tag))
    }

    /// Makes the table of a schema, as JSON writes its members: `"cpu":`.
    pub(super) fn new(schema: &'static Schema) -> Self {
        let times = schema.timestamp_names.iter().map(|name| Member::Timestamp(name));
        let devices = schema.device_names.iter().map(|name| Member::DeviceId(name));
        let fields = schema.fields().iter().map(|field| Member::Value(*field));
        let entry = |member: Member| Entry::new(member, format!("\"{}\":", member.name()));
        Self::with_start(devices.chain(times).chain(fields).map(entry))
    }

    /// Makes a table of these entries behind the one that stands for the start and matches nothing.
    fn with_start(entries: impl Iterator<Item = Entry>) -> Self {
        let start = Entry::new(Member::Timestamp(""), String::new());
        let start = Entry { words: [1; 2], masks: [0; 2], ..start };
        let entries = std::iter::once(start).chain(entries);
        Self {
            entries: (0..).zip(entries).map(|(place, entry)| Entry { place, ..entry }).collect(),
        }
    }

    /// Returns the place before the first member of an object or line.
    #[inline(always)]
    pub(super) fn start(&self) -> MemberCursor {
        self.entries.first().map_or(MemberCursor { before: 0, guess: 0 }, Entry::cursor)
    }

    /// Returns the member whose canonical name, with what is around it, is at `at`, and the end of
    /// the colon or the equals sign. Moves the cursor behind it.
    #[inline(always)]
    pub(super) fn read(
        &self,
        text: &[u8],
        at: usize,
        cursor: &mut MemberCursor,
    ) -> Option<(&Entry, usize)> {
        let word = load_word(text, at);
        let guessed = self.entries.get(cursor.guess as usize);
        let entry = match guessed {
            Some(entry) if entry.is_at(text, at, word) => entry,
            _ => self.search(text, at, *cursor)?,
        };
        *cursor = entry.cursor();
        Some((entry, at + entry.bytes))
    }

    #[inline(never)]
    fn search(&self, text: &[u8], at: usize, cursor: MemberCursor) -> Option<&Entry> {
        let word = load_word(text, at);
        // Where a member is left out, it is likely one of the next.
        let (before, after) = self.entries.split_at_checked(cursor.before as usize + 1)?;
        let entry = after.iter().chain(before).find(|entry| entry.is_at(text, at, word))?;
        self.entries.get(cursor.before as usize)?.follower.set(entry.place);
        Some(entry)
    }

    /// Returns the member of this name in any case, as the Go service matched names.
    pub(super) fn of_name(&self, name: &[u8]) -> Option<Member> {
        let members = self.entries.iter().skip(1).map(|entry| entry.member);
        members.into_iter().find(|member| name.eq_ignore_ascii_case(member.name().as_bytes()))
    }
}

impl Entry {
    fn new(member: Member, pattern: String) -> Self {
        let pattern: Box<[u8]> = pattern.into_bytes().into();
        let mask = |from: usize| match pattern.len().saturating_sub(from) {
            bytes @ 0..8 => (1_u64 << (8 * bytes)) - 1,
            _ => u64::MAX,
        };
        Self {
            words: [load_word(&pattern, 0), load_word(&pattern, 8)],
            masks: [mask(0), mask(8)],
            bytes: pattern.len(),
            member,
            bit: member.bit(),
            follower: Cell::new(0),
            place: 0,
            pattern,
        }
    }

    /// Returns its place among the names of which the table was made.
    #[inline(always)]
    pub(super) const fn index(&self) -> usize {
        self.place as usize - 1
    }

    /// Returns the place behind this member.
    #[inline(always)]
    fn cursor(&self) -> MemberCursor {
        MemberCursor { before: self.place, guess: self.follower.get() }
    }

    /// Returns true if the pattern is at `at`, where `word` was loaded.
    #[inline(always)]
    fn is_at(&self, text: &[u8], at: usize, word: u64) -> bool {
        let ([first, second], [first_mask, second_mask]) = (self.words, self.masks);
        if word & first_mask != first || self.bytes <= 8 {
            return word & first_mask == first;
        }
        let is_second = load_word(text, at + 8) & second_mask == second;
        is_second && (self.bytes <= WORD_BYTES || self.is_long_at(text, at))
    }

    #[inline(never)]
    fn is_long_at(&self, text: &[u8], at: usize) -> bool {
        text.get(at..).is_some_and(|rest| rest.starts_with(&self.pattern))
    }
}
