//! The event writer: keeps what the events of a body consist of, whichever reader found it.
//!
//! It owns the values and the text that the body does not contain, and remembers what the log is
//! told about the body.

use crate::limits::{FUTURE_MS_MAX, IGNORED_NAMES_MAX};
use crate::metric::batch::{EventSpans, FieldRows, NO_TIMESTAMP};
use crate::metric::event_builder::EventBuilder;
use crate::metric::member::Member;
use crate::metric::rejection::Rejection;
use crate::metric::span::{Arena, Span};
use crate::metric::timestamp::Timestamp;
use crate::schema::{FieldSet, Schema};
use percore::clock::Now;

/// A writer of the events of one body after the other.
#[derive(Debug)]
pub(super) struct EventWriter {
    pub(super) schema: &'static Schema,
    /// The fields that every event has.
    pub(super) required: FieldSet,
    /// The text that the body does not contain.
    pub(super) arena: Arena,
    /// The values of the events.
    pub(super) rows: FieldRows,
    /// The latest time that an event may have.
    pub(super) latest_ms: i64,
    /// The rejection of the first refused event with a device id, and that id.
    rejected_device: Option<(Rejection, Span)>,
    /// The number of events with ignored members and without a device id or a timestamp.
    events_with_ignored: u64,
    /// The names of the ignored members in the first of them, and what it lacks.
    ignored: Option<([Span; IGNORED_NAMES_MAX], MissingOptional)>,
}

/// The optional members that an event lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingOptional {
    /// True if it has no device id.
    pub device_id: bool,
    /// True if it has no timestamp.
    pub timestamp: bool,
}

impl EventWriter {
    /// Returns a writer of events of this schema.
    pub(super) fn new(schema: &'static Schema) -> Self {
        Self {
            schema,
            required: schema.required_set(),
            arena: Arena::default(),
            rows: FieldRows::new(schema.fields().len()),
            latest_ms: 0,
            rejected_device: None,
            events_with_ignored: 0,
            ignored: None,
        }
    }

    /// Prepares for a body of so many bytes.
    pub(super) fn begin_body(&mut self, body_bytes: usize, received: Now) {
        self.latest_ms = received.wall_ms().saturating_add(FUTURE_MS_MAX);
        self.reset(body_bytes);
    }

    /// Prepares for reading the same body again.
    pub(super) fn reset(&mut self, body_bytes: usize) {
        self.arena.clear(body_bytes);
        self.rows.clear();
        self.rejected_device = None;
        self.events_with_ignored = 0;
        self.ignored = None;
    }

    /// Returns the rejection of the first refused event with a device id, and where that id is.
    pub(super) const fn rejected_device(&self) -> Option<(Rejection, Span)> {
        self.rejected_device
    }

    /// Returns the number of events with ignored members and without a device id or a timestamp,
    /// and of the first of them the ignored names and what it lacks.
    pub(super) fn ignored(&self) -> Option<(u64, &[Span], MissingOptional)> {
        let (names, missing) = self.ignored.as_ref()?;
        Some((self.events_with_ignored, names, *missing))
    }

    /// Sets the timestamp of an event; `None` is a value that is no time.
    pub(super) fn set_timestamp(
        &self,
        event: &mut EventBuilder,
        member: Member,
        timestamp: Option<Timestamp>,
        at: usize,
    ) {
        event.set_timestamp(member, timestamp, self.latest_ms, at);
    }

    /// Returns the event that a builder's members make, or its rejection.
    #[inline]
    pub(super) fn finish(&mut self, event: &EventBuilder) -> Result<EventSpans, Rejection> {
        if let Some(rejection) = event.rejection(self.schema) {
            return Err(self.note_rejected(event, rejection));
        }
        if event.may_be_misspelt() {
            self.note_ignored(event);
        }
        Ok(EventSpans {
            device_id: event.device_id,
            timestamp: event.timestamp.unwrap_or(NO_TIMESTAMP),
            present: event.present,
            row: self.rows.end_row(),
        })
    }

    #[cold]
    fn note_ignored(&mut self, event: &EventBuilder) {
        self.events_with_ignored += 1;
        self.ignored.get_or_insert_with(|| {
            let device_id = !event.is_named(Member::DEVICE_ID_BIT);
            let timestamp = !event.is_named(Member::TIMESTAMP_BIT);
            (event.ignored, MissingOptional { device_id, timestamp })
        });
    }

    /// Takes note of a rejection, and returns it.
    #[cold]
    pub(super) fn note_rejected(
        &mut self,
        event: &EventBuilder,
        rejection: Rejection,
    ) -> Rejection {
        if self.rejected_device.is_none() && !event.device_id.is_empty() {
            self.rejected_device = Some((rejection, event.device_id));
        }
        rejection
    }
}
