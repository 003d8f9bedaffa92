//! Members of a metric's object that have a meaning here, and how their names are found.

use crate::limits::DEVICE_ID_BYTES_MAX;
use crate::metric::number::load_word;
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

#[derive(Clone, Debug)]
struct Entry {
    /// The first sixteen bytes of the pattern, as far as it has so many.
    words: [u64; 2],
    masks: [u64; 2],
    /// The name with what is around it: `"cpu":` or `cpu=`.
    pattern: Box<[u8]>,
    member: Member,
    /// The place of the entry that followed this one the last time.
    follower: usize,
}

/// The bytes that are compared as words.
const WORD_BYTES: usize = 16;

/// The place of the entry that stands for the start of an object or line and matches nothing.
pub(super) const OBJECT_START: usize = 0;

impl MemberTable {
    /// Makes the table of the fields of a schema, as line protocol writes them: `cpu=`.
    pub(super) fn of_line_fields(schema: &'static Schema) -> Self {
        let fields = schema.fields().iter();
        let entry = |field: &Field| Entry::new(Member::Value(*field), format!("{}=", field.name()));
        Self::with_start(fields.map(entry))
    }

    /// Makes the table of a schema, as JSON writes its members: `"cpu":`.
    pub(super) fn new(schema: &'static Schema) -> Self {
        let times = schema.timestamp_names.iter().map(|name| Member::Timestamp(name));
        let devices = schema.device_names.iter().map(|name| Member::DeviceId(name));
        let fields = schema.fields().iter().map(|field| Member::Value(*field));
        let entry = |member: Member| Entry::new(member, format!("\"{}\":", member.name()));
        Self::with_start(devices.chain(times).chain(fields).map(entry))
    }

    /// Makes a table of these entries behind the one that stands for the start.
    fn with_start(entries: impl Iterator<Item = Entry>) -> Self {
        let start = Entry::new(Member::Timestamp(""), String::new());
        let start = Entry { words: [1; 2], masks: [0; 2], ..start };
        Self { entries: std::iter::once(start).chain(entries).collect() }
    }

    /// Returns the member whose canonical name, with what is around it, is at `at`; its place, and
    /// the end of the colon or the equals sign. `before` is the place of the member before it.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        text: &[u8],
        at: usize,
        before: usize,
    ) -> Option<(Member, usize, usize)> {
        let word = load_word(text, at);
        let guess = self.entries.get(before)?.follower;
        let entry = self.entries.get(guess)?;
        if entry.is_at(text, at, word) {
            return Some((entry.member, guess, at + entry.pattern.len()));
        }
        self.search(text, at, before)
    }

    #[inline(never)]
    fn search(&mut self, text: &[u8], at: usize, before: usize) -> Option<(Member, usize, usize)> {
        let word = load_word(text, at);
        let place = self.entries.iter().position(|entry| entry.is_at(text, at, word))?;
        self.entries.get_mut(before)?.follower = place;
        let entry = self.entries.get(place)?;
        Some((entry.member, place, at + entry.pattern.len()))
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
        let masks = [mask(0), mask(8)];
        let words = [load_word(&pattern, 0), load_word(&pattern, 8)];
        Self { words, masks, pattern, member, follower: OBJECT_START }
    }

    /// Returns true if the pattern is at `at`, where `word` was loaded.
    #[inline(always)]
    fn is_at(&self, text: &[u8], at: usize, word: u64) -> bool {
        let [first, second] = self.words;
        let [first_mask, second_mask] = self.masks;
        word & first_mask == first
            && (second_mask == 0 || load_word(text, at + 8) & second_mask == second)
            && (self.pattern.len() <= WORD_BYTES || self.is_long_at(text, at))
    }

    #[inline(never)]
    fn is_long_at(&self, text: &[u8], at: usize) -> bool {
        text.get(at..).is_some_and(|rest| rest.starts_with(&self.pattern))
    }
}
