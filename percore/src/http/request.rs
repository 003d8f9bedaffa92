//! A complete request, borrowed from the received bytes.

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

/// The length of the longest method's name.
pub(super) const METHOD_BYTES_MAX: usize = "CONNECT".len();

impl Method {
    /// Returns the method of this name, which is case-sensitive (RFC 9110, section 9.1).
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

/// A request, as a handler gets it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The path, percent-encoded as sent; `*` for `OPTIONS *`.
    pub path: &'a str,
    /// The part of the target after the first `?`.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: Headers<'a>,
    /// The body after transfer decoding, before content decoding.
    pub body: &'a [u8],
}

impl fmt::Debug for Request<'_> {
    /// Shows the length of the body, which may be a million bytes.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, query, headers, body } = self;
        let mut shown = out.debug_struct("Request");
        shown.field("method", method).field("path", path).field("query", query);
        shown.field("headers", headers).field("body_bytes", &body.len()).finish()
    }
}

impl<'a> Request<'a> {
    /// Returns the names and values of the query, decoded as those of a form.
    pub fn parameters(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        form_urlencoded::parse(self.query.unwrap_or_default().as_bytes())
    }

    /// Returns the value of the query parameter `name`, the first if there are several.
    pub fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        self.parameters().find_map(|(key, value)| (key == name).then_some(value))
    }
}

/// Returns true if `bytes` begin with a HEAD request, to which an error is answered without a body
/// as well (RFC 9110, section 9.3.2).
pub(crate) fn asks_for_head(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HEAD ")
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
}
