//! However the bytes of a row arrive, it is answered alike.

use super::exchange::{Server, may_be_secure, shown};
use super::row::{Case, Row};
use super::seen::{Seen, seen};
use testkit::HttpResponse;

/// Longer cases are about limits, and all but their ends is one byte again and again: they are
/// split near both ends and at some bytes between.
const LONG_BYTES_MIN: usize = 2000;

/// The same over sockets, where a split costs more.
const LONG_BYTES_MIN_OVER_SOCKETS: usize = 300;

/// The distance from an end within which a long case is split everywhere.
const END_BYTES: usize = 100;

/// Every split in two and all bytes singly, of each row of one table.
pub fn check(rows: &[Row]) {
    let mut server = Server::start();
    for case in rows.iter().flat_map(|row| &row.cases) {
        check_without_sockets(case);
        check_over_sockets(&mut server, case);
    }
}

/// Returns the offsets at which a case of so many bytes is split.
fn places(bytes: usize, long_bytes_min: usize, between: usize) -> impl Iterator<Item = usize> {
    let is_short = bytes < long_bytes_min;
    let is_near_end = move |at: usize| at < END_BYTES || at + END_BYTES > bytes;
    (1..bytes).filter(move |at| is_short || is_near_end(*at) || at % (bytes / between) == 0)
}

/// Checks that the handler is given the same requests of every split as of the whole.
fn check_without_sockets(case: &Case) {
    let (whole, waiting) = seen([&case.sent[..]]);
    assert_eq!(waiting, 0, "{}: not all of it is a request", shown(&case.sent));
    assert_eq!(whole.len(), case.answers.len(), "{}: {whole:?}", shown(&case.sent));
    let is_last = whole.last().is_some_and(Seen::is_last);
    assert_eq!(is_last, !case.stays_open, "{}: {whole:?}", shown(&case.sent));
    for (seen, expected) in whole.iter().zip(&case.answers) {
        if let Seen::Refused(refusal) = seen {
            assert_eq!(refusal.status().code(), expected.status, "{}", shown(&case.sent));
        }
    }
    for at in places(case.sent.len(), LONG_BYTES_MIN, 200) {
        let (one, two) = case.sent.split_at(at);
        assert_eq!(seen([one, two]).0, whole, "{} split at byte {at}", shown(&case.sent));
    }
    assert_eq!(seen(case.sent.chunks(1)).0, whole, "{} byte by byte", shown(&case.sent));
}

/// And so is what comes back to the client.
fn check_over_sockets(server: &mut Server, case: &Case) {
    let bytes = case.sent.len();
    let whole = answers(server, case, [&case.sent[..]]);
    for at in places(bytes, LONG_BYTES_MIN_OVER_SOCKETS, 10) {
        let (one, two) = case.sent.split_at(at);
        let split = answers(server, case, [one, two]);
        assert_eq!(split, whole, "{} split at byte {at}", shown(&case.sent));
    }
    if bytes < LONG_BYTES_MIN_OVER_SOCKETS {
        let single = answers(server, case, case.sent.chunks(1));
        assert_eq!(single, whole, "{} byte by byte", shown(&case.sent));
        if may_be_secure(case) {
            let (one, two) = case.sent.split_at(bytes / 2);
            for pieces in [vec![one, two], case.sent.chunks(1).collect()] {
                let split = server.exchange_tls(case, pieces).answers;
                assert_eq!(split, whole, "{} over TLS", shown(&case.sent));
            }
        }
    }
}

fn answers<'p>(
    server: &mut Server,
    case: &Case,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Vec<HttpResponse> {
    let stream = server.exchange(case, pieces);
    let (sent, interim) = (shown(&case.sent), stream.interim);
    assert!(interim <= usize::from(may_wait(case)), "{sent}: {interim} interim answers");
    stream.answers
}

/// Returns true if the client of a case may get an interim answer: never one of HTTP/1.0 (RFC 9110,
/// 15.2).
fn may_wait(case: &Case) -> bool {
    let sent = case.sent.to_ascii_lowercase();
    let has = |part: &[u8]| sent.windows(part.len()).any(|window| window == part);
    has(b"100-continue") && !has(b" http/1.0\r\n")
}
