//! HTTP responses, parsed strictly: the fields that each of them must have are checked.

use std::fmt;
use std::io;

use serde_json::Value;

/// The most bytes of a peer's input that an error may repeat.
const ECHO_BYTES_MAX: usize = 64;

/// One response of the server.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// The header lines, in the order in which they came; names are in lower case.
    pub fields: Vec<(String, String)>,
    /// The body as it came, in whatever coding.
    pub body: Vec<u8>,
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]);
        write!(out, "{} {:?} {body:?}", self.status, self.fields)
    }
}

impl HttpResponse {
    /// Parses the response at the start of `bytes`, and returns its length, too; `None` when more
    /// have to come. An interim response (1xx) has no body,
    /// nor has one without content (204, 304).
    ///
    /// # Errors
    ///
    /// When it is no HTTP, or does not say how long it is.
    pub fn parse(bytes: &[u8], answers_head: bool) -> io::Result<Option<(Self, usize)>> {
        let Some(head_end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head_end = head_end + 4;
        let mut lines = lines(&bytes[..head_end])?;
        let (status, reason) = lines.next().and_then(status_line).ok_or_else(no_http)?;
        let fields = lines.map(|line| field(line).ok_or_else(no_http)).collect::<Result<_, _>>()?;
        let mut response = Self { status, reason, fields, body: Vec::new() };
        if status < 200 {
            return Ok(Some((response, head_end)));
        }
        if matches!(status, 204 | 304) {
            return Ok(Some((response, head_end)));
        }
        let length = response.fields.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.and_then(|(_, text)| text.parse().ok()).ok_or_else(no_http)?;
        let end = if answers_head { head_end } else { head_end + length };
        let body = bytes.get(head_end..end);
        Ok(body.map(|body| {
            response.body = body.to_vec();
            (response, end)
        }))
    }

    /// Checks what every response of the server has; `bytes` are the response as it came.
    pub fn check(&self, bytes: &[u8], answers_head: bool) {
        assert!(!self.reason.is_empty(), "{self:?}");
        for line in lines(bytes).expect("a head is text").skip(1) {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            assert!(!name.is_empty() && name.bytes().all(is_name), "{line:?}");
            let is_printable = |byte: u8| byte.is_ascii() && !byte.is_ascii_control();
            assert!(value.bytes().all(is_printable), "{line:?}");
        }
        if self.status < 200 {
            assert!(self.fields.is_empty(), "{self:?}");
            return;
        }
        let date = self.header("date").expect("every response has a Date");
        assert!(
            date.len() == 29 && date.ends_with(" GMT") && &date[3..5] == ", ",
            "no IMF-fixdate: {date:?}"
        );
        assert_eq!(self.header("transfer-encoding"), None, "nothing is chunked");
        if matches!(self.status, 204 | 304) {
            // RFC 9110, section 8.6. A length of 0 is among the faults of `may_minihttp`.
            let is_ours = std::env::var("COREPULSE_ENGINE").is_err();
            let length = if is_ours { None } else { Some("0") };
            assert_eq!(self.header("content-type"), None);
            assert_eq!(self.header("content-length"), length);
            return;
        }
        let content_type = self.header("content-type").expect("and a type");
        assert!(!content_type.is_empty());
        let length = self.header("content-length").expect("and a length");
        assert!(length.bytes().all(|byte| byte.is_ascii_digit()), "{length:?}");
        if content_type.ends_with("json") && !answers_head {
            assert!(self.body.ends_with(b"}\n"), "one newline ends a response in JSON: {self:?}");
        }
    }

    /// Returns the value of a header field, which stands at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(given, _)| given == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice in {self:?}");
        value
    }

    /// Returns true if it says that it is the last on its connection.
    pub fn closes_connection(&self) -> bool {
        self.fields
            .iter()
            .any(|(name, value)| name == "connection" && value.eq_ignore_ascii_case("close"))
    }

    /// Returns the body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("bodies are UTF-8")
    }

    /// Returns the body, parsed as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns it without its date, to compare it with others.
    pub fn without_date(mut self) -> Self {
        self.fields.retain(|(name, _)| name != "date");
        self
    }
}

fn no_http() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no HTTP/1.1 response with a Content-Length")
}

/// Returns the lines of the head that `bytes` begin with.
fn lines(bytes: &[u8]) -> io::Result<impl Iterator<Item = &str>> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(no_http)?;
    Ok(std::str::from_utf8(&bytes[..end]).map_err(|_| no_http())?.split("\r\n"))
}

fn status_line(line: &str) -> Option<(u16, String)> {
    let (digits, reason) = line.strip_prefix("HTTP/1.1 ")?.split_once(' ')?;
    let status = (digits.len() == 3).then(|| digits.parse().ok()).flatten()?;
    Some((status, reason.to_owned()))
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_ascii_lowercase(), value.trim().to_owned()))
}

/// Checks that a response is a problem of RFC 9457 that repeats little of what was sent, and
/// returns its members.
pub fn assert_problem(answer: &HttpResponse, status: u16, sent: &[u8]) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["title"], answer.reason, "{problem}");
    assert!(problem["type"].is_string(), "{problem}");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(!detail.is_empty(), "{problem}");
    assert_echo_is_short(detail, sent);
    for error in problem["errors"].as_array().into_iter().flatten() {
        assert!(error["index"].is_u64(), "{problem}");
        assert_echo_is_short(error["detail"].as_str().expect("a detail each"), sent);
    }
    problem
}

fn assert_echo_is_short(detail: &str, sent: &[u8]) {
    for part in detail.as_bytes().windows(ECHO_BYTES_MAX + 1) {
        let echoed = sent.windows(part.len()).any(|input| input == part);
        assert!(!echoed, "{detail:?} repeats more than {ECHO_BYTES_MAX} bytes");
    }
}

#[test]
fn every_proper_prefix_is_partial() {
    let whole = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\nConnection: close\r\n\r\n{}";
    for end in 0..whole.len() {
        assert_eq!(HttpResponse::parse(&whole[..end], false).unwrap(), None, "at byte {end}");
    }
    let (response, bytes) = HttpResponse::parse(whole, false).unwrap().unwrap();
    assert_eq!((response.status, response.text(), bytes), (202, "{}", whole.len()));
    assert!(response.closes_connection());
}

#[test]
fn a_response_without_a_length_is_an_error() {
    assert!(HttpResponse::parse(b"HTTP/1.1 200 OK\r\n\r\n", false).is_err());
    assert!(HttpResponse::parse(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", false).is_err());
    assert!(HttpResponse::parse(b"SSH-2.0-a\r\n\r\n", false).is_err());
    assert!(HttpResponse::parse(b"HTTP/1.1 100 Continue\r\n\r\n", false).unwrap().is_some());
}
