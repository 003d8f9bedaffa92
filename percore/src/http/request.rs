//! A whole request, borrowed from the bytes that it came in.

use std::borrow::Cow;
use std::fmt;

use super::headers::Headers;

/// The methods of RFC 9110, section 9, and RFC 5789; others are refused before this point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is its RFC 9110 name")]
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
}

/// What a handler answers.
#[derive(Clone, Copy)]
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

impl fmt::Debug for Request<'_> {
    /// With the length of the body, which may be a million bytes.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, query, headers, body } = self;
        let mut shown = out.debug_struct("Request");
        shown.field("method", method).field("path", path).field("query", query);
        shown.field("headers", headers).field("body_bytes", &body.len()).finish()
    }
}

impl<'a> Request<'a> {
    /// The names and values of the query, decoded as those of a form.
    pub fn parameters(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        form_urlencoded::parse(self.query.unwrap_or_default().as_bytes())
    }

    /// The value of the query parameter `name`, the first if there are several.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        self.parameters().find_map(|(key, value)| (key == name).then_some(value))
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
        assert_eq!(request.parameter("device_id").as_deref(), Some("a:b"));
        assert_eq!(request.parameter("flag").as_deref(), Some(""));
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
