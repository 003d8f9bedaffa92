//! Batches: the decoded items of one body.
//!
//! A batch is complete before any event of it is applied, because a syntax error in the last
//! element of an array costs the whole request. Items are kept as offsets into the body, so that
//! their storage has no lifetime and serves every request of a core.

use std::slice;

use crate::metric::event::{Event, Literals};
use crate::metric::json_error::position;
use crate::metric::rejection::Rejection;
use crate::metric::short_text;
use crate::schema::FieldSet;

/// A range of the body or, beyond the body's end, of the [`Arena`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        let (start, end) = (position(start), position(end));
        Self { start, end }
    }

    /// Returns true if the range is empty, which stands for an absent member.
    pub(super) const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Text that is not in the body: unescaped strings and assigned timestamps. Its offsets continue
/// those of the body, so that one [`Span`] type serves both. It never holds more bytes than were
/// sent, and twenty digits for each event.
#[derive(Debug, Default)]
pub struct Arena {
    text: String,
    body_bytes: usize,
}

impl Arena {
    /// Clears the arena for a body of so many bytes.
    pub(super) fn clear(&mut self, body_bytes: usize) {
        self.text.clear();
        self.body_bytes = body_bytes;
    }

    /// Appends what `write` writes, and returns where it is.
    #[inline]
    pub(super) fn append(&mut self, write: impl FnOnce(&mut String)) -> Span {
        let start = self.text.len();
        write(&mut self.text);
        Span::new(self.body_bytes + start, self.body_bytes + self.text.len())
    }

    /// Appends the digits of an integer.
    pub(super) fn append_integer(&mut self, integer: impl itoa::Integer) -> Span {
        self.append(|text| text.push_str(itoa::Buffer::new().format(integer)))
    }

    /// Returns the text of a span.
    pub(super) fn text(&self, span: Span) -> &str {
        let start = (span.start as usize).checked_sub(self.body_bytes);
        let end = (span.end as usize).checked_sub(self.body_bytes);
        start.zip(end).and_then(|(start, end)| self.text.get(start..end)).unwrap_or_default()
    }
}

/// An [`Event`] as offsets; [`Batch::event`] resolves them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EventSpans {
    pub(super) device_id: Span,
    pub(super) timestamp: Span,
    pub(super) timestamp_ms: i64,
    /// The place of its first value in [`FieldRows`].
    pub(super) row: u32,
    pub(super) present: FieldSet,
}

/// The values of a batch's events and the spans of their literals: a row for each event, with a
/// place for each field of the schema. Places of absent fields hold anything.
#[derive(Debug, Default)]
pub(super) struct FieldRows {
    stride: usize,
    /// The place of the first value of the row that is being filled.
    row: usize,
    values: Vec<f64>,
    literals: Vec<Span>,
}

impl FieldRows {
    /// Returns rows of so many fields.
    pub(super) fn new(stride: usize) -> Self {
        Self { stride, ..Self::default() }
    }

    /// Removes all rows, and keeps their memory.
    pub(super) const fn clear(&mut self) {
        self.row = 0;
    }

    /// Makes room for the row to be filled.
    #[inline(always)]
    pub(super) fn begin_row(&mut self) {
        if self.literals.len() < self.row + self.stride {
            self.grow();
        }
    }

    /// Returns the values and literals of the row to be filled, for which there is room.
    #[inline(always)]
    pub(super) fn row_mut(&mut self) -> Option<(&mut [f64], &mut [Span])> {
        let row = self.row..self.row + self.stride;
        Some((self.values.get_mut(row.clone())?, self.literals.get_mut(row)?))
    }

    #[cold]
    fn grow(&mut self) {
        self.values.resize(self.row + self.stride, 0.0);
        self.literals.resize(self.row + self.stride, Span::default());
    }

    /// Sets a value of the row that is being filled.
    #[inline(always)]
    pub(super) fn set(&mut self, field: usize, value: f64, literal: Span) {
        let at = self.row + field;
        if let (Some(place), Some(literal_place)) =
            (self.values.get_mut(at), self.literals.get_mut(at))
        {
            *place = value;
            *literal_place = literal;
        }
    }

    /// Returns the values and the spans of the first row.
    #[cfg(test)]
    pub(super) fn first(&self) -> (Option<&[f64]>, Option<&[Span]>) {
        (self.values.get(..self.stride), self.literals.get(..self.stride))
    }

    /// Ends the row, and returns where it is.
    #[inline(always)]
    pub(super) fn end_row(&mut self) -> u32 {
        let row = position(self.row);
        self.row += self.stride;
        row
    }
}

/// The literals of one event, as they were sent.
#[derive(Clone, Copy, Debug)]
pub struct SentLiterals<'a> {
    spans: &'a [Span],
    body: &'a [u8],
    arena: &'a Arena,
}

impl<'a> SentLiterals<'a> {
    /// Returns the literal of the field of this index.
    #[inline]
    pub(super) fn get(&self, field: usize) -> &'a [u8] {
        bytes(self.span(field), self.body, self.arena)
    }

    /// Returns the bytes of that literal.
    #[inline(always)]
    pub(super) fn len_of(&self, field: usize) -> usize {
        let span = self.span(field);
        (span.end - span.start) as usize
    }

    /// Appends that literal to `out`, which has room for one block of [`short_text`] more.
    #[inline(always)]
    pub(super) fn append(&self, field: usize, out: &mut Vec<u8>) {
        let rest = self.body.get(self.span(field).start as usize..).unwrap_or_default();
        match rest.first_chunk() {
            Some(block) if self.len_of(field) <= short_text::BLOCK_BYTES => {
                short_text::append(out, block, self.len_of(field));
            }
            _ => out.extend_from_slice(self.get(field)),
        }
    }

    /// Copies that literal behind a byte with its length to `out`, beginning at `at`. Returns where
    /// it ends; `None` if there is no room. Bytes behind it may be overwritten.
    #[inline(always)]
    pub(super) fn copy_counted(&self, field: usize, out: &mut [u8], at: usize) -> Option<usize> {
        let rest = self.body.get(self.span(field).start as usize..).unwrap_or_default();
        match rest.first_chunk() {
            Some(block) if self.len_of(field) <= short_text::BLOCK_BYTES => {
                short_text::copy_counted_block(block, self.len_of(field), out, at)
            }
            _ => short_text::copy_counted(self.get(field), out, at),
        }
    }

    #[inline(always)]
    fn span(&self, field: usize) -> Span {
        self.spans.get(field).copied().unwrap_or_default()
    }
}

/// Returns the text of a span.
#[inline]
fn bytes<'a>(span: Span, body: &'a [u8], arena: &'a Arena) -> &'a [u8] {
    let found = body.get(span.start as usize..span.end as usize);
    found.unwrap_or_else(|| arena.text(span).as_bytes())
}

/// The items of one body, events and rejections, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'d> {
    pub(super) items: &'d [Result<EventSpans, Rejection>],
    pub(super) events: usize,
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
        self.events
    }

    /// Returns the timestamp that the server assigned, if the batch is one event without a
    /// timestamp.
    pub fn assigned_timestamp(&self) -> Option<u64> {
        self.assigned.filter(|_| self.items.len() == 1)
    }

    /// Returns true if the body was `[]`.
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the items by reference: events are large, and a copy would wait for every byte that
    /// was just written.
    pub fn spans(&self) -> slice::Iter<'d, Result<EventSpans, Rejection>> {
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
        let row = spans.row as usize..spans.row as usize + self.rows.stride;
        let literals = SentLiterals {
            spans: self.rows.literals.get(row.clone()).unwrap_or_default(),
            body: self.body,
            arena: self.arena,
        };
        Event {
            device_id: (!spans.device_id.is_empty()).then(|| self.bytes(spans.device_id)),
            timestamp: self.bytes(spans.timestamp),
            timestamp_ms: spans.timestamp_ms,
            present: spans.present,
            values: self.rows.values.get(row).unwrap_or_default(),
            literals: Literals::Sent(literals),
        }
    }

    #[inline]
    pub(super) fn bytes(&self, span: Span) -> &'d [u8] {
        bytes(span, self.body, self.arena)
    }
}
