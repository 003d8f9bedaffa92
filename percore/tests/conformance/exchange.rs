//! Exchanges over a socket: all that is sent back, held against what a row expects.

use std::io::ErrorKind;

use super::row::{Case, Expected, Row};
use super::server::TestServer;
use testkit::{Barrier, HttpClient, HttpResponse, assert_problem};

/// The request that follows the bytes of a case. It is answered if the connection stays open, which
/// also shows where the requests before it ended, and is never parsed if it does not.
pub const FOLLOWER: &[u8] = b"GET /follower HTTP/1.1\r\nHost: a\r\n\r\n";

/// A server, and a barrier for waiting until it has handled all that was sent.
pub struct Server {
    running: TestServer,
    barrier: Barrier,
}

/// The answers of one connection, without the fields that depend on the time.
#[derive(Debug, PartialEq, Eq)]
pub struct Stream {
    pub answers: Vec<HttpResponse>,
    /// The number of interim answers, which depends on the timing of both sides.
    pub interim: usize,
}

impl Server {
    pub fn start() -> Self {
        let running = TestServer::start();
        let barrier = Barrier::new(running.address);
        Self { running, barrier }
    }

    pub fn client(&self) -> HttpClient {
        self.running.client()
    }

    /// Returns a client in clear, and one with TLS if the case may be sent there.
    pub fn clients(&self, case: &Case) -> impl Iterator<Item = HttpClient> {
        let tls = may_be_secure(case).then(|| self.running.tls_client());
        [self.client()].into_iter().chain(tls)
    }

    /// Sends a case in `pieces`, each when the one before it has been received, and reads all that
    /// comes back.
    pub fn exchange<'p>(
        &mut self,
        case: &Case,
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Stream {
        let client = self.running.client();
        self.exchange_with(client, case, pieces)
    }

    /// The same with TLS, where each piece is a record.
    pub fn exchange_tls<'p>(
        &mut self,
        case: &Case,
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Stream {
        let client = self.running.tls_client();
        self.exchange_with(client, case, pieces)
    }

    fn exchange_with<'p>(
        &mut self,
        mut client: HttpClient,
        case: &Case,
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Stream {
        for piece in pieces {
            // After the last answer the server may have closed already.
            let sent = client.try_send(piece);
            assert!(sent.is_ok() || !case.stays_open, "{}: {sent:?}", shown(&case.sent));
            self.barrier.wait();
        }
        let sent = client.try_send(FOLLOWER);
        assert!(sent.is_ok() || !case.stays_open, "{}: {sent:?}", shown(&case.sent));
        read(&mut client, case, End::Any)
    }
}

/// Runs the cases of the row of this name.
pub fn check(rows: &[Row], name: &str) {
    let is_named = |row: &&Row| row.test.rsplit("::").next() == Some(name);
    let row = rows.iter().find(is_named).expect("a row of this name");
    assert!(!row.cases.is_empty(), "{name} shows nothing");
    let server = Server::start();
    for case in &row.cases {
        for mut client in server.clients(case) {
            client.send(&[&case.sent[..], FOLLOWER].concat());
            let stream = read(&mut client, case, End::Orderly);
            assert_eq!(stream.interim, 0, "{}", shown(&case.sent));
        }
    }
}

/// Returns true if a case is answered alike over TLS: all but a target of `https`.
pub fn may_be_secure(case: &Case) -> bool {
    case.answers.iter().all(|expected| expected.status != 421)
}

/// The ways in which a connection may end that the server closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Orderly,
    /// Also with a reset: a client that goes on sending for long enough gets one.
    Any,
}

/// Reads the answers to a case and to what follows it, and checks them.
pub fn read(client: &mut HttpClient, case: &Case, end: End) -> Stream {
    let mut stream = Stream { answers: Vec::new(), interim: 0 };
    for expected in &case.answers {
        let answer = final_answer(client, expected.answers_head, case, &mut stream.interim);
        check_answer(&answer, expected, case);
        stream.answers.push(answer.without_date());
    }
    let closes = stream.answers.last().is_some_and(HttpResponse::closes_connection);
    assert_eq!(closes, !case.stays_open, "{}: {stream:?}", shown(&case.sent));
    if case.stays_open {
        let follower = final_answer(client, false, case, &mut stream.interim);
        assert_problem(&follower, 404, FOLLOWER);
        assert!(!follower.closes_connection(), "{}: {follower:?}", shown(&case.sent));
    } else {
        match client.try_receive(false) {
            Ok(None) => {}
            Err(error) if end == End::Any && error.kind() == ErrorKind::ConnectionReset => {}
            more => panic!("{}: after the last answer came {more:?}", shown(&case.sent)),
        }
    }
    stream
}

fn final_answer(
    client: &mut HttpClient,
    head: bool,
    case: &Case,
    interim: &mut usize,
) -> HttpResponse {
    loop {
        let answer = client.try_receive(head);
        let answer = answer.unwrap_or_else(|error| panic!("{error}: {}", shown(&case.sent)));
        let answer = answer.unwrap_or_else(|| panic!("no answer: {}", shown(&case.sent)));
        if answer.status >= 200 {
            return without_given_time(answer);
        }
        *interim += 1;
    }
}

/// An answer without the time that a metric got which had none: all but that is always the same.
fn without_given_time(mut answer: HttpResponse) -> HttpResponse {
    const NAME: &[u8] = b",\"timestamp\":";
    let at = answer.body.windows(NAME.len()).position(|window| window == NAME);
    if let Some(at) = at.filter(|_| answer.status == 202) {
        let digits = answer.body[at + NAME.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        let end = at + NAME.len() + digits.count();
        assert_eq!(end - at - NAME.len(), 16, "microseconds");
        answer.body.drain(at..end);
    }
    answer
}

fn check_answer(answer: &HttpResponse, expected: &Expected, case: &Case) {
    let said = format!("{}: {answer:?}", shown(&case.sent));
    assert_eq!(answer.status, expected.status, "{said}");
    for &(name, value) in &expected.fields {
        assert_eq!(answer.header(name), value, "{name} of {said}");
    }
    if let Some(body) = expected.body {
        assert_eq!(answer.text(), body, "{said}");
    }
    if expected.answers_head {
        assert!(answer.body.is_empty(), "{said}");
    } else if answer.status >= 400 {
        // RFC 9110, section 15.5: an error is explained, here as RFC 9457 has it.
        assert_problem(answer, expected.status, &case.sent);
    }
}

/// The start of some bytes, to be read.
pub fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}
