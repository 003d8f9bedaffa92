//! Batches: the decoded items of one body, as offsets until someone looks at them.
//!
//! A batch is complete before anything of it is applied, because a syntax error in the last
//! element of an array costs the whole request. Its items are kept as offsets, so the storage has
//! no lifetime and serves every request of a core.

use std::slice;

use crate::metric::event::Event;
use crate::metric::json_error::position;
use crate::metric::rejection::Rejection;

/// A range of the body or, past the body's end, of the arena behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        let (start, end) = (position(start), position(end));
        Self { start, end }
    }

    /// Whether it holds nothing: what was not given.
    pub(super) const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Text that is not in the body (unescaped ids, formatted timestamps). Its offsets continue those of
/// the body, so that a [`Span`] need not say which of the two it means. What it holds is no longer
/// than what was sent for it, and some twenty digits for each event.
#[derive(Debug, Default)]
pub(super) struct Arena {
    text: String,
    body_bytes: usize,
}

impl Arena {
    /// Forgets everything; the next body is so long.
    pub(super) fn clear(&mut self, body_bytes: usize) {
        self.text.clear();
        self.body_bytes = body_bytes;
    }

    /// Keeps what `write` appends.
    #[inline]
    pub(super) fn append(&mut self, write: impl FnOnce(&mut String)) -> Span {
        let start = self.text.len();
        write(&mut self.text);
        Span::new(self.body_bytes + start, self.body_bytes + self.text.len())
    }

    /// Keeps the digits of an integer.
    pub(super) fn append_integer(&mut self, integer: impl itoa::Integer) -> Span {
        self.append(|text| text.push_str(itoa::Buffer::new().format(integer)))
    }

    /// What was kept.
    pub(super) fn text(&self, kept: Span) -> &str {
        let start = (kept.start as usize).checked_sub(self.body_bytes);
        let end = (kept.end as usize).checked_sub(self.body_bytes);
        start.zip(end).and_then(|(start, end)| self.text.get(start..end)).unwrap_or_default()
    }
}

/// An [`Event`] as offsets: [`Batch::event`] says what it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EventSpans {
    pub(super) device_id: Span,
    pub(super) timestamp: Span,
    pub(super) timestamp_ms: i64,
    pub(super) values: [f64; 2],
    pub(super) literals: [Span; 2],
}

/// The items of one body, good and bad, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'d> {
    pub(super) items: &'d [Result<EventSpans, Rejection>],
    pub(super) events: usize,
    pub(super) assigned: Option<u64>,
    pub(super) body: &'d [u8],
    pub(super) arena: &'d Arena,
}

impl<'d> Batch<'d> {
    /// The number of items, good and bad; 0 for `[]` alone.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// The number of good items.
    #[must_use]
    pub const fn events(&self) -> usize {
        self.events
    }

    /// The timestamp that the server gave to the only item, if that is an event without one.
    #[must_use]
    pub fn assigned_timestamp(&self) -> Option<u64> {
        self.assigned.filter(|_| self.items.len() == 1)
    }

    /// Whether the body was `[]`.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items in their order, each where it was decoded: events are large, and a copy waits for
    /// every byte that was just written.
    pub fn spans(&self) -> slice::Iter<'d, Result<EventSpans, Rejection>> {
        self.items.iter()
    }

    /// The items in their order: an element's place in the array, a line's among those not blank.
    #[must_use]
    pub fn iter(&self) -> Items<'d> {
        let items = self.items.iter();
        Items { batch: *self, items }
    }

    /// The event of one of the [`Self::spans`].
    #[inline(always)]
    #[must_use]
    pub fn event(&self, spans: &EventSpans) -> Event<'d> {
        let [cpu, rps] = spans.literals;
        Event {
            device_id: (!spans.device_id.is_empty()).then(|| self.bytes(spans.device_id)),
            timestamp: self.bytes(spans.timestamp),
            timestamp_ms: spans.timestamp_ms,
            values: spans.values,
            literals: [self.bytes(cpu), self.bytes(rps)],
        }
    }

    #[inline]
    pub(super) fn bytes(&self, span: Span) -> &'d [u8] {
        let found = self.body.get(span.start as usize..span.end as usize);
        found.unwrap_or_else(|| self.arena.text(span).as_bytes())
    }
}

impl<'d> IntoIterator for Batch<'d> {
    type Item = Result<Event<'d>, Rejection>;
    type IntoIter = Items<'d>;

    fn into_iter(self) -> Items<'d> {
        self.iter()
    }
}

impl<'d> IntoIterator for &Batch<'d> {
    type Item = Result<Event<'d>, Rejection>;
    type IntoIter = Items<'d>;

    fn into_iter(self) -> Items<'d> {
        self.iter()
    }
}

/// Iterates over a [`Batch`].
#[derive(Clone, Debug)]
pub struct Items<'d> {
    batch: Batch<'d>,
    items: slice::Iter<'d, Result<EventSpans, Rejection>>,
}

impl<'d> Iterator for Items<'d> {
    type Item = Result<Event<'d>, Rejection>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let item = self.items.next()?;
        Some(match item {
            Ok(spans) => Ok(self.batch.event(spans)),
            Err(rejection) => Err(*rejection),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl ExactSizeIterator for Items<'_> {}
