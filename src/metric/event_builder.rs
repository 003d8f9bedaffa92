//! The event builder: collects the members of one object, and checks their rules.
//!
//! Only the first broken rule is kept. The object is still read to its end, because only then it is
//! known to be JSON.

use crate::limits::{CPU_MAX, IGNORED_NAMES_MAX, RPS_MAX};
use crate::metric::batch::Span;
use crate::metric::event::Field;
use crate::metric::json_error::position;
use crate::metric::member::Member;
use crate::metric::rejection::{JsonKind, Rejection};

/// The largest value of each field, in the order of [`Field::ALL`].
const VALUES_MAX: [f64; 2] = [CPU_MAX, RPS_MAX];

/// The members that one object has had so far.
#[derive(Debug)]
pub(super) struct EventBuilder {
    /// The offset of the object; rejections count from it.
    start: usize,
    /// The set of members whose names were read: one bit each, see [`member_bit`].
    present: u8,
    /// The first broken rule.
    pub(super) rejection: Option<Rejection>,
    /// The device id; empty if there is none.
    pub(super) device_id: Span,
    /// The timestamp as keys have it, and in milliseconds since 1970.
    pub(super) timestamp: Option<(Span, i64)>,
    /// The values, in the order of [`Field::ALL`].
    pub(super) values: [f64; 2],
    /// The values' literals as they were sent.
    pub(super) literals: [Span; 2],
    /// The names of the first unknown members; empty where there are fewer.
    pub(super) ignored: [Span; IGNORED_NAMES_MAX],
    ignored_count: usize,
}

impl EventBuilder {
    /// Returns a builder for the object at `start`.
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

    /// Adds the name of an unknown member.
    #[inline]
    pub(super) fn add_ignored(&mut self, name: Span) {
        if let Some(place) = self.ignored.get_mut(self.ignored_count) {
            *place = name;
            self.ignored_count += 1;
        }
    }

    /// Returns true if unknown members were ignored and the device id or the timestamp is missing:
    /// one of them may be that under another name.
    #[inline]
    pub(super) const fn may_be_misspelt(&self) -> bool {
        const BOTH: u8 = member_bit(Member::Timestamp) | member_bit(Member::DeviceId);
        self.ignored_count > 0 && self.present & BOTH != BOTH
    }

    /// Returns true if a member's name was read.
    pub(super) const fn is_present(&self, member: Member) -> bool {
        self.present & member_bit(member) != 0
    }

    /// Adds a member whose name is at `at`; a second time is a broken rule.
    #[inline]
    pub(super) fn set_present(&mut self, member: Member, at: usize) {
        let first = self.present & member_bit(member) == 0;
        self.present |= member_bit(member);
        self.check(first, at, |at| Rejection::Duplicate { member, at });
    }

    /// Keeps the rejection of what is at `at`, unless its rule holds or one was broken before it.
    #[inline]
    pub(super) fn check(&mut self, holds: bool, at: usize, broken: impl FnOnce(u32) -> Rejection) {
        if !holds && self.rejection.is_none() {
            self.rejection = Some(broken(position(at.saturating_sub(self.start))));
        }
    }

    /// Sets the value of a field. `None` is a literal too long to be read; infinity is out of
    /// range.
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

    /// Rejects a value at `at` whose kind the member does not allow.
    pub(super) fn reject_type(&mut self, member: Member, found: JsonKind, at: usize) {
        self.check(false, at, |at| Rejection::Type { member, found, at });
    }

    /// Sets the device id; `is_valid` tells if it keeps its rule.
    #[inline]
    pub(super) fn set_device_id(&mut self, is_valid: bool, id: Span, at: usize) {
        self.device_id = id;
        self.check(is_valid, at, |at| Rejection::DeviceId { at });
    }

    /// Sets the timestamp, as keys have it and in milliseconds; `None` is a value that is no time.
    #[inline]
    pub(super) fn set_timestamp(
        &mut self,
        timestamp: Option<(Span, i64)>,
        latest_ms: i64,
        at: usize,
    ) {
        self.timestamp = timestamp;
        self.check(timestamp.is_some(), at, |at| Rejection::Timestamp { at });
        let future = timestamp.is_some_and(|(_, ms)| ms > latest_ms);
        self.check(!future, at, |at| Rejection::Future { at });
    }

    /// Returns the first required field that is absent.
    #[inline]
    pub(super) fn missing_field(&self) -> Option<Field> {
        Field::ALL.into_iter().find(|&field| !self.is_present(Member::Value(field)))
    }
}

/// Returns the bit of a member in a set of members.
pub(super) const fn member_bit(member: Member) -> u8 {
    match member {
        Member::Timestamp => 1,
        Member::DeviceId => 2,
        Member::Value(Field::Cpu) => 4,
        Member::Value(Field::Rps) => 8,
    }
}
