//! HTTP responses, parsed strictly: the fields that each of them must have are checked.

use std::fmt;

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
    /// have to come. An interim response (1xx) has neither fields nor a body.
    pub fn parse(bytes: &[u8], answers_head: bool) -> Option<(Self, usize)> {
        let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..head_end]).expect("a head is ASCII");
        assert!(head.is_ascii(), "{head:?}");
        let mut lines = head[..head_end - 4].split("\r\n");
        let (status, reason) = status_line(lines.next().unwrap());
        let fields: Vec<_> = lines.map(field).collect();
        let mut answer = Self { status, reason, fields, body: Vec::new() };
        if status < 200 {
            assert!(answer.fields.is_empty(), "{answer:?}");
            return Some((answer, head_end));
        }
        let length = answer.check_fields();
        let end = if answers_head { head_end } else { head_end + length };
        answer.body = bytes.get(head_end..end)?.to_vec();
        if answer.header("content-type").is_some_and(|of| of.ends_with("json")) && !answers_head {
            let ending = answer.body.get(answer.body.len().saturating_sub(2)..);
            assert_eq!(ending, Some(&b"}\n"[..]), "one newline ends an answer in JSON: {answer:?}");
        }
        Some((answer, end))
    }

    /// Checks the fields that every response carries, and returns `Content-Length`.
    fn check_fields(&self) -> usize {
        let date = self.header("date").expect("every answer has a Date");
        assert!(
            date.len() == 29 && date.ends_with(" GMT") && &date[3..5] == ", ",
            "no IMF-fixdate: {date:?}"
        );
        assert!(!self.header("content-type").expect("and a type").is_empty());
        assert_eq!(self.header("transfer-encoding"), None, "nothing is chunked");
        let length = self.header("content-length").expect("and a length");
        assert!(length.bytes().all(|byte| byte.is_ascii_digit()), "{length:?}");
        length.parse().unwrap()
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
        self.header("connection") == Some("close")
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

fn status_line(line: &str) -> (u16, String) {
    let rest = line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{line:?}"));
    let (digits, reason) = rest.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
    assert!(digits.len() == 3 && !reason.is_empty(), "{line:?}");
    (digits.parse().unwrap(), reason.to_owned())
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    assert!(!name.is_empty() && name.bytes().all(is_name), "{line:?}");
    assert!(!value.bytes().any(|byte| byte.is_ascii_control()), "{line:?}");
    (name.to_ascii_lowercase(), value.to_owned())
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
