//! Spans: the texts of a body as offsets, and those that are beside the body.

use crate::metric::json_error::position;
use crate::metric::short_text::{self, BLOCK_BYTES};

/// A range of the body or, beyond the body's end, of the [`Arena`].
///
/// It is a start and a length, each of 32 bits: their sum fits 64 bits and is never before the
/// start, so that one comparison tells if the range is inside of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// Returns the range between two offsets.
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self::of(position(start), position(end))
    }

    /// Returns the range between two offsets of 32 bits.
    #[inline(always)]
    pub(super) const fn of(start: u32, end: u32) -> Self {
        Self { start, len: end.saturating_sub(start) }
    }

    /// Returns true if the range is empty, which stands for an absent member.
    #[inline(always)]
    pub(super) const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Returns this range of a text; `None` if it is not inside.
    #[inline(always)]
    fn of_text(self, text: &[u8]) -> Option<&[u8]> {
        let start = self.start as usize;
        text.get(start..start + self.len as usize)
    }

    /// Returns the first bytes of this range of a text, or of what follows it there.
    #[inline(always)]
    fn block_of(self, text: &[u8]) -> Option<&[u8; BLOCK_BYTES]> {
        let start = self.start as usize;
        text.get(start..start + BLOCK_BYTES)?.first_chunk()
    }
}

/// Text that is not in the body: strings without their escapes, and numbers in JSON's notation. Its
/// offsets continue those of the body, so that one [`Span`] type serves both.
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

    /// Returns the text of a span.
    pub(super) fn text(&self, span: Span) -> &str {
        let start = (span.start as usize).checked_sub(self.body_bytes);
        let range = start.map(|start| start..start + span.len as usize);
        range.and_then(|range| self.text.get(range)).unwrap_or_default()
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
    /// Returns the literals at these spans of a body.
    #[inline(always)]
    pub(super) const fn new(spans: &'a [Span], body: &'a [u8], arena: &'a Arena) -> Self {
        Self { spans, body, arena }
    }

    /// Returns the literal of the field of this index.
    #[inline]
    pub(super) fn get(&self, field: usize) -> &'a [u8] {
        bytes(self.span(field), self.body, self.arena)
    }

    /// Returns the bytes of that literal.
    #[inline(always)]
    pub(super) fn len_of(&self, field: usize) -> usize {
        self.span(field).len as usize
    }

    /// Copies that literal to `out`, beginning at `at`. Returns where it ends; `None` if there is
    /// no room for it and one block of [`short_text`]. Bytes behind it may be overwritten.
    #[inline(always)]
    pub(super) fn copy(&self, field: usize, out: &mut [u8], at: usize) -> Option<usize> {
        let span = self.span(field);
        match span.block_of(self.body) {
            Some(block) if span.len as usize <= BLOCK_BYTES => {
                short_text::copy_block(block, span.len as usize, out, at)
            }
            _ => short_text::copy(self.get(field), out, at),
        }
    }

    /// Copies that literal behind a byte with its length to `out`, beginning at `at`. Returns where
    /// it ends; `None` if there is no room. Bytes behind it may be overwritten.
    #[inline(always)]
    pub(super) fn copy_counted(&self, field: usize, out: &mut [u8], at: usize) -> Option<usize> {
        let span = self.span(field);
        if span.len as usize <= BLOCK_BYTES
            && let Some(block) = span.block_of(self.body)
            && let Some(end) = short_text::copy_counted_block(block, span.len as usize, out, at)
        {
            return Some(end);
        }
        self.copy_other(field, out, at)
    }

    /// Copies a literal that is longer, at the end of the body or beside it.
    #[inline(never)]
    fn copy_other(&self, field: usize, out: &mut [u8], at: usize) -> Option<usize> {
        short_text::copy_counted(self.get(field), out, at)
    }

    #[inline(always)]
    fn span(&self, field: usize) -> Span {
        self.spans.get(field).copied().unwrap_or_default()
    }
}

/// Returns the text of a span.
#[inline(always)]
pub(super) fn bytes<'a>(span: Span, body: &'a [u8], arena: &'a Arena) -> &'a [u8] {
    match span.of_text(body) {
        Some(bytes) => bytes,
        None => beside(span, arena),
    }
}

/// Returns the text of a span that is not in the body.
#[cold]
fn beside(span: Span, arena: &Arena) -> &[u8] {
    arena.text(span).as_bytes()
}
