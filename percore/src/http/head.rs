//! The parser of request heads: bytes in, [`Parsed`] out.
//!
//! Pure: no socket, no clock, no allocation. The caller owns the buffer and decides when to read
//! more; this file only answers complete, partial or wrong. The same bytes give the same answer
//! however they arrived, so nothing is remembered between two calls.

use std::mem::MaybeUninit;

use super::framing::{Framing, FramingFields};
use super::request::{METHOD_BYTES_MAX, Method};
use super::request_error::RequestError;
use super::target::Target;
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, REQUEST_LINE_BYTES_MAX};

/// Slots for the fields of one head, on the caller's stack and left uninitialised.
#[derive(Debug)]
pub(super) struct HeaderSlots<'b>([MaybeUninit<httparse::Header<'b>>; HEADERS_MAX]);

impl HeaderSlots<'_> {
    /// Returns empty slots; costs nothing.
    pub(super) const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; HEADERS_MAX])
    }
}

/// A head that passed every rule of RFC 9112, sections 2 to 6, that a server has to check.
#[derive(Clone, Copy)]
pub(super) struct Parsed<'a> {
    pub(super) method: Method,
    pub(super) target: Target<'a>,
    fields: &'a [httparse::Header<'a>],
    pub(super) framing: Framing,
    /// The bytes of the head, its closing empty line included.
    pub(super) bytes: usize,
}

impl<'a> Parsed<'a> {
    /// Returns the names and values of all fields in their order.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.fields.iter().map(|field| (field.name, field.value))
    }
}

/// Parses the head at the start of `input`; `None` asks for more bytes.
///
/// # Errors
///
/// The first rule that the head, or the part of it that has arrived, breaks, in the order of its
/// bytes.
pub(super) fn parse<'a>(
    input: &'a [u8],
    slots: &'a mut HeaderSlots<'a>,
) -> Result<Option<Parsed<'a>>, RequestError> {
    parse_all(input, slots).map_err(|error| first_error(input).unwrap_or(error))
}

/// Returns the error for a peer that sends its bytes one by one. A prefix that is wrong stays wrong
/// with every byte after it, so the shortest one is found by bisection.
fn first_error(input: &[u8]) -> Option<RequestError> {
    let refused = |bytes: usize| {
        let prefix = input.get(..bytes)?;
        parse_all(prefix, &mut HeaderSlots::new()).err()
    };
    let (mut right, mut wrong) = (0, input.len().min(HEAD_BYTES_MAX + 1));
    while right + 1 < wrong {
        let middle = right.midpoint(wrong);
        if refused(middle).is_some() {
            wrong = middle;
        } else {
            right = middle;
        }
    }
    refused(wrong)
}

fn parse_all<'a>(
    input: &'a [u8],
    slots: &'a mut HeaderSlots<'a>,
) -> Result<Option<Parsed<'a>>, RequestError> {
    let mut parsed = httparse::Request::new(&mut []);
    let outcome = parsed.parse_with_uninit_headers(input, &mut slots.0);
    let bytes = match outcome {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return partial(input).map(|()| None),
        Err(httparse::Error::Version) => return other_version(input).map(|()| None),
        Err(error) => return Err(request_error(error)),
    };
    let head_bytes = input.get(..bytes).unwrap_or(input);
    bare_line_feed(head_bytes)?;
    // Most heads are shorter than a request line may be.
    if bytes > REQUEST_LINE_BYTES_MAX && request_line_bytes(head_bytes) > REQUEST_LINE_BYTES_MAX {
        return Err(long_request_line(head_bytes));
    }
    if bytes > HEAD_BYTES_MAX {
        return Err(RequestError::HeadTooLarge);
    }
    let (Some(token), Some(target), Some(minor_version)) =
        (parsed.method, parsed.path, parsed.version)
    else {
        return Err(RequestError::RequestLine);
    };
    let method = Method::from_token(token).ok_or(RequestError::UnknownMethod)?;
    let target = Target::parse(method, target)?;
    let fields: &[_] = parsed.headers;
    let pairs = fields.iter().map(|field| (field.name, field.value));
    let framing = FramingFields::collect(pairs)?.decide(minor_version)?;
    Ok(Some(Parsed { method, target, fields, framing, bytes }))
}

/// Checks the part that has arrived of a head whose end has not.
fn partial(input: &[u8]) -> Result<(), RequestError> {
    bare_line_feed(input)?;
    if request_line_bytes(input) > REQUEST_LINE_BYTES_MAX {
        return Err(long_request_line(input));
    }
    if input.len() >= HEAD_BYTES_MAX {
        return Err(RequestError::HeadTooLarge);
    }
    Ok(())
}

/// RFC 9112, section 2.2, lets a recipient take LF alone as a line end. Two parsers that differ
/// in this see different requests in the same bytes, so it is refused.
fn bare_line_feed(head: &[u8]) -> Result<(), RequestError> {
    let starts_bare = head.first() == Some(&b'\n');
    let after = head.get(1..).unwrap_or_default();
    // Without a way out of the loop, the compiler makes wide compares of it.
    let bare = head
        .iter()
        .zip(after)
        .fold(starts_bare, |bare, (before, byte)| bare | ((*byte == b'\n') & (*before != b'\r')));
    if bare { Err(RequestError::BareLineFeed) } else { Ok(()) }
}

/// Returns the bytes after the empty lines before a request line.
fn request_line(input: &[u8]) -> &[u8] {
    let start = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    input.get(start..).unwrap_or_default()
}

/// Returns the number of bytes of the request line that have arrived.
fn request_line_bytes(input: &[u8]) -> usize {
    let line = request_line(input);
    memchr::memchr(b'\r', line).unwrap_or(line.len())
}

/// Returns the error for a request line that is too long: 414, or 501 if its method is longer than
/// any (RFC 9112, section 3).
fn long_request_line(input: &[u8]) -> RequestError {
    let mut longest_method = request_line(input).iter().take(METHOD_BYTES_MAX + 1);
    let has_method = longest_method.any(|byte| *byte == b' ');
    if has_method { RequestError::TargetTooLong } else { RequestError::UnknownMethod }
}

const fn request_error(error: httparse::Error) -> RequestError {
    match error {
        httparse::Error::TooManyHeaders => RequestError::HeadTooLarge,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => RequestError::Field,
        _ => RequestError::RequestLine,
    }
}

/// Checks the part that has arrived of a request line that does not end in a version of ours:
/// HTTP-version = "HTTP/" DIGIT "." DIGIT (RFC 9112, section 2.3), so the version is known only at
/// the end of the line. `HTTP/2.0` is another version, and `HTTP/01.01` is none.
fn other_version(input: &[u8]) -> Result<(), RequestError> {
    let line = request_line(input);
    let bytes = request_line_bytes(line);
    let version = line.get(..bytes).unwrap_or_default().splitn(3, |byte| *byte == b' ').nth(2);
    let number = version.unwrap_or_default().strip_prefix(b"HTTP/");
    let is_number = |number: &[u8]| {
        let digit_at = |at: usize| number.get(at).is_none_or(u8::is_ascii_digit);
        digit_at(0) && matches!(number.get(1), None | Some(b'.')) && digit_at(2)
    };
    match number.filter(|number| is_number(number)) {
        Some([_, _, _]) if bytes < line.len() => Err(RequestError::Version),
        Some([] | [_] | [_, _] | [_, _, _]) if bytes == line.len() => partial(input),
        _ => Err(RequestError::RequestLine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::framing::Body;

    type Parsed = Option<(Method, String, Option<String>, usize)>;

    fn parsed(input: impl AsRef<[u8]>) -> Result<Parsed, RequestError> {
        let mut slots = HeaderSlots::new();
        parse(input.as_ref(), &mut slots).map(|head| {
            head.map(|head| {
                let Target { path, query } = head.target;
                (head.method, path.to_owned(), query.map(str::to_owned), head.bytes)
            })
        })
    }

    fn refused(input: impl AsRef<[u8]>) -> RequestError {
        parsed(input).expect_err("an error")
    }

    const WHOLE: &str = "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn every_proper_prefix_is_partial() {
        for end in 0..WHOLE.len() {
            assert_eq!(parsed(&WHOLE.as_bytes()[..end]), Ok(None), "at byte {end}");
        }
        let expected = (Method::Post, "/metrics".to_owned(), None, WHOLE.len());
        assert_eq!(parsed(WHOLE), Ok(Some(expected.clone())));
        assert_eq!(parsed(format!("{WHOLE}GET")), Ok(Some(expected)));
    }

    #[test]
    fn request_lines_that_are_refused() {
        for (line, error) in [
            ("GET / HTTP/2.0", RequestError::Version),
            ("GET / HTTP/1.2", RequestError::Version),
            ("PRI * HTTP/2.0", RequestError::Version),
            ("GET / HTTP/1.", RequestError::RequestLine),
            ("GET / HTTP/1", RequestError::RequestLine),
            ("GET / FOO", RequestError::RequestLine),
            ("GET /", RequestError::RequestLine),
            ("GET  / HTTP/1.1", RequestError::RequestLine),
            ("GET / HTTP/1.1 ", RequestError::RequestLine),
            (" GET / HTTP/1.1", RequestError::RequestLine),
            ("G\0T / HTTP/1.1", RequestError::RequestLine),
            ("BREW / HTTP/1.1", RequestError::UnknownMethod),
            ("get / HTTP/1.1", RequestError::UnknownMethod),
        ] {
            assert_eq!(refused(format!("{line}\r\nHost: a\r\n\r\n")), error, "{line:?}");
        }
    }

    #[test]
    fn fields_that_are_refused() {
        for (fields, error) in [
            ("Host: a\r\nA : b\r\n", RequestError::Field),
            ("Host: a\r\nA: b\r\n folded\r\n", RequestError::Field),
            ("Host: a\r\nA: b\0c\r\n", RequestError::Field),
            ("Host: a\r\nA: b\rc\r\n", RequestError::Field),
            ("Host: a\r\n: b\r\n", RequestError::Field),
            ("Host: a\r\nA\r\n", RequestError::Field),
            ("Host: a\nA: b\r\n", RequestError::BareLineFeed),
        ] {
            assert_eq!(refused(format!("GET / HTTP/1.1\r\n{fields}\r\n")), error, "{fields:?}");
        }
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\n\n"), RequestError::BareLineFeed);
        assert_eq!(refused("GET / HTTP/1.1\n"), RequestError::BareLineFeed);
        assert_eq!(refused("\nGET / HTTP/1.1\r\n"), RequestError::BareLineFeed);
    }

    #[test]
    fn of_two_faults_the_first_is_named() {
        let line_feed_first = "GET / HTTP/1.1\nHost: a\r\nA : b\r\n\r\n";
        assert_eq!(refused(line_feed_first), RequestError::BareLineFeed);
        let field_first = "GET / HTTP/1.1\r\nA : b\r\nHost: a\n\r\n";
        assert_eq!(refused(field_first), RequestError::Field);
        let long = "a".repeat(REQUEST_LINE_BYTES_MAX);
        let line_first = format!("GET /{long} HTTP/1.1\r\nA : b\r\n\r\n");
        assert_eq!(refused(line_first), RequestError::TargetTooLong);
    }

    #[test]
    fn an_empty_line_before_the_request_line_is_ignored() {
        let (method, path, _, bytes) = parsed(format!("\r\n{WHOLE}")).unwrap().unwrap();
        assert_eq!((method, path.as_str(), bytes), (Method::Post, "/metrics", WHOLE.len() + 2));
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let line = |bytes: usize| {
            let fixed = "GET / HTTP/1.1".len();
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(bytes - fixed))
        };
        assert!(parsed(line(REQUEST_LINE_BYTES_MAX)).unwrap().is_some());
        assert_eq!(refused(line(REQUEST_LINE_BYTES_MAX + 1)), RequestError::TargetTooLong);
        // Refused before its end has arrived.
        let unfinished = format!("GET /{}", "a".repeat(REQUEST_LINE_BYTES_MAX));
        assert_eq!(refused(&unfinished), RequestError::TargetTooLong);
        let method = "A".repeat(REQUEST_LINE_BYTES_MAX);
        assert_eq!(refused(format!("{method}A")), RequestError::UnknownMethod);
        assert_eq!(refused(format!("{method} / HTTP/1.1\r\n")), RequestError::UnknownMethod);

        let head = |bytes: usize| {
            let fixed = "GET / HTTP/1.1\r\nHost: a\r\nA: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "b".repeat(bytes - fixed))
        };
        assert!(parsed(head(HEAD_BYTES_MAX)).unwrap().is_some());
        assert_eq!(refused(head(HEAD_BYTES_MAX + 1)), RequestError::HeadTooLarge);
        assert_eq!(parsed(&head(HEAD_BYTES_MAX + 1).as_bytes()[..HEAD_BYTES_MAX - 1]), Ok(None));
        assert_eq!(
            refused(&head(HEAD_BYTES_MAX + 1).as_bytes()[..HEAD_BYTES_MAX]),
            RequestError::HeadTooLarge
        );

        let fields = |count: usize| {
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(count - 1))
        };
        assert!(parsed(fields(HEADERS_MAX)).unwrap().is_some());
        assert_eq!(refused(fields(HEADERS_MAX + 1)), RequestError::HeadTooLarge);
    }

    #[test]
    fn a_complete_head_carries_its_framing() {
        let mut slots = HeaderSlots::new();
        let head = parse(WHOLE.as_bytes(), &mut slots).unwrap().unwrap();
        assert_eq!(head.framing.body, Body::Length(0));
        assert_eq!(head.fields[0].value, b"a");
        assert_eq!(head.fields.len(), 2);
    }
}
