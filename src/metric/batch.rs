//! Batches: the decoded items of one body.
//!
//! A batch is complete before any event of it is applied, because a syntax error in the last
//! element of an array costs the whole request. Items are kept as offsets into the body, so that
//! their storage has no lifetime and serves every request of a core.

use std::ops::Range;

use crate::metric::event::{Event, Literals};
use crate::metric::json_error::position;
use crate::metric::rejection::Rejection;
use crate::metric::span::{Arena, SentLiterals, Span, bytes};
use crate::metric::timestamp::Timestamp;
use crate::schema::FieldSet;

/// An [`Event`] as offsets; [`Batch::event`] resolves them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EventSpans {
    pub(super) device_id: Span,
    pub(super) timestamp: Timestamp,
    /// The place of its first value in [`FieldRows`].
    pub(super) row: u32,
    /// The fields that it has, at least one.
    pub(super) present: FieldSet,
}

/// The timestamp of an event that was sent without one, until one is assigned to it. No time is
/// before 1970.
pub(super) const NO_TIMESTAMP: Timestamp = Timestamp { key: 0, ms: -1 };

/// The items of one body, in their order.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// The events. One without a field stands for a rejection, and its row for the place of that.
    events: Vec<EventSpans>,
    rejections: Vec<Rejection>,
}

impl Items {
    /// Removes all items, and keeps their memory.
    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.rejections.clear();
    }

    /// Returns the number of items.
    #[inline(always)]
    pub(super) const fn len(&self) -> usize {
        self.events.len()
    }

    /// Returns the number of events.
    pub(super) const fn accepted(&self) -> usize {
        self.events.len() - self.rejections.len()
    }

    /// Adds an event.
    #[inline(always)]
    pub(super) fn push(&mut self, event: EventSpans) {
        self.events.push(event);
    }

    /// Adds a rejection.
    pub(super) fn push_rejection(&mut self, rejection: Rejection) {
        let row = position(self.rejections.len());
        self.rejections.push(rejection);
        self.events.push(EventSpans { row, ..EventSpans::default() });
    }

    /// Rejects an event after all, by its index. Returns its device id.
    pub(super) fn reject(&mut self, index: usize, rejection: Rejection) -> Option<Span> {
        let event = self.events.get_mut(index)?;
        (event.row, event.present) = (position(self.rejections.len()), FieldSet::default());
        self.rejections.push(rejection);
        Some(event.device_id)
    }

    /// Puts a rejection in the place of each event for which `check` returns one; it may change the
    /// event as well.
    pub(super) fn reject_where(
        &mut self,
        mut check: impl FnMut(&mut EventSpans) -> Option<Rejection>,
    ) {
        let events = self.events.iter_mut().filter(|event| event.present != FieldSet::default());
        for event in events {
            if let Some(rejection) = check(event) {
                let row = position(self.rejections.len());
                self.rejections.push(rejection);
                *event = EventSpans { row, ..EventSpans::default() };
            }
        }
    }

    /// Returns the items by reference.
    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = Result<&EventSpans, &Rejection>> {
        self.events.iter().map(|event| {
            let is_event = event.present != FieldSet::default();
            let rejection = if is_event { None } else { self.rejections.get(event.row as usize) };
            rejection.map_or(Ok(event), Err)
        })
    }
}

/// The values of a batch's events and the spans of their literals: a row for each event, with a
/// place for each field of the schema. Places of absent fields hold anything.
#[derive(Debug, Default)]
pub(super) struct FieldRows {
    stride: u32,
    /// The place of the first value of the row that is being filled.
    row: u32,
    values: Vec<f64>,
    literals: Vec<Span>,
}

impl FieldRows {
    /// Returns rows of so many fields.
    pub(super) fn new(stride: usize) -> Self {
        Self { stride: position(stride), ..Self::default() }
    }

    /// Removes all rows, and keeps their memory.
    pub(super) const fn clear(&mut self) {
        self.row = 0;
    }

    /// Makes room for the row to be filled.
    #[inline(always)]
    pub(super) fn begin_row(&mut self) {
        if self.literals.len() < self.range(self.row).end {
            self.grow();
        }
    }

    /// Returns the values and literals of the row to be filled, for which there is room.
    #[inline(always)]
    pub(super) fn row_mut(&mut self) -> Option<(&mut [f64], &mut [Span])> {
        let row = self.range(self.row);
        Some((self.values.get_mut(row.clone())?, self.literals.get_mut(row)?))
    }

    #[cold]
    fn grow(&mut self) {
        let end = self.range(self.row).end;
        self.values.resize(end, 0.0);
        self.literals.resize(end, Span::default());
    }

    /// Returns the places of the row that begins at this one. The sum of 32 bits each fits.
    #[inline(always)]
    const fn range(&self, row: u32) -> Range<usize> {
        row as usize..row as usize + self.stride as usize
    }

    /// Sets a value of the row that is being filled.
    #[inline(always)]
    pub(super) fn set(&mut self, field: usize, value: f64, literal: Span) {
        let at = self.row as usize + field;
        if let (Some(place), Some(literal_place)) =
            (self.values.get_mut(at), self.literals.get_mut(at))
        {
            *place = value;
            *literal_place = literal;
        }
    }

    /// Returns the values and the spans of the last row that was filled.
    #[cfg(test)]
    pub(super) fn last(&self) -> (Option<&[f64]>, Option<&[Span]>) {
        let row = self.range(self.row.saturating_sub(self.stride));
        (self.values.get(row.clone()), self.literals.get(row))
    }

    /// Ends the row, and returns where it is.
    #[inline(always)]
    pub(super) fn end_row(&mut self) -> u32 {
        let row = self.row;
        self.row += self.stride;
        row
    }
}

/// The items of one body, events and rejections, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'d> {
    pub(super) items: &'d Items,
    pub(super) assigned: Option<u64>,
    pub(super) body: &'d [u8],
    pub(super) arena: &'d Arena,
    pub(super) rows: &'d FieldRows,
}

impl<'d> Batch<'d> {
    /// Returns the number of items; 0 for `[]` alone.
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns the number of events.
    pub const fn events(&self) -> usize {
        self.items.accepted()
    }

    /// Returns the timestamp that the server assigned, if the batch is one event without a
    /// timestamp.
    pub fn assigned_timestamp(&self) -> Option<u64> {
        self.assigned.filter(|_| self.items.len() == 1)
    }

    /// Returns true if the body was `[]`.
    pub const fn is_empty(&self) -> bool {
        self.items.len() == 0
    }

    /// Returns the items by reference: events are large, and a copy would wait for every byte that
    /// was just written.
    #[inline(always)]
    pub fn spans(&self) -> impl Iterator<Item = Result<&'d EventSpans, &'d Rejection>> + use<'d> {
        self.items.iter()
    }

    /// Returns the items by value. An item's index is its place in the array, or among the lines
    /// that are not blank.
    pub fn iter(&self) -> impl Iterator<Item = Result<Event<'d>, Rejection>> + use<'d> {
        let batch = *self;
        batch.spans().map(move |item| match item {
            Ok(spans) => Ok(batch.event(spans)),
            Err(rejection) => Err(*rejection),
        })
    }

    /// Returns the event of one of the [`Self::spans`].
    #[inline(always)]
    pub fn event(&self, spans: &EventSpans) -> Event<'d> {
        let row = self.rows.range(spans.row);
        let sent = self.rows.literals.get(row.clone()).unwrap_or_default();
        let literals = SentLiterals::new(sent, self.body, self.arena);
        Event {
            device_id: self.device_id(spans),
            timestamp: spans.timestamp.key,
            timestamp_ms: spans.timestamp.ms,
            present: spans.present,
            values: self.rows.values.get(row).unwrap_or_default(),
            literals: Literals::Sent(literals),
        }
    }

    /// Returns the device id of one of the [`Self::spans`].
    #[inline]
    pub fn device_id(&self, spans: &EventSpans) -> Option<&'d [u8]> {
        (!spans.device_id.is_empty()).then(|| self.bytes(spans.device_id))
    }

    /// Returns the event of this index; `None` if that item is a rejection.
    pub fn event_at(&self, index: usize) -> Option<Event<'d>> {
        let spans = self.items.events.get(index)?;
        (spans.present != FieldSet::default()).then(|| self.event(spans))
    }

    #[inline(always)]
    pub(super) fn bytes(&self, span: Span) -> &'d [u8] {
        bytes(span, self.body, self.arena)
    }
}
