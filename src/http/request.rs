//! A whole request, borrowed from the bytes that it came in.

use crate::limits::HEAD_BYTES_MAX;

/// The methods of RFC 9110, section 9, and RFC 5789; others are refused before this point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its RFC 9110 name")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

/// Bytes of the longest method's name.
pub(super) const METHOD_BYTES_MAX: usize = "CONNECT".len();

impl Method {
    /// The method of this name, which is case-sensitive (RFC 9110, section 9.1).
    #[must_use]
    pub fn from_token(token: &str) -> Option<Self> {
        Some(match token {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            _ => return None,
        })
    }

    /// Whether a request without any length is more likely a mistake than an empty body.
    #[must_use]
    pub const fn expects_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

/// A field that stands more than once where one is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

/// Where a field stands in its head, which is shorter than 64 KiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldPlace {
    name_at: u16,
    name_bytes: u16,
    value_at: u16,
    value_bytes: u16,
}

const _: () = assert!(HEAD_BYTES_MAX <= u16::MAX as usize);

impl FieldPlace {
    /// The place of a field that is a part of `head`.
    pub(super) fn of(field: &httparse::Header<'_>, head: &[u8]) -> Self {
        let at = |part: &[u8]| place(part.as_ptr().addr().saturating_sub(head.as_ptr().addr()));
        Self {
            name_at: at(field.name.as_bytes()),
            name_bytes: place(field.name.len()),
            value_at: at(field.value),
            value_bytes: place(field.value.len()),
        }
    }
}

/// The parts of a head are within it.
fn place(at: usize) -> u16 {
    u16::try_from(at).unwrap_or_default()
}

/// The header fields of a request, in the order in which they came.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    head: &'a [u8],
    fields: &'a [FieldPlace],
}

impl<'a> Headers<'a> {
    /// No fields.
    pub const NONE: Self = Self { head: &[], fields: &[] };

    /// These fields of this head.
    pub(super) const fn new(head: &'a [u8], fields: &'a [FieldPlace]) -> Self {
        Self { head, fields }
    }

    /// The first value of the field `name`, which is compared without regard to case.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// The value of the field `name`, if it stands at most once.
    ///
    /// # Errors
    ///
    /// It stands there again: a list that one value does not tell (RFC 9110, section 5.3).
    pub fn only(&self, name: &str) -> Result<Option<&'a [u8]>, Repeated> {
        let mut values = self.values(name);
        let value = values.next();
        if values.next().is_some() { Err(Repeated) } else { Ok(value) }
    }

    /// Names and values of all fields.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let headers = *self;
        let name = move |field| std::str::from_utf8(headers.name(field)).unwrap_or_default();
        self.fields.iter().map(move |field| (name(field), headers.value(field)))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let headers = *self;
        let is_named = move |field: &&FieldPlace| {
            // The length tells most fields apart before any letter is compared.
            usize::from(field.name_bytes) == name.len()
                && headers.name(field).eq_ignore_ascii_case(name.as_bytes())
        };
        self.fields.iter().filter(is_named).map(move |field| headers.value(field))
    }

    fn name(&self, field: &FieldPlace) -> &'a [u8] {
        self.bytes(field.name_at, field.name_bytes)
    }

    fn value(&self, field: &FieldPlace) -> &'a [u8] {
        self.bytes(field.value_at, field.value_bytes)
    }

    fn bytes(&self, at: u16, bytes: u16) -> &'a [u8] {
        let (at, bytes) = (usize::from(at), usize::from(bytes));
        self.head.get(at..at + bytes).unwrap_or_default()
    }
}

/// What a handler answers.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is asked for.
    pub method: Method,
    /// The path, percent-encoded as sent; `*` for `OPTIONS *`.
    pub path: &'a str,
    /// What follows the first `?` of the target.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: Headers<'a>,
    /// The body after transfer decoding, before content decoding.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The percent-encoded value of the query parameter `name`, the first if there are several.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        self.query?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }
}

/// Undoes percent-encoding (RFC 3986, section 2.1) into `decoded`, which is cleared first.
///
/// Answers `None` for a `%` without two hexadecimal digits and for more than `bytes_max` bytes.
pub fn percent_decode<'d>(
    encoded: &str,
    bytes_max: usize,
    decoded: &'d mut Vec<u8>,
) -> Option<&'d [u8]> {
    decoded.clear();
    let mut rest = encoded.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if decoded.len() == bytes_max {
            return None;
        }
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (&[high, low], after) = rest.split_first_chunk::<2>()?;
        let digit = |hex: u8| char::from(hex).to_digit(16).and_then(|d| u8::try_from(d).ok());
        decoded.push((digit(high)? << 4) | digit(low)?);
        rest = after;
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_whole_names() {
        let request = Request {
            method: Method::Get,
            path: "/analyze",
            query: Some("xdevice_id=1&device_id=a%3Ab&device_id=2&flag"),
            headers: Headers::NONE,
            body: b"",
        };
        assert_eq!(request.parameter("device_id"), Some("a%3Ab"));
        assert_eq!(request.parameter("flag"), Some(""));
        assert_eq!(request.parameter("id"), None);
    }

    #[test]
    fn percent_decoding_refuses_what_is_not_hexadecimal() {
        let mut decoded = Vec::new();
        assert_eq!(percent_decode("a%3ab%2F", 8, &mut decoded), Some(&b"a:b/"[..]));
        for wrong in ["%", "%4", "%4g", "%+1", "a%"] {
            assert_eq!(percent_decode(wrong, 8, &mut decoded), None, "{wrong}");
        }
        assert_eq!(percent_decode("123456789", 8, &mut decoded), None);
        assert_eq!(percent_decode("%31%32", 2, &mut decoded), Some(&b"12"[..]));
    }
}
