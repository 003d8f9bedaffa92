//! The event builder: collects the members of one object, and checks their rules.
//!
//! Only the first broken rule is kept. The object is still read to its end, because only then it is
//! known to be JSON.

use crate::limits::IGNORED_NAMES_MAX;
use crate::metric::batch::FieldRows;
use crate::metric::json_error::position;
use crate::metric::member::Member;
use crate::metric::rejection::{JsonKind, Rejection};
use crate::metric::span::Span;
use crate::metric::timestamp::Timestamp;
use crate::schema::{Field, FieldSet, Schema};

/// The members that one object has had so far.
#[derive(Debug)]
pub(super) struct EventBuilder {
    /// The offset of the object; rejections count from it.
    start: usize,
    /// The set of members whose names were read: one bit each, see [`Member::bit`].
    named: u32,
    /// The fields that have values.
    pub(super) present: FieldSet,
    /// The first broken rule.
    pub(super) rejection: Option<Rejection>,
    /// The device id; empty if there is none.
    pub(super) device_id: Span,
    /// The timestamp, if there is one.
    pub(super) timestamp: Option<Timestamp>,
    /// The names of the first unknown members; empty where there are fewer.
    pub(super) ignored: [Span; IGNORED_NAMES_MAX],
    ignored_count: usize,
}

impl EventBuilder {
    /// Returns a builder for the object at `start`.
    pub(super) fn new(start: usize) -> Self {
        Self {
            start,
            named: 0,
            present: FieldSet::default(),
            rejection: None,
            device_id: Span::default(),
            timestamp: None,
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
        const BOTH: u32 = Member::TIMESTAMP_BIT | Member::DEVICE_ID_BIT;
        self.ignored_count > 0 && self.named & BOTH != BOTH
    }

    /// Returns true if the name of a member with this bit was read.
    pub(super) const fn is_named(&self, bit: u32) -> bool {
        self.named & bit != 0
    }

    /// Adds a member whose name is at `at`; a second time is a broken rule.
    #[inline]
    pub(super) fn set_present(&mut self, member: Member, at: usize) {
        let first = !self.is_named(member.bit());
        self.named |= member.bit();
        self.check(first, at, |at| Rejection::Duplicate { member, at });
    }

    /// Keeps the rejection of what is at `at`, unless its rule holds or one was broken before it.
    #[inline]
    pub(super) fn check(&mut self, holds: bool, at: usize, broken: impl FnOnce(u32) -> Rejection) {
        if !holds && self.rejection.is_none() {
            self.rejection = Some(broken(position(at.saturating_sub(self.start))));
        }
    }

    /// Sets the value of a field, in the row that is being filled. `None` is a literal too long to
    /// be read; infinity is out of range.
    #[inline]
    pub(super) fn set_value(
        &mut self,
        rows: &mut FieldRows,
        field: Field,
        value: Option<f64>,
        literal: Span,
        at: usize,
    ) {
        let Some(value) = value else {
            return self.check(false, at, |at| Rejection::TooLong { field, at });
        };
        rows.set(field.index(), value, literal);
        self.present.insert(field);
        self.check(field.accepts(value), at, |at| Rejection::Range { field, at });
    }

    /// Rejects a value at `at` whose kind the member does not allow.
    pub(super) fn reject_type(&mut self, member: Member, found: JsonKind, at: usize) {
        self.check(false, at, |at| Rejection::Type { member, found, at });
    }

    /// Sets the device id; `is_valid` tells if it keeps its rule.
    #[inline]
    pub(super) fn set_device_id(&mut self, member: Member, is_valid: bool, id: Span, at: usize) {
        self.device_id = id;
        self.check(is_valid, at, |at| Rejection::DeviceId { member, at });
    }

    /// Sets the timestamp; `None` is a value that is no time.
    #[inline]
    pub(super) fn set_timestamp(
        &mut self,
        member: Member,
        timestamp: Option<Timestamp>,
        latest_ms: i64,
        at: usize,
    ) {
        self.timestamp = timestamp;
        self.check(timestamp.is_some(), at, |at| Rejection::Timestamp { member, at });
        let future = timestamp.is_some_and(|timestamp| timestamp.ms > latest_ms);
        self.check(!future, at, |at| Rejection::Future { member, at });
    }

    /// Returns the first broken rule, once all members were added.
    #[inline]
    pub(super) fn rejection(&self, schema: &'static Schema) -> Option<Rejection> {
        if self.rejection.is_some() || self.present.is_event(schema.required_set()) {
            return self.rejection;
        }
        let missing = schema.required().iter().find(|field| !self.present.contains(**field));
        Some(missing.map_or(Rejection::NoField { schema }, |&field| Rejection::Missing { field }))
    }
}
