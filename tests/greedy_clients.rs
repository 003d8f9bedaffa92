//! Clients that want more than their share: of memory, of the places for probes, of time.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

#[path = "support/wire.rs"]
mod support;

use std::time::{Duration, Instant};

use support::{Client, Process, Running, assert_problem, get, post, until};

const MEBIBYTE: usize = 1024 * 1024;

/// A head that announces a body of the largest size.
fn large_head() -> Vec<u8> {
    format!("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: {MEBIBYTE}\r\n\r\n").into()
}

#[test]
fn half_requests_share_a_bounded_memory() {
    let process = Process::start(&["--workers", "1"]);
    let before = process.resident_bytes();
    let half = [&large_head()[..], &vec![b' '; MEBIBYTE - 1]].concat();
    let mut clients = Vec::new();
    for _ in 0..150 {
        let mut client = process.client();
        // Refused while it still sends: the answer counts, not what became of the rest.
        let _ = client.try_send(&half);
        clients.push(client);
    }
    // Who is turned away is told, and those who got in are waited for.
    let told = until("somebody is turned away", || {
        let ended: Vec<_> = clients.iter_mut().filter_map(refusal).collect();
        (!ended.is_empty()).then_some(ended)
    });
    for answer in told {
        assert_problem(&answer, 503, b"");
        assert!(answer.text().contains("half requests"), "{answer:?}");
    }
    let grown = process.resident_bytes() - before;
    assert!(grown < 160 * MEBIBYTE as u64, "{} MiB", grown / MEBIBYTE as u64);
    // A request that comes whole needs no memory of its own.
    let answer = process.client().ask(&post(br#"{"cpu":1,"rps":1}"#));
    assert_eq!(answer.status, 202, "{answer:?}");
    // What the half requests held is there again when they are gone.
    drop(clients);
    until("a large body is taken again", || {
        let mut client = process.client();
        let _ = client.try_send(&half);
        let _ = client.try_send(b" ");
        // Blank: read whole, and found empty.
        let answer = client.try_answer(false).ok().flatten();
        answer.filter(|answer| answer.status == 400).map(|_| ())
    });
}

/// The answer that a client has got, if it has.
fn refusal(client: &mut Client) -> Option<support::Answer> {
    client.stream().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let answer = client.try_answer(false).ok().flatten();
    client.stream().set_read_timeout(Some(support::SOON)).unwrap();
    answer
}

#[test]
fn half_requests_keep_probes_out_for_a_second_at_most() {
    let running = Running::start(&["--max-connections", "2", "--workers", "1"]);
    let half = &get("/health")[..10];
    // The two places and all reserved ones, each with the beginning of a request.
    let mut clients: Vec<Client> = (0..18).map(|_| running.client()).collect();
    clients.iter_mut().for_each(|client| client.send(half));
    let since = Instant::now();
    until("a probe gets through", || {
        let answer = running.client().ask(&get("/health"));
        (answer.status == 200).then_some(())
    });
    // One second of patience, a tick of the timers, and the time of a slow machine.
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
}

#[test]
fn an_empty_line_after_a_body_begins_no_request() {
    let running = Running::start(&["--request-timeout", "1s", "--idle-timeout", "2s"]);
    let mut client = running.client();
    let request = [post(br#"{"cpu":1,"rps":1}"#), b"\r\n\r\n".to_vec()].concat();
    for _ in 0..3 {
        assert_eq!(client.ask(&request).status, 202);
    }
    // It ends as an idle connection does: later than half a request would, and without a 408.
    let since = Instant::now();
    assert_eq!(client.rest(), b"");
    assert!(since.elapsed() > Duration::from_millis(1900), "{:?}", since.elapsed());
}

#[test]
fn work_that_waits_does_not_hold_up_the_stop() {
    let mut process = Process::start(&["--drain-timeout", "1s"]);
    let mut clients: Vec<Client> = (0..600).map(|_| process.client()).collect();
    for client in &mut clients {
        client.send(&get("/metrics/prometheus"));
    }
    let since = Instant::now();
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    assert!(since.elapsed() < Duration::from_millis(2500), "{:?}", since.elapsed());
}

#[test]
fn what_came_with_the_last_request_is_answered_too() {
    let process = Process::start(&["--drain-delay", "5s", "--drain-timeout", "6s"]);
    let mut client = process.client();
    assert_eq!(client.ask(&get("/health")).status, 200);
    process.signal("TERM");
    until("it drains", || (process.client().ask(&get("/ready")).status == 503).then_some(()));
    // Sent at once, so that they arrive together.
    client.send(&get("/health").repeat(20));
    for number in 0..20 {
        let answer = client.answer();
        assert_eq!((answer.status, answer.closes()), (200, number == 19), "{number}");
    }
    client.assert_end();
    process.signal("TERM");
}
