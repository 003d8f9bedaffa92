//! The head cache: the last heads of a core, kept as they were parsed.
//!
//! A device sends the same head with each metric, byte for byte, and parsing it is half of the work
//! for a small request. So the last heads are kept, and new input is compared with them before it
//! is parsed. A head is its own key: the same bytes mean the same from any client, because the
//! parser depends on nothing else. Pure, as the parser is.

use std::cell::Cell;
use std::fmt;

use super::framing::Framing;
use super::head::{self, HeaderSlots, Parsed};
use super::headers::{FieldIndex, Headers};
use super::request::Method;
use super::request_error::RequestError;
use super::target::Target;
use crate::limits::HEAD_CACHE_ENTRIES;

/// A head that passed every rule of RFC 9112, sections 2 to 6, that a server has to check.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: Method,
    /// The path of the target, or `*`.
    pub path: &'a str,
    /// The query of the target.
    pub query: Option<&'a str>,
    /// All header fields.
    pub headers: Headers<'a>,
    /// The framing of the body, and the persistence of the connection.
    pub framing: Framing,
    /// The bytes of the head, its closing empty line included.
    pub bytes: usize,
}

/// The last [`HEAD_CACHE_ENTRIES`] different heads of a core. The memory of an entry grows to its
/// longest head.
#[derive(Default)]
pub struct HeadCache {
    entries: Vec<CachedHead>,
    /// The index of the entry that was used last.
    latest: usize,
}

/// A head as it was parsed. It may carry somebody's token, so nothing here can be printed.
struct CachedHead {
    bytes: Vec<u8>,
    method: Method,
    path: String,
    query: Option<String>,
    fields: FieldIndex,
    framing: Framing,
    /// The mark of the handler, see [`Headers::mark`].
    mark: Cell<bool>,
}

impl fmt::Debug for HeadCache {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("HeadCache").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl HeadCache {
    /// Reads the head at the start of `input`; `None` asks for more bytes.
    ///
    /// # Errors
    ///
    /// The first rule that the head, or the part of it that has arrived, breaks, in the order of
    /// its bytes.
    #[inline]
    pub fn read(&mut self, input: &[u8]) -> Result<Option<Head<'_>>, RequestError> {
        let latest = self.entries.get(self.latest);
        if !latest.is_some_and(|kept| starts_with(input, &kept.bytes)) {
            match self.find_or_parse(input)? {
                Some(index) => self.latest = index,
                None => return Ok(None),
            }
        }
        Ok(self.entries.get(self.latest).map(CachedHead::head))
    }

    /// Returns the index of the head at the start of `input`, which is not the latest.
    #[inline(never)]
    fn find_or_parse(&mut self, input: &[u8]) -> Result<Option<usize>, RequestError> {
        if let Some(index) = self.find(input) {
            return Ok(Some(index));
        }
        let mut slots = HeaderSlots::new();
        let parsed = head::parse(input, &mut slots)?;
        Ok(parsed.map(|parsed| self.insert(input, &parsed)))
    }

    fn find(&self, input: &[u8]) -> Option<usize> {
        self.entries.iter().position(|kept| starts_with(input, &kept.bytes))
    }

    /// Inserts a head after the latest one, and returns its index.
    #[cold]
    fn insert(&mut self, input: &[u8], parsed: &Parsed<'_>) -> usize {
        let index = if self.entries.len() < HEAD_CACHE_ENTRIES {
            self.entries.push(CachedHead::empty(parsed));
            self.entries.len() - 1
        } else {
            (self.latest + 1) % HEAD_CACHE_ENTRIES
        };
        if let Some(kept) = self.entries.get_mut(index) {
            kept.fill(input.get(..parsed.bytes).unwrap_or(input), parsed);
        }
        index
    }
}

impl CachedHead {
    const fn empty(parsed: &Parsed<'_>) -> Self {
        Self {
            bytes: Vec::new(),
            method: parsed.method,
            path: String::new(),
            query: None,
            fields: FieldIndex::EMPTY,
            framing: parsed.framing,
            mark: Cell::new(false),
        }
    }

    fn fill(&mut self, bytes: &[u8], parsed: &Parsed<'_>) {
        let Target { path, query } = parsed.target;
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.method = parsed.method;
        self.path.clear();
        self.path.push_str(path);
        self.query = query.map(str::to_owned);
        self.fields.rebuild(parsed.fields(), bytes);
        self.framing = parsed.framing;
        self.mark.set(false);
    }

    #[inline]
    fn head(&self) -> Head<'_> {
        Head {
            method: self.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers: Headers::new(&self.bytes, &self.fields, &self.mark),
            framing: self.framing,
            bytes: self.bytes.len(),
        }
    }
}

/// The bytes that are compared at once: a vector register of every processor of this kind.
const WIDE: usize = 16;

/// Returns true if `input` starts with `bytes`. All of them are compared, even if the first ones
/// differ: the time that it takes must not tell how much of somebody's token was guessed.
fn starts_with(input: &[u8], bytes: &[u8]) -> bool {
    let Some(input) = input.get(..bytes.len()) else {
        return false;
    };
    // The bytes after the whole chunks are in the last one, which may overlap them.
    let (Some(end), Some(last)) = (input.last_chunk::<WIDE>(), bytes.last_chunk::<WIDE>()) else {
        return false;
    };
    let mut difference = [0; WIDE];
    let mut compare = |a: &[u8; WIDE], b: &[u8; WIDE]| {
        for ((sum, a), b) in difference.iter_mut().zip(a).zip(b) {
            *sum |= a ^ b;
        }
    };
    compare(end, last);
    input.as_chunks().0.iter().zip(bytes.as_chunks().0).for_each(|(a, b)| compare(a, b));
    u128::from_ne_bytes(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::framing::Body;
    use proptest::prelude::*;

    /// Returns the whole content of a head as text.
    fn read(head_cache: &mut HeadCache, input: &[u8]) -> String {
        let head = head_cache.read(input);
        let fields = head.ok().flatten().map(|head| head.headers.iter().collect::<Vec<_>>());
        format!("{head:?} {fields:?}")
    }

    #[test]
    fn what_can_be_printed_has_no_token() {
        let input = b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cret\r\n\r\n";
        let mut head_cache = HeadCache::default();
        let printed = format!("{:?}", head_cache.read(input).unwrap().unwrap());
        assert!(printed.contains("Authorization") && !printed.contains("s3cret"), "{printed}");
        for printed in [format!("{head_cache:?}"), format!("{head_cache:#?}")] {
            // Neither as text nor as numbers.
            assert!(!printed.contains("s3cret") && !printed.contains("115"), "{printed}");
        }
    }

    #[test]
    fn a_head_that_is_kept_says_what_it_said() {
        let mut head_cache = HeadCache::default();
        for _ in 0..3 {
            let input = b"POST /metrics?a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX:\r\n\r\n{}";
            let head = head_cache.read(input).unwrap().unwrap();
            assert_eq!((head.method, head.path, head.query), (Method::Post, "/metrics", Some("a")));
            let fields: Vec<_> = head.headers.iter().collect();
            assert_eq!(
                fields,
                [("Host", &b"h"[..]), ("Content-Length", &b"3"[..]), ("X", &b""[..])]
            );
            assert_eq!((head.framing.body, head.bytes), (Body::Length(3), input.len() - 2));
        }
        assert_eq!(head_cache.entries.len(), 1);
    }

    #[test]
    fn no_more_are_kept_than_may_be_and_the_latest_stay() {
        let mut head_cache = HeadCache::default();
        for number in 0..3 * HEAD_CACHE_ENTRIES {
            let input = format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(head_cache.find(input.as_bytes()), None);
            head_cache.read(input.as_bytes()).unwrap();
            for again in (number + 1).saturating_sub(HEAD_CACHE_ENTRIES)..=number {
                let input = format!("GET /{again} HTTP/1.1\r\nHost: a\r\n\r\n");
                assert!(head_cache.find(input.as_bytes()).is_some(), "{again} after {number}");
            }
        }
        assert_eq!(head_cache.entries.len(), HEAD_CACHE_ENTRIES);
    }

    /// A mark goes with the head that it was given, whatever comes between, and not to its
    /// successor.
    #[test]
    fn a_mark_stays_as_long_as_its_head() {
        let head = |path: usize| format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        let mut head_cache = HeadCache::default();
        let mut read = |path: usize, mark: bool| {
            let input = head(path);
            let headers = head_cache.read(&input).unwrap().unwrap().headers;
            let was_marked = headers.is_marked();
            if mark {
                headers.mark();
            }
            was_marked
        };
        assert!(!read(0, true), "the first time");
        for other in 1..HEAD_CACHE_ENTRIES {
            assert!(!read(other, false), "{other} was not marked");
            assert!(read(0, false), "0 was, and stands beside {other}");
        }
        for other in 0..HEAD_CACHE_ENTRIES {
            read(HEAD_CACHE_ENTRIES + other, false);
        }
        assert!(!read(0, false), "it was replaced meanwhile");
        Headers::NONE.mark();
        assert!(!Headers::NONE.is_marked());
    }

    #[test]
    fn a_difference_is_seen_wherever_it_is() {
        let head: Vec<u8> = (0..77).collect();
        for length in 16..head.len() {
            let head = &head[..length];
            assert!(starts_with(head, head) && starts_with(&[head, b"more"].concat(), head));
            for at in 0..length {
                let mut other = head.to_vec();
                other[at] ^= 0x40;
                assert!(!starts_with(&other, head), "at byte {at} of {length}");
            }
            assert!(!starts_with(&head[..length - 1], head));
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_changes_no_answer(
            inputs in prop::collection::vec(
                (0..4_u8, 0..3_u8, 0..3_usize, any::<bool>()), 1..40),
        ) {
            let mut head_cache = HeadCache::default();
            for (path, host, length, whole) in inputs {
                // Some are no heads, and some are cut short.
                let host = ["a", "b:80", "c d"][usize::from(host)];
                let text = format!(
                    "POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\nxy"
                );
                let end = if whole { text.len() } else { text.len() - 5 };
                let input = &text.as_bytes()[..end];
                let alone = read(&mut HeadCache::default(), input);
                prop_assert_eq!(read(&mut head_cache, input), alone);
            }
        }
    }
}
