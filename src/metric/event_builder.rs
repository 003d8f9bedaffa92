//! Event builder: what one object has said so far, and the rules that its values keep.
//!
//! The first broken rule is remembered and no more: the object is still read to its end, because
//! only then it is known to be JSON.

use crate::limits::{CPU_MAX, DEVICE_ID_BYTES_MAX, IGNORED_NAMES_MAX, RPS_MAX};
use crate::metric::batch::Span;
use crate::metric::event::Field;
use crate::metric::json_error::position;
use crate::metric::rejection::{JsonKind, Member, Rejection};

/// The largest value of each field, in the order of [`Field::ALL`].
const VALUES_MAX: [f64; 2] = [CPU_MAX, RPS_MAX];

/// The fields of one object.
#[derive(Debug)]
pub(super) struct EventBuilder {
    /// The object's first byte; rejections count from it.
    start: usize,
    /// One bit a member whose name was seen.
    present: u8,
    /// The first broken rule.
    pub(super) rejection: Option<Rejection>,
    /// Empty if there is none.
    pub(super) device_id: Span,
    /// The timestamp as it is kept, and in milliseconds since 1970.
    pub(super) timestamp: Option<(Span, i64)>,
    /// In the order of [`Field::ALL`].
    pub(super) values: [f64; 2],
    /// The values as they were sent.
    pub(super) literals: [Span; 2],
    /// The names of the first members that mean nothing here; empty where there are fewer.
    pub(super) ignored: [Span; IGNORED_NAMES_MAX],
    ignored_count: usize,
}

impl EventBuilder {
    /// Nothing said yet.
    pub(super) fn new(start: usize) -> Self {
        Self {
            start,
            present: 0,
            rejection: None,
            device_id: Span::default(),
            timestamp: None,
            values: [0.0; 2],
            literals: [Span::default(); 2],
            ignored: [Span::default(); IGNORED_NAMES_MAX],
            ignored_count: 0,
        }
    }

    /// Notes the name of a member that means nothing here.
    #[inline]
    pub(super) fn add_ignored(&mut self, name: Span) {
        if let Some(place) = self.ignored.get_mut(self.ignored_count) {
            *place = name;
            self.ignored_count += 1;
        }
    }

    /// Whether something was ignored though the event names no device, or no time: it may be meant
    /// to be that.
    #[inline]
    pub(super) const fn may_be_misspelt(&self) -> bool {
        const BOTH: u8 = member_bit(Member::Timestamp) | member_bit(Member::DeviceId);
        self.ignored_count > 0 && self.present & BOTH != BOTH
    }

    /// Whether a member's name was seen.
    pub(super) const fn is_present(&self, member: Member) -> bool {
        self.present & member_bit(member) != 0
    }

    /// Notes that a member's name stands at `at`.
    #[inline]
    pub(super) fn set_present(&mut self, member: Member, at: usize) {
        let first = self.present & member_bit(member) == 0;
        self.present |= member_bit(member);
        self.check(first, at, |at| Rejection::Duplicate { member, at });
    }

    /// Remembers the rejection of what stands at `at`, unless it keeps the rule.
    #[inline]
    pub(super) fn check(&mut self, kept: bool, at: usize, broken: impl FnOnce(u32) -> Rejection) {
        if !kept && self.rejection.is_none() {
            self.rejection = Some(broken(position(at.saturating_sub(self.start))));
        }
    }

    /// Takes the value of a field: `None` is too long to be read, and an infinite one out of range.
    #[inline]
    pub(super) fn set_value(&mut self, field: Field, value: Option<f64>, literal: Span, at: usize) {
        let [cpu_max, rps_max] = VALUES_MAX;
        let [cpu, rps] = &mut self.values;
        let [cpu_literal, rps_literal] = &mut self.literals;
        let (place, literal_place, value_max) = match field {
            Field::Cpu => (cpu, cpu_literal, cpu_max),
            Field::Rps => (rps, rps_literal, rps_max),
        };
        let Some(value) = value else {
            return self.check(false, at, |at| Rejection::TooLong { field, at });
        };
        *place = value;
        *literal_place = literal;
        let in_range = (0.0..=value_max).contains(&value);
        self.check(in_range, at, |at| Rejection::Range { field, at });
    }

    /// Notes that the value at `at` is of a kind that the member does not take.
    pub(super) fn reject_type(&mut self, member: Member, found: JsonKind, at: usize) {
        self.check(false, at, |at| Rejection::Type { member, found, at });
    }

    /// Takes the device id, if it keeps its rule.
    #[inline]
    pub(super) fn set_device_id(&mut self, good: bool, id: Span, at: usize) {
        self.device_id = id;
        self.check(good, at, |at| Rejection::DeviceId { at });
    }

    /// Takes the moment of the event, if what was sent is one.
    #[inline]
    pub(super) fn set_timestamp(&mut self, moment: Option<(Span, i64)>, latest_ms: i64, at: usize) {
        self.timestamp = moment;
        self.check(moment.is_some(), at, |at| Rejection::Timestamp { at });
        let future = moment.is_some_and(|(_, ms)| ms > latest_ms);
        self.check(!future, at, |at| Rejection::Future { at });
    }

    /// The first required field without a name.
    #[inline]
    pub(super) fn missing_field(&self) -> Option<Field> {
        Field::ALL.into_iter().find(|&field| !self.is_present(Member::Value(field)))
    }
}

/// The bit of a member in the set of those that were present.
pub(super) const fn member_bit(member: Member) -> u8 {
    match member {
        Member::Timestamp => 1,
        Member::DeviceId => 2,
        Member::Value(Field::Cpu) => 4,
        Member::Value(Field::Rps) => 8,
    }
}

/// Whether these are 1 to [`DEVICE_ID_BYTES_MAX`] bytes of `A-Z a-z 0-9 . _ : -`.
#[inline]
pub(super) fn is_device_id(bytes: &[u8]) -> bool {
    let is_short = (1..=DEVICE_ID_BYTES_MAX).contains(&bytes.len());
    is_short && bytes.iter().all(|byte| is_device_id_byte(*byte))
}

/// Whether a device id may have this byte.
#[inline]
pub(super) fn is_device_id_byte(byte: u8) -> bool {
    DEVICE_ID_BYTES.get(usize::from(byte)) == Some(&true)
}

/// Whether a byte may stand in a device id; a table, because each byte of each id is asked for.
const DEVICE_ID_BYTES: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0_u8;
    while byte < u8::MAX {
        #[expect(clippy::indexing_slicing, reason = "evaluated when compiled; a u8 is in range")]
        let entry = &mut allowed[byte as usize];
        *entry = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
        byte += 1;
    }
    allowed
};
