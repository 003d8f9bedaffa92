//! A row of the table, and the words in which its exchanges are written.

/// A clause and what is done about it.
#[derive(Debug)]
pub struct Row {
    /// The path of the row's test in this crate.
    pub test: String,
    /// Where it stands, as `RFC 9112, 3.2`.
    pub clause: &'static str,
    /// The requirement, in short.
    pub asks: &'static str,
    /// The behaviour of this server; begins with `differs:` if it is not the required one.
    pub does: &'static str,
    /// Exchanges that show it.
    pub cases: Vec<Case>,
}

/// Bytes that are sent, and all that comes back.
#[derive(Clone, Debug)]
pub struct Case {
    pub sent: Vec<u8>,
    pub answers: Vec<Expected>,
    /// True if the bytes that follow are the next request; otherwise they must never be parsed.
    pub stays_open: bool,
}

/// The required properties of one answer.
#[derive(Clone, Debug)]
pub struct Expected {
    pub status: u16,
    pub answers_head: bool,
    /// Fields by their names in lower case; `None` for those that may not be there.
    pub fields: Vec<(&'static str, Option<&'static str>)>,
    /// The whole body, if the clause depends on it.
    pub body: Option<&'static str>,
}

/// An answer of this status.
pub const fn answer(status: u16) -> Expected {
    Expected { status, answers_head: false, fields: Vec::new(), body: None }
}

impl Expected {
    pub const fn for_head(mut self) -> Self {
        self.answers_head = true;
        self
    }

    pub fn with(mut self, field: &'static str, value: &'static str) -> Self {
        self.fields.push((field, Some(value)));
        self
    }

    pub fn without(mut self, field: &'static str) -> Self {
        self.fields.push((field, None));
        self
    }

    pub const fn body(mut self, body: &'static str) -> Self {
        self.body = Some(body);
        self
    }
}

impl Case {
    /// The same where its last request is a HEAD.
    pub fn of_head(mut self) -> Self {
        if let Some(last) = self.answers.last_mut() {
            last.answers_head = true;
        }
        self
    }
}

/// These answers, after which the connection carries on.
pub fn open<const N: usize>(sent: impl AsRef<[u8]>, answers: [Expected; N]) -> Case {
    Case { sent: sent.as_ref().to_vec(), answers: Vec::from(answers), stays_open: true }
}

/// These answers, the last of which says that the connection ends.
pub fn closed<const N: usize>(sent: impl AsRef<[u8]>, answers: [Expected; N]) -> Case {
    Case { stays_open: false, ..open(sent, answers) }
}

/// One answer; the connection carries on.
pub fn stays(status: u16, sent: impl AsRef<[u8]>) -> Case {
    open(sent, [answer(status)])
}

/// One answer and the end of the connection.
pub fn closes(status: u16, sent: impl AsRef<[u8]>) -> Case {
    closed(sent, [answer(status)])
}

/// The same for several requests each.
pub fn each<T>(of: impl IntoIterator<Item = T>, case: impl Fn(T) -> Case) -> Vec<Case> {
    of.into_iter().map(case).collect()
}

/// A request line with the one field that HTTP/1.1 asks for.
pub fn line(line: &str) -> String {
    format!("{line}\r\nHost: a\r\n\r\n")
}

/// A GET of this target.
pub fn target(target: &str) -> String {
    line(&format!("GET {target} HTTP/1.1"))
}

/// A GET with further fields, each with its line end.
pub fn get(fields: &str) -> String {
    format!("GET /health HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// The same by HTTP/1.0.
pub fn old_get(fields: &str) -> String {
    format!("GET /health HTTP/1.0\r\n{fields}\r\n")
}

/// A POST of a metric: what follows the first two lines.
pub fn post(rest: &str) -> String {
    format!("POST /metrics HTTP/1.1\r\nHost: a\r\n{rest}")
}

/// A POST of this body with further fields.
pub fn post_with(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = post(&format!("{fields}Content-Length: {}\r\n\r\n", body.len()));
    [head.as_bytes(), body].concat()
}

/// A POST in chunks as they stand here.
pub fn chunked(body: &str) -> String {
    post(&format!("Transfer-Encoding: chunked\r\n\r\n{body}"))
}

/// A body of 17 bytes that is accepted.
pub const METRIC: &str = r#"{"cpu":1,"rps":2}"#;
/// The answer to [`METRIC`].
pub const ACCEPTED: &str = "{\"accepted\":1,\"anomalies\":0}\n";
/// The answer to [`get`].
pub const HEALTHY: &str = "{\"status\":\"ok\"}\n";

/// The rows of a file, each written like a call of its test:
/// `name(clause, asks, does, cases)`.
macro_rules! rows {
    ($($name:ident($clause:expr, $asks:expr, $does:expr, $cases:expr $(,)?)),+ $(,)?) => {
        /// The rows of this file.
        pub fn rows() -> Vec<crate::row::Row> {
            vec![$(crate::row::Row {
                test: crate::row::test_name(module_path!(), stringify!($name)),
                clause: $clause,
                asks: $asks,
                does: $does,
                cases: $cases,
            }),+]
        }

        $(#[test]
        fn $name() {
            crate::exchange::check(&rows(), stringify!($name));
        })+

        #[test]
        fn any_split_is_answered_alike() {
            crate::splits::check(&rows());
        }
    };
}

/// `hosts::missing` for the row `missing` of `conformance::hosts`.
pub fn test_name(module: &str, row: &str) -> String {
    let file = module.rsplit("::").next().unwrap();
    format!("{file}::{row}")
}
