//! Deadlines: of idle peers, slow ones, those that never read, and old connections.

use crate::in_process::InProcessServer;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};
use testkit::http_client::metric;
use testkit::{Exposition, HttpClient, Server, assert_problem, get, post, wait_until};

/// A deadline of one second, as it may be seen from outside: timers tick every quarter of a
/// second, and the machine may be busy.
const A_SECOND: RangeInclusive<Duration> = Duration::from_millis(990)..=Duration::from_millis(2200);

const TIMEOUTS: [&str; 4] = ["--idle-timeout", "1s", "--request-timeout", "1s"];

fn closed(address: SocketAddr, reason: &str) -> f64 {
    let series = format!("corepulse_connections_closed_total{{reason=\"{reason}\"}}");
    Exposition::scrape(address).value(&series)
}

/// Waits until so many connections were closed for this reason; they linger for a moment.
fn until_closed(address: SocketAddr, reason: &str, count: f64) {
    wait_until(reason, || (closed(address, reason) >= count).then_some(()));
    assert_eq!(closed(address, reason), count, "{reason}");
}

#[test]
fn an_idle_connection_is_closed_in_its_time() {
    let running = InProcessServer::start(&TIMEOUTS);
    let (mut silent, mut used) = (running.client(), running.client());
    let since = Instant::now();
    let mut asked = since;
    // Its time starts anew with each request.
    while since.elapsed() < Duration::from_millis(1500) {
        asked = Instant::now();
        assert_eq!(used.request(&get("/health")).status, 200);
        thread::park_timeout(Duration::from_millis(100));
    }
    silent.assert_end();
    assert!(since.elapsed() < *A_SECOND.end(), "{:?}", since.elapsed());
    used.assert_end();
    assert!(A_SECOND.contains(&asked.elapsed()), "{:?}", asked.elapsed());
    until_closed(running.address, "idle", 2.0);
}

#[test]
fn a_silent_connection_is_not_closed_before_its_time() {
    let running = InProcessServer::start(&TIMEOUTS);
    let since = Instant::now();
    running.client().assert_end();
    assert!(A_SECOND.contains(&since.elapsed()), "{:?}", since.elapsed());
}

#[test]
fn half_a_request_gets_408_in_its_time() {
    let running = InProcessServer::start(&TIMEOUTS);
    let whole = post(metric("d1", 1_700_000_000).as_bytes());
    let chunked = b"POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
    let halves: [&[u8]; 4] = [&whole[..20], &whole[..whole.len() - 1], b"G", chunked];
    let mut clients: Vec<HttpClient> = halves.iter().map(|_| running.client()).collect();
    let since = Instant::now();
    for (client, half) in clients.iter_mut().zip(halves) {
        client.send(half);
    }
    for (client, half) in clients.iter_mut().zip(halves) {
        let answer = client.receive();
        assert!(A_SECOND.contains(&since.elapsed()), "{:?}", since.elapsed());
        assert_problem(&answer, 408, half);
        assert!(answer.closes_connection(), "{answer:?}");
        client.assert_end();
    }
    until_closed(running.address, "request_timeout", 4.0);
    let accepted = Exposition::scrape(running.address).value("corepulse_events_accepted_total");
    assert_eq!(accepted, 0.0, "half a request was applied");
}

/// Each byte comes in good time, but the request does not, wherever it goes slowly.
#[test]
fn a_trickle_does_not_put_the_deadline_off() {
    let running = InProcessServer::start(&TIMEOUTS);
    let whole = post(format!("{:1000}", metric("d1", 1_700_000_000)).as_bytes());
    let chunked = b"POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let trickles: [(&str, &[u8], Vec<u8>); 5] = [
        ("request line", b"", whole.clone()),
        ("fields", &whole[..40], b"a: b\r\n".repeat(100)),
        ("body", &whole[..whole.len() - 900], whole[whole.len() - 900..].to_vec()),
        ("chunks", chunked, b"1\r\n \r\n".repeat(100)),
        ("trailers", &[chunked, &b"1\r\n \r\n0\r\n"[..]].concat(), b"a: b\r\n".repeat(100)),
    ];
    thread::scope(|scope| {
        for (what, at_once, slowly) in &trickles {
            let mut client = running.client();
            let mut writer = HttpClient::from_stream(client.stream().try_clone().unwrap());
            let since = Instant::now();
            writer.send(at_once);
            scope.spawn(move || {
                for byte in slowly.chunks(1) {
                    if writer.try_send(byte).is_err() || since.elapsed() > *A_SECOND.end() {
                        break;
                    }
                    thread::park_timeout(Duration::from_millis(50));
                }
            });
            scope.spawn(move || {
                assert_eq!(client.receive().status, 408, "{what}");
                let after = since.elapsed();
                assert!(A_SECOND.contains(&after), "{what}: {after:?}");
            });
        }
    });
}

/// A request under way when the one before it is answered has a second of its own.
#[test]
fn the_deadline_of_a_request_starts_with_its_first_byte() {
    let running = InProcessServer::start(&TIMEOUTS);
    let request = get("/health");
    let mut client = running.client();
    for _ in 0..3 {
        client.send(&request[..10]);
        thread::park_timeout(Duration::from_millis(600));
        assert_eq!(client.request(&request[10..]).status, 200);
    }
}

#[test]
fn who_sends_no_more_still_gets_the_answers() {
    let running = InProcessServer::start(&[]);
    let mut client = running.client();
    let body = metric("d1", 1_700_000_000);
    client.send(&[post(body.as_bytes()), get("/metrics/d1:1700000000"), get("/")].concat());
    client.shutdown_write();
    for status in [202, 200, 200] {
        assert_eq!(client.receive().status, status);
    }
    client.assert_end();
    let mut client = running.client();
    client.send(&get("/").repeat(3000));
    client.shutdown_write();
    for number in 0..3000 {
        assert_eq!(client.receive().status, 200, "answer {number}");
    }
    client.assert_end();
    // Half a request is not answered, nor waited for, but those before it are.
    let whole = post(body.as_bytes());
    let chunked = b"POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
    for half in [&b"G"[..], &whole[..50], &whole[..whole.len() - 1], chunked] {
        let mut client = running.client();
        client.send(&[get("/health"), half.to_vec()].concat());
        client.shutdown_write();
        let since = Instant::now();
        assert_eq!(client.receive().status, 200);
        client.assert_end();
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    }
}

/// The process is one of its own: its memory is what is measured.
#[test]
fn who_never_reads_is_closed_and_costs_little_until_then() {
    const STALLED: usize = 32;
    const BYTES_EACH_MAX: u64 = 1024 * 1024;
    let server = Server::start(&["--request-timeout", "1s", "--workers", "1"]);
    assert_eq!(server.client().request(&get("/")).status, 200);
    let before = server.resident_bytes();
    // Their answers would be 18 MB each.
    let series = get("/").repeat(20_000);
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let mut client = HttpClient::connect_with_small_buffer(server.address);
        client.send(&series);
        stalled.push(client);
    }
    let mut most = 0;
    wait_until("all that stall are closed", || {
        let since = Instant::now();
        let closed = closed(server.address, "write_stall");
        assert!(since.elapsed() < Duration::from_secs(1), "others wait {:?}", since.elapsed());
        most = most.max(server.resident_bytes());
        assert!(closed <= STALLED as f64, "{closed}");
        (closed == STALLED as f64).then_some(())
    });
    let grown = most.saturating_sub(before);
    let allowed = STALLED as u64 * BYTES_EACH_MAX;
    assert!(grown < allowed, "{grown} bytes for {STALLED} connections");
}

#[test]
fn who_reads_slowly_but_reads_is_not_closed() {
    let running = InProcessServer::start(&["--request-timeout", "1s", "--workers", "1"]);
    let mut client = running.client();
    let series = get("/").repeat(12_000);
    let writer = client.stream().try_clone().unwrap();
    let sending = thread::spawn(move || HttpClient::from_stream(writer).try_send(&series));
    // Ten megabytes in two seconds: slower than the server writes, never a second without.
    for number in 0..12_000 {
        assert_eq!(client.receive().status, 200, "answer {number}");
        if number % 600 == 0 {
            thread::park_timeout(Duration::from_millis(100));
        }
    }
    sending.join().unwrap().unwrap();
    assert_eq!(closed(running.address, "write_stall"), 0.0);
}

#[test]
fn an_old_connection_ends_with_a_whole_answer() {
    let running = InProcessServer::start(&["--max-connection-age", "1s"]);
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let address = running.address;
            thread::spawn(move || {
                let mut client = HttpClient::connect(address);
                let since = Instant::now();
                let request = if number % 2 == 0 {
                    post(metric("d1", 1_700_000_000).as_bytes())
                } else {
                    get("/metrics/d1:1700000000")
                };
                // From a request to the next answer: more than the server sees as a pause.
                let (mut asked, mut pause) = (since, Duration::ZERO);
                while !client.request(&request).closes_connection() {
                    assert!(since.elapsed() < Duration::from_secs(5), "it never gets old");
                    pause = pause.max(asked.elapsed());
                    asked = Instant::now();
                }
                let age = since.elapsed();
                client.assert_end();
                (age, pause.max(asked.elapsed()))
            })
        })
        .collect();
    for thread in threads {
        let (age, pause) = thread.join().unwrap();
        // One second, give or take a tenth; the top is that and a tick. A client that
        // pauses is told before.
        let allowed = Duration::from_millis(890) - pause * 5 / 4..=Duration::from_millis(1600);
        assert!(allowed.contains(&age), "{age:?} with pauses of {pause:?}");
    }
    until_closed(running.address, "age", 4.0);
}

/// Most devices pause between two requests: they too are told before the end comes, or a request
/// would be on its way to a closed connection.
#[test]
fn an_old_connection_with_short_pauses_is_told_as_well() {
    assert_all_are_told("1s", Duration::from_millis(50));
}

/// A pause longer than the grace after the end of its time: such a connection is told ahead.
#[test]
fn an_old_connection_with_long_pauses_is_told_ahead() {
    assert_all_are_told("2s", Duration::from_millis(1300));
}

/// Connections that post after each pause until an answer says that it was the last. Until then
/// none may be closed, unless it has paused longer than the server could know: on a busy machine
/// the pauses are what they come to.
fn assert_all_are_told(age: &str, pause: Duration) {
    /// As in `limits.rs`.
    const GRACE: Duration = Duration::from_millis(500);
    let running = InProcessServer::start(&["--max-connection-age", age]);
    let request = post(metric("d1", 1_700_000_000).as_bytes());
    // Each with its last answer, and its longest pause so far.
    let mut clients: Vec<_> =
        (0..32).map(|_| (running.client(), Instant::now(), Duration::ZERO)).collect();
    let since = Instant::now();
    let mut told = 0;
    while !clients.is_empty() {
        assert!(since.elapsed() < Duration::from_secs(8), "they never get old");
        clients.retain_mut(|(client, last, longest)| {
            let paused = last.elapsed();
            let sent = client.try_send(&request);
            let answer = sent.and_then(|()| client.try_receive(false));
            let Ok(Some(answer)) = answer else {
                let expected = GRACE.max(*longest * 5 / 4);
                assert!(paused > expected, "{paused:?} after at most {longest:?}: {answer:?}");
                return false;
            };
            (*last, *longest) = (Instant::now(), paused.max(*longest));
            told += usize::from(answer.closes_connection());
            !answer.closes_connection()
        });
        thread::park_timeout(pause);
    }
    assert!(told > 0, "nobody was told");
    until_closed(running.address, "age", 32.0);
}

#[test]
fn an_old_connection_that_is_idle_is_closed() {
    let running = InProcessServer::start(&["--max-connection-age", "1s"]);
    let mut client = running.client();
    let since = Instant::now();
    assert_eq!(client.request(&get("/health")).status, 200);
    client.assert_end();
    assert!(since.elapsed() < *A_SECOND.end(), "{:?}", since.elapsed());
    until_closed(running.address, "age", 1.0);
}

/// Whatever peers leave undone, an idle core sleeps.
#[test]
fn waiting_for_peers_costs_no_cpu() {
    let server = Server::start(&["--workers", "2"]);
    let mut clients: Vec<HttpClient> = (0..40).map(|_| server.client()).collect();
    let mut stalled = HttpClient::connect_with_small_buffer(server.address);
    stalled.send(&get("/").repeat(20_000));
    stalled.shutdown_write();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.request(&get("/health")).status, 200);
        let request = post(b"{}");
        client.send(&request[..number * 2]);
    }
    // Until the stalled one has filled its buffers.
    let mut before = server.cpu_ticks();
    wait_until("at rest", || {
        thread::park_timeout(Duration::from_millis(200));
        let last = std::mem::replace(&mut before, server.cpu_ticks());
        (before - last <= 1).then_some(())
    });
    thread::park_timeout(Duration::from_secs(1));
    let used = server.cpu_ticks() - before;
    assert!(used <= 5, "{used} ticks of 10 ms in a second");
}
