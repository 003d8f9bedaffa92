//! The header fields of a request, by their spans in its head.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use crate::limits::HEAD_BYTES_MAX;

crate::named_enum! {
    /// The fields that are looked up by name. Their spans are found once, when their head is
    /// cached.
    pub enum HeaderName {
        /// RFC 9110, section 11.6.2.
        Authorization = "authorization",
        /// RFC 9110, section 8.4.
        ContentEncoding = "content-encoding",
        /// RFC 9110, section 8.3.
        ContentType = "content-type",
        /// RFC 6454, section 7.
        Origin = "origin",
    }
}

/// A field that stands more than once where one is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

/// A span of a head, which is shorter than 64 KiB.
#[derive(Clone, Copy, Debug)]
struct Span {
    at: u16,
    bytes: u16,
}

const _: () = assert!(HEAD_BYTES_MAX <= u16::MAX as usize);

impl Span {
    /// Returns the span of `text` within `head`.
    fn of(text: &[u8], head: &[u8]) -> Self {
        let at = text.as_ptr().addr().saturating_sub(head.as_ptr().addr());
        // An empty text may lie anywhere; every other one is within.
        let narrow = |number: usize| u16::try_from(number).unwrap_or_default();
        Self { at: narrow(at), bytes: narrow(text.len()) }
    }

    fn bytes(self, head: &[u8]) -> &[u8] {
        let at = usize::from(self.at);
        head.get(at..at + usize::from(self.bytes)).unwrap_or_default()
    }
}

/// The number of a field's occurrences in a head, and the first of them.
#[derive(Clone, Copy, Debug)]
enum Occurrences {
    None,
    One(Span),
    Several(Span),
}

/// The spans of all fields of a head.
#[derive(Clone, Debug)]
pub(super) struct FieldIndex {
    /// Names and values in their order.
    fields: Vec<(Span, Span)>,
    /// The occurrences of each name, in the order of [`HeaderName::ALL`].
    named: [Occurrences; HeaderName::ALL.len()],
}

impl FieldIndex {
    /// The index of a head without fields.
    pub(super) const EMPTY: Self =
        Self { fields: Vec::new(), named: [Occurrences::None; HeaderName::ALL.len()] };

    /// Rebuilds the index for another head, from the names and values in it.
    pub(super) fn rebuild<'a>(
        &mut self,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
        head: &'a [u8],
    ) {
        self.fields.clear();
        self.named = Self::EMPTY.named;
        for (given, value) in fields {
            let value = Span::of(value, head);
            self.fields.push((Span::of(given.as_bytes(), head), value));
            let is_named = |name: &HeaderName| given.eq_ignore_ascii_case(name.name());
            let place = HeaderName::ALL.iter().position(is_named);
            if let Some(found) = place.and_then(|place| self.named.get_mut(place)) {
                *found = match *found {
                    Occurrences::None => Occurrences::One(value),
                    Occurrences::One(first) | Occurrences::Several(first) => {
                        Occurrences::Several(first)
                    }
                };
            }
        }
    }
}

/// The header fields of a request.
#[derive(Clone, Copy)]
pub struct Headers<'a> {
    head: &'a [u8],
    index: &'a FieldIndex,
    mark: Option<&'a Cell<bool>>,
}

impl fmt::Debug for Headers<'_> {
    /// Shows the names alone: a value may be a token.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl<'a> Headers<'a> {
    /// No fields.
    pub const NONE: Headers<'static> = Headers { head: &[], index: &FieldIndex::EMPTY, mark: None };

    /// Returns the fields of this head.
    pub(super) const fn new(head: &'a [u8], index: &'a FieldIndex, mark: &'a Cell<bool>) -> Self {
        Self { head, index, mark: Some(mark) }
    }

    /// Marks the whole head that these fields stand in, request line included. As long as it is
    /// kept, the same head, byte for byte, comes with its mark: so a handler need not look again at
    /// a head that it has found to be the usual one.
    pub fn mark(&self) {
        if let Some(mark) = self.mark {
            mark.set(true);
        }
    }

    /// Returns true if the head was marked when it came before.
    #[inline]
    pub fn is_marked(&self) -> bool {
        self.mark.is_some_and(Cell::get)
    }

    /// Returns the first value of a field.
    pub fn first(&self, name: HeaderName) -> Option<&'a [u8]> {
        match self.occurrences(name) {
            Occurrences::None => None,
            Occurrences::One(value) | Occurrences::Several(value) => Some(value.bytes(self.head)),
        }
    }

    /// Returns the value of a field that is a list: several lines of it are one, with commas
    /// between them (RFC 9110, section 5.3).
    pub fn list(&self, name: HeaderName) -> Option<Cow<'a, [u8]>> {
        match self.only(name) {
            Ok(value) => value.map(Cow::Borrowed),
            Err(Repeated) => Some(self.values(name.name()).collect::<Vec<_>>().join(&b',').into()),
        }
    }

    /// Returns the values of all lines of a field that is a list, in their order; together they are
    /// one list (RFC 9110, section 5.3).
    pub fn values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let named = self.iter().filter(move |(given, _)| given.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value)
    }

    /// Returns the value of a field that may occur once.
    ///
    /// # Errors
    ///
    /// It occurs again, and one value does not tell the whole list (RFC 9110, section 5.3).
    pub fn only(&self, name: HeaderName) -> Result<Option<&'a [u8]>, Repeated> {
        match self.occurrences(name) {
            Occurrences::Several(_) => Err(Repeated),
            Occurrences::None | Occurrences::One(_) => Ok(self.first(name)),
        }
    }

    /// Returns the names and values of all fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let head = self.head;
        self.index.fields.iter().map(move |(name, value)| {
            (std::str::from_utf8(name.bytes(head)).unwrap_or_default(), value.bytes(head))
        })
    }

    fn occurrences(&self, name: HeaderName) -> Occurrences {
        self.index.named.get(name as usize).copied().unwrap_or(Occurrences::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head_cache::HeadCache;

    #[test]
    fn fields_are_found_in_whatever_case_and_counted() {
        let head = b"GET / HTTP/1.0\r\nORIGIN: a\r\nContent-Type:\r\nX: y\r\norigin: b\r\n\r\n";
        let mut head_cache = HeadCache::default();
        let headers = head_cache.read(head).unwrap().unwrap().headers;
        assert_eq!(headers.first(HeaderName::Origin), Some(&b"a"[..]));
        assert_eq!(headers.only(HeaderName::Origin), Err(Repeated));
        assert_eq!(headers.values("Origin").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(headers.values("accept").count(), 0);
        assert_eq!(headers.list(HeaderName::Origin).as_deref(), Some(&b"a,b"[..]));
        assert_eq!(headers.list(HeaderName::ContentType).as_deref(), Some(&b""[..]));
        assert_eq!(headers.list(HeaderName::Authorization), None);
        assert_eq!(headers.only(HeaderName::ContentType), Ok(Some(&b""[..])));
        assert_eq!(headers.only(HeaderName::Authorization), Ok(None));
        let fields: Vec<_> = headers.iter().collect();
        assert_eq!(fields[2], ("X", &b"y"[..]));
        assert_eq!(fields.len(), 4);
    }
}
