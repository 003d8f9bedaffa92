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
    /// For how long a cache may keep the answer (RFC 9111, section 5.2.2).
    CacheControl(&'static str),
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
    /// The last head. Nearly all answers are of one kind and length, and the date changes once a
    /// second, so mostly it is the next one as well.
    head: Vec<u8>,
    /// The facts that it was made of; `None` if it has a further field.
    of: Option<HeadFacts>,
}

/// The facts that a head without a further field is made of.
#[derive(Clone, Copy, Debug)]
struct HeadFacts {
    status: Status,
    content_type: &'static str,
    extra_headers: &'static str,
    body_bytes: usize,
    answers_head: bool,
    persistence: Persistence,
    second: i64,
}

impl HeadFacts {
    /// Returns true if both make the same head. Texts are compared by their address: that may find
    /// equal ones different, and then the head is made again.
    fn is(&self, other: &Self) -> bool {
        self.body_bytes == other.body_bytes
            && self.second == other.second
            && std::ptr::eq(self.content_type, other.content_type)
            && std::ptr::eq(self.extra_headers, other.extra_headers)
            && (self.status, self.persistence) == (other.status, other.persistence)
            && self.answers_head == other.answers_head
    }
}

impl Encoder {
    /// Appends `response` with `body` to `out`. In an answer to HEAD the body is left out, but not
    /// its length. If no body was made for such an answer, there is no length either: it would be
    /// known only after making the body (RFC 9110, section 9.3.2). A 204 and a 304 have no body,
    /// nor any field about one.
    pub fn encode(
        &mut self,
        out: &mut Vec<u8>,
        response: &Response,
        body: &[u8],
        answers_head: bool,
        persistence: Persistence,
        now: Now,
    ) {
        let Response { status, content_type, extra_headers, .. } = *response;
        let (body_bytes, second) = (body.len(), now.wall_us.div_euclid(1_000_000));
        let facts = HeadFacts {
            status,
            content_type,
            extra_headers,
            body_bytes,
            answers_head,
            persistence,
            second,
        };
        let is_last = self.of.is_some_and(|of| of.is(&facts));
        if !is_last || response.field.is_some() {
            self.make_head(&facts, response.field, now);
        }
        out.extend_from_slice(&self.head);
        if !answers_head {
            out.extend_from_slice(body);
        }
    }

    #[inline(never)]
    fn make_head(&mut self, facts: &HeadFacts, field: Option<Field>, now: Now) {
        let HeadFacts { status, body_bytes, answers_head, .. } = *facts;
        self.of = field.is_none().then_some(*facts);
        let head = &mut self.head;
        head.clear();
        head.extend_from_slice(status.line().as_bytes());
        head.extend_from_slice(self.date.at(now));
        // RFC 9110, section 8.6: a 204 has no Content-Length; that of a 304 would be that of a 200.
        let has_content = status.permits_content();
        if has_content {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(facts.content_type.as_bytes());
        } else {
            // Each further line begins with the CR LF of the line before it.
            head.truncate(head.len() - 2);
        }
        if body_bytes > 0 || (has_content && !answers_head) {
            head.extend_from_slice(b"\r\nContent-Length: ");
            head.extend_from_slice(itoa::Buffer::new().format(body_bytes).as_bytes());
        }
        if let Some(field) = field {
            encode_field(head, field);
        }
        head.extend_from_slice(facts.extra_headers.as_bytes());
        head.extend_from_slice(match facts.persistence {
            Persistence::Open => b"\r\n\r\n",
            Persistence::OpenSaid => b"\r\nConnection: keep-alive\r\n\r\n",
            Persistence::Close => b"\r\nConnection: close\r\n\r\n",
        });
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
        Field::CacheControl(how) => ("\r\nCache-Control: ", how),
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
        encoder.encode(&mut out, &response, b"{}\n", answers_head, persistence, NOW);
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

    /// Whatever was answered before, a head is what it would have been alone.
    #[test]
    fn the_last_head_is_not_taken_for_another() {
        let others = [
            Response::ok(JSON, 0),
            Response { status: Status::Accepted, ..Response::ok(JSON, 0) },
            Response::ok(TEXT, 0),
            Response { field: Some(Field::RetryAfter(1)), ..Response::ok(JSON, 0) },
            Response { extra_headers: "\r\nA: b", ..Response::ok(JSON, 0) },
            Response { status: Status::NoContent, ..Response::ok(JSON, 0) },
        ];
        let later = Now { wall_us: NOW.wall_us + 1_000_000, ..NOW };
        let mut cases = Vec::new();
        for response in others {
            for body in [&b""[..], b"{}\n", b"[]\n", b"[{}]\n"] {
                for answers_head in [false, true] {
                    for persistence in [Persistence::Open, Persistence::Close] {
                        for now in [NOW, later] {
                            cases.push((response, body, answers_head, persistence, now));
                        }
                    }
                }
            }
        }
        let append = |encoder: &mut Encoder, case: usize| {
            let (response, body, answers_head, persistence, now) = cases[case];
            let mut out = Vec::new();
            encoder.encode(&mut out, &response, body, answers_head, persistence, now);
            out
        };
        let alone = |case| append(&mut Encoder::default(), case);
        let mut encoder = Encoder::default();
        for first in 0..cases.len() {
            for second in 0..cases.len() {
                let both = [append(&mut encoder, first), append(&mut encoder, second)];
                assert_eq!(both, [alone(first), alone(second)], "{first}, {second}");
            }
        }
    }

    #[test]
    fn a_204_and_a_304_have_neither_a_body_nor_its_type_and_length() {
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        let extra_headers = "\r\nA: b";
        let ok = Response { extra_headers, ..Response::ok(TEXT, 0) };
        let no_content = Response { status: Status::NoContent, ..ok };
        encoder.encode(&mut out, &no_content, b"", false, Persistence::Open, NOW);
        let head = "HTTP/1.1 204 No Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nA: b\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), head);
        out.clear();
        let bare = Response { extra_headers: "", ..no_content };
        encoder.encode(&mut out, &bare, b"", true, Persistence::Close, NOW);
        assert!(out.ends_with(b"49:37 GMT\r\nConnection: close\r\n\r\n"));
        out.clear();
        let not_modified = Response { status: Status::NotModified, ..ok };
        encoder.encode(&mut out, &not_modified, b"", false, Persistence::Open, NOW);
        let head = head.replace("204 No Content", "304 Not Modified");
        assert_eq!(String::from_utf8_lossy(&out), head.as_str());
    }

    #[test]
    fn a_head_whose_body_was_not_made_has_no_length() {
        let mut out = Vec::new();
        let ok = Response::ok("image/svg+xml", 0);
        Encoder::default().encode(&mut out, &ok, b"", true, Persistence::Open, NOW);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("\r\nContent-Type: image/svg+xml\r\n\r\n"), "{text}");
        let known = Response { field: Some(Field::ContentLength(7)), ..ok };
        let mut out = Vec::new();
        Encoder::default().encode(&mut out, &known, b"", true, Persistence::Open, NOW);
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
            (Field::CacheControl("no-store"), "Cache-Control: no-store"),
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
