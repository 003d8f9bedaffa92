//! Responses: the answers of a handler, and their encoding.

use super::date::DateLine;
use super::status::Status;
use crate::clock::Now;

/// A response without its body, which is in a buffer beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: Status,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// A further field, which some answers carry.
    pub field: Option<Field>,
    /// Further lines of the head, each with the CR LF before it; mostly none.
    pub extra_headers: &'static str,
    /// A number by which the handler's owner counts the answer; the engine only passes it on.
    pub route: usize,
}

/// Fields that some statuses ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// 405: the methods that the path takes (RFC 9110, section 10.2.1).
    Allow(&'static str),
    /// 415 of a content coding: the codings that are accepted (RFC 9110, section 12.5.3).
    AcceptEncoding(&'static str),
    /// 429 and 503: seconds after which another try makes sense (RFC 9110, section 10.2.3).
    RetryAfter(u32),
    /// 401: how to authenticate (RFC 9110, section 11.6.1).
    WwwAuthenticate(&'static str),
    /// 200 of a resource with several forms: the request fields that choose, and whether the body
    /// is gzipped (RFC 9110, sections 8.4 and 12.5.5).
    Negotiated {
        /// True if the body is in gzip.
        gzipped: bool,
    },
    /// An answer to HEAD: the length of the body for GET, where it is known without making the body
    /// (RFC 9110, section 8.6).
    ContentLength(usize),
    /// A file to be saved, and its name (RFC 6266).
    ContentDisposition(&'static str),
}

/// The request fields by which [`Field::Negotiated`] is chosen.
pub const NEGOTIATED_BY: &str = "Accept, Accept-Encoding";

/// `application/json`.
pub const JSON: &str = "application/json";
/// `text/plain` in UTF-8.
pub const TEXT: &str = "text/plain; charset=utf-8";

impl Response {
    /// Returns a 200 with a body of this type.
    pub const fn ok(content_type: &'static str, route: usize) -> Self {
        Self { status: Status::Ok, content_type, field: None, extra_headers: "", route }
    }
}

/// A response that is made on another thread, with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The head.
    pub response: Response,
    /// The body.
    pub body: Vec<u8>,
}

/// The persistence of the connection after an answer, as its head has to tell it (RFC 9112, section
/// 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// The connection stays open, which is the default of HTTP/1.1.
    Open,
    /// The connection stays open, which has to be said in HTTP/1.0.
    OpenSaid,
    /// This answer is the last one.
    Close,
}

/// Appends `100 Continue` to `out` (RFC 9110, section 15.2.1).
pub fn encode_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// The encoder of one core's responses.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    date: DateLine,
    /// The start of the last head, up to the length, and its kind: nearly all answers are of one
    /// kind, and it changes once a second.
    start: Vec<u8>,
    of: Option<(Status, &'static str, i64)>,
}

impl Encoder {
    /// Appends `response` with `body` to `out`. In an answer to HEAD the body is left out, but not
    /// its length. If no body was made for such an answer, there is no length either: it would be
    /// known only after making the body (RFC 9110, section 9.3.2). A 204 has no body, nor any field
    /// about one.
    pub fn encode(
        &mut self,
        out: &mut Vec<u8>,
        response: Response,
        body: &[u8],
        answers_head: bool,
        persistence: Persistence,
        now: Now,
    ) {
        // RFC 9110, section 8.6: a 204 has no Content-Length.
        let has_content = response.status != Status::NoContent;
        let of = Some((response.status, response.content_type, now.wall_us.div_euclid(1_000_000)));
        if self.of != of {
            self.of = of;
            self.start.clear();
            self.start.extend_from_slice(response.status.line().as_bytes());
            self.start.extend_from_slice(self.date.at(now));
            if has_content {
                self.start.extend_from_slice(b"Content-Type: ");
                self.start.extend_from_slice(response.content_type.as_bytes());
            } else {
                // Each further line begins with the CR LF of the line before it.
                self.start.truncate(self.start.len() - 2);
            }
        }
        out.extend_from_slice(&self.start);
        if !body.is_empty() || (has_content && !answers_head) {
            out.extend_from_slice(b"\r\nContent-Length: ");
            out.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
        }
        if let Some(field) = response.field {
            encode_field(out, field);
        }
        if !response.extra_headers.is_empty() {
            out.extend_from_slice(response.extra_headers.as_bytes());
        }
        out.extend_from_slice(match persistence {
            Persistence::Open => b"\r\n\r\n",
            Persistence::OpenSaid => b"\r\nConnection: keep-alive\r\n\r\n",
            Persistence::Close => b"\r\nConnection: close\r\n\r\n",
        });
        if !answers_head {
            out.extend_from_slice(body);
        }
    }
}

fn encode_field(out: &mut Vec<u8>, field: Field) {
    let mut digits = itoa::Buffer::new();
    let (name, value) = match field {
        Field::Allow(methods) => ("\r\nAllow: ", methods),
        Field::AcceptEncoding(codings) => ("\r\nAccept-Encoding: ", codings),
        Field::RetryAfter(seconds) => ("\r\nRetry-After: ", digits.format(seconds)),
        Field::WwwAuthenticate(challenge) => ("\r\nWWW-Authenticate: ", challenge),
        Field::ContentLength(bytes) => ("\r\nContent-Length: ", digits.format(bytes)),
        Field::ContentDisposition(how) => ("\r\nContent-Disposition: ", how),
        Field::Negotiated { gzipped: false } => ("\r\nVary: ", NEGOTIATED_BY),
        Field::Negotiated { gzipped: true } => {
            ("\r\nContent-Encoding: gzip\r\nVary: ", NEGOTIATED_BY)
        }
    };
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { mono_ns: 0, wall_us: 784_111_777_000_000 };

    fn encoded(response: Response, answers_head: bool, persistence: Persistence) -> String {
        let mut out = Vec::new();
        let mut encoder = Encoder::default();
        encoder.encode(&mut out, response, b"{}\n", answers_head, persistence, NOW);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn heads_are_written_whole() {
        let ok = Response::ok(JSON, 0);
        let head = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                    Content-Type: application/json\r\nContent-Length: 3\r\n";
        assert_eq!(encoded(ok, false, Persistence::Open), format!("{head}\r\n{{}}\n"));
        let said = format!("{head}Connection: keep-alive\r\n\r\n");
        assert_eq!(encoded(ok, true, Persistence::OpenSaid), said);
        let close = format!("{head}Connection: close\r\n\r\n{{}}\n");
        assert_eq!(encoded(ok, false, Persistence::Close), close);
    }

    #[test]
    fn a_204_has_neither_a_body_nor_its_type_and_length() {
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        let extra_headers = "\r\nA: b";
        let ok = Response { extra_headers, ..Response::ok(TEXT, 0) };
        let no_content = Response { status: Status::NoContent, ..ok };
        encoder.encode(&mut out, no_content, b"", false, Persistence::Open, NOW);
        let head = "HTTP/1.1 204 No Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nA: b\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), head);
        out.clear();
        let bare = Response { extra_headers: "", ..no_content };
        encoder.encode(&mut out, bare, b"", true, Persistence::Close, NOW);
        assert!(out.ends_with(b"49:37 GMT\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn a_head_whose_body_was_not_made_has_no_length() {
        let mut out = Vec::new();
        let ok = Response::ok("image/svg+xml", 0);
        Encoder::default().encode(&mut out, ok, b"", true, Persistence::Open, NOW);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("\r\nContent-Type: image/svg+xml\r\n\r\n"), "{text}");
        let known = Response { field: Some(Field::ContentLength(7)), ..ok };
        let mut out = Vec::new();
        Encoder::default().encode(&mut out, known, b"", true, Persistence::Open, NOW);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("svg+xml\r\nContent-Length: 7\r\n\r\n"), "{text}");
    }

    #[test]
    fn further_fields_stand_between_length_and_connection() {
        for (field, line) in [
            (Field::Allow("GET, HEAD"), "Allow: GET, HEAD"),
            (Field::AcceptEncoding("gzip"), "Accept-Encoding: gzip"),
            (Field::RetryAfter(3), "Retry-After: 3"),
            (Field::WwwAuthenticate("Bearer"), "WWW-Authenticate: Bearer"),
            (Field::ContentDisposition("attachment"), "Content-Disposition: attachment"),
            (Field::Negotiated { gzipped: false }, "Vary: Accept, Accept-Encoding"),
            (
                Field::Negotiated { gzipped: true },
                "Content-Encoding: gzip\r\nVary: Accept, Accept-Encoding",
            ),
        ] {
            let response = Response { field: Some(field), ..Response::ok(TEXT, 0) };
            let text = encoded(response, true, Persistence::Close);
            let end = format!("Content-Length: 3\r\n{line}\r\nConnection: close\r\n\r\n");
            assert!(text.ends_with(&end), "{text}");
        }
        let extra_headers = "\r\nA: b\r\nC: d";
        let text =
            encoded(Response { extra_headers, ..Response::ok(TEXT, 0) }, true, Persistence::Open);
        assert!(text.ends_with("Content-Length: 3\r\nA: b\r\nC: d\r\n\r\n"), "{text}");
    }
}
