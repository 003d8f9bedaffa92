//! Clients that want more than their share: of memory, of the places for probes, of time.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::in_process::InProcessServer;
use corepulse::limits::POOL_BYTES_MAX;
use flate2::Compression;
use flate2::write::GzEncoder;
use testkit::http_client::{metric, post_with};
use testkit::{
    Exposition, HttpClient, Server, assert_problem, get, post, wait_until, wait_until_within,
};

const MEBIBYTE: usize = 1024 * 1024;

/// A head that announces a body of the largest size.
fn large_head() -> Vec<u8> {
    format!("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: {MEBIBYTE}\r\n\r\n").into()
}

#[test]
fn half_requests_share_a_bounded_memory() {
    let server = Server::start(&["--workers", "1"]);
    let before = server.resident_bytes();
    let half = [&large_head()[..], &vec![b' '; MEBIBYTE - 1]].concat();
    let mut clients = Vec::new();
    for _ in 0..150 {
        let mut client = server.client();
        // Refused while it still sends: the answer counts, not what became of the rest.
        let _ = client.try_send(&half);
        clients.push(client);
    }
    // Connections over the budget get an answer; the others are waited for.
    let told = wait_until("somebody is turned away", || {
        let ended: Vec<_> = clients.iter_mut().filter_map(refusal).collect();
        (!ended.is_empty()).then_some(ended)
    });
    for answer in told {
        assert_problem(&answer, 503, b"");
        assert!(answer.text().contains("half requests"), "{answer:?}");
    }
    let grown = server.resident_bytes() - before;
    assert!(grown < 160 * MEBIBYTE as u64, "{} MiB", grown / MEBIBYTE as u64);
    // A request that comes whole needs no memory of its own.
    let answer = server.client().request(&post(br#"{"cpu":1,"rps":1}"#));
    assert_eq!(answer.status, 202, "{answer:?}");
    // The memory of the half requests is free again when they are gone.
    drop(clients);
    wait_until("a large body is taken again", || {
        let mut client = server.client();
        let _ = client.try_send(&half);
        let _ = client.try_send(b" ");
        // Blank: read whole, and found empty.
        let answer = client.try_receive(false).ok().flatten();
        answer.filter(|answer| answer.status == 400).map(|_| ())
    });
}

/// The answer that a client has got, if it has.
fn refusal(client: &mut HttpClient) -> Option<testkit::HttpResponse> {
    client.stream().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let answer = client.try_receive(false).ok().flatten();
    client.stream().set_read_timeout(Some(testkit::TIMEOUT)).unwrap();
    answer
}

#[test]
fn half_requests_keep_probes_out_for_a_second_at_most() {
    let running = InProcessServer::start(&["--max-connections", "2", "--workers", "1"]);
    let half = &get("/health")[..10];
    // The two places and all reserved ones, each with the beginning of a request.
    let mut clients: Vec<HttpClient> = (0..18).map(|_| running.client()).collect();
    clients.iter_mut().for_each(|client| client.send(half));
    let since = Instant::now();
    wait_until("a probe gets through", || {
        let answer = running.client().request(&get("/health"));
        (answer.status == 200).then_some(())
    });
    // One second of patience, a tick of the timers, and the time of a slow machine.
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
}

#[test]
fn an_empty_line_after_a_body_begins_no_request() {
    let running = InProcessServer::start(&["--request-timeout", "1s", "--idle-timeout", "2s"]);
    let mut client = running.client();
    let request = [post(br#"{"cpu":1,"rps":1}"#), b"\r\n\r\n".to_vec()].concat();
    for _ in 0..3 {
        assert_eq!(client.request(&request).status, 202);
    }
    // It ends as an idle connection does: later than half a request would, and without a 408.
    let since = Instant::now();
    assert_eq!(client.read_to_end(), b"");
    assert!(since.elapsed() > Duration::from_millis(1900), "{:?}", since.elapsed());
}

#[test]
fn work_that_waits_does_not_hold_up_the_stop() {
    let mut server = Server::start(&["--drain-timeout", "1s"]);
    let mut clients: Vec<HttpClient> = (0..600).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send(&get("/metrics/prometheus"));
    }
    let since = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(since.elapsed() < Duration::from_millis(2500), "{:?}", since.elapsed());
}

#[test]
fn what_came_with_the_last_request_is_answered_too() {
    let server = Server::start(&["--drain-delay", "5s", "--drain-timeout", "6s"]);
    let mut client = server.client();
    assert_eq!(client.request(&get("/health")).status, 200);
    server.signal("TERM");
    wait_until("it drains", || {
        (server.client().request(&get("/ready")).status == 503).then_some(())
    });
    // Sent at once, so that they arrive together.
    client.send(&get("/health").repeat(20));
    for number in 0..20 {
        let answer = client.receive();
        assert_eq!((answer.status, answer.closes_connection()), (200, number == 19), "{number}");
    }
    client.assert_end();
    server.signal("TERM");
}

/// From a client that sends without end and reads nothing, nothing is read either; the unsent
/// answers to all such clients have one bound.
#[test]
fn who_pipelines_for_ever_and_never_reads_is_held_to_the_bound() {
    // Together they could leave more than 100 MB, in requests and in answers.
    const GREEDY: usize = 1000;
    const SLACK_BYTES: u64 = 32 * MEBIBYTE as u64;
    let server = Server::start(&["--request-timeout", "2s", "--workers", "1"]);
    let mut polite = server.client();
    assert_eq!(polite.request(&get("/")).status, 200);
    let before = server.resident_bytes();
    let series = get("/").repeat(4000);
    let mut greedy: Vec<HttpClient> =
        (0..GREEDY).map(|_| HttpClient::connect_with_small_buffer(server.address)).collect();
    greedy.iter().for_each(|client| client.stream().set_nonblocking(true).unwrap());
    let mut most = 0;
    wait_until_within(Duration::from_secs(30), "all of them are closed", || {
        // Those that are gone say so by an error other than that they can take no more.
        greedy.retain_mut(|client| {
            let sent = client.try_send(&series);
            sent.map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |()| true)
        });
        most = most.max(server.resident_bytes());
        assert_eq!(polite.request(&get("/health")).status, 200);
        greedy.is_empty().then_some(())
    });
    let (grown, allowed) = (most.saturating_sub(before), POOL_BYTES_MAX as u64 + SLACK_BYTES);
    assert!(grown < allowed, "{} MiB", grown / MEBIBYTE as u64);
    let samples = Exposition::scrape(server.address);
    let closed = |reason: &str| {
        samples.value(&format!("corepulse_connections_closed_total{{reason=\"{reason}\"}}"))
    };
    assert!(closed("limit") >= 1.0, "the bound was not reached");
    assert_eq!(closed("limit") + closed("write_stall"), GREEDY as f64, "{samples:?}");
}

/// Those that hold on to what they have would keep everybody else out.
#[test]
fn at_the_bound_whoever_holds_most_for_longest_goes() {
    let server = Server::start(&["--workers", "1", "--request-timeout", "60s"]);
    let half = [&large_head()[..], &vec![b' '; MEBIBYTE - 1]].concat();
    let mut hoarders: Vec<HttpClient> = Vec::new();
    for _ in 0..POOL_BYTES_MAX / MEBIBYTE - 8 {
        let mut client = server.client();
        client.send(&half);
        hoarders.push(client);
    }
    // These come later than all of that, and send what they have to say in two pieces.
    for number in 0..32 {
        let mut client = server.client();
        client.send(&half);
        assert_eq!(server.client().request(&get("/health")).status, 200);
        client.send(b" ");
        let answer = client.receive();
        // Blank: read whole, and found empty.
        assert_eq!(answer.status, 400, "client {number}: {answer:?}");
        hoarders.push(server.client());
        hoarders.last_mut().unwrap().send(&half);
    }
    let told: Vec<_> = hoarders.iter_mut().map(refusal).collect();
    let (first, last) = (&told[..16], &told[told.len() - 4..]);
    for answer in first.iter().flatten() {
        assert_problem(answer, 503, b"");
    }
    // A buffer of twice the size may be what holds the same bytes, by the pieces in which they
    // come: then who holds half as much for as long may stay.
    assert!(first.iter().flatten().count() >= 12, "{first:?}");
    assert!(last.iter().all(Option::is_none), "{last:?}");
}

/// A request with as many events as one may have, which is small before it is inflated.
fn inflating() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let event = b"{\"cpu\":1,\"rps\":1}\n";
    encoder.write_all(&event.repeat(EVENTS)).unwrap();
    post_with("Content-Encoding: gzip\r\n", &encoder.finish().unwrap())
}

const EVENTS: usize = 2000;

/// Whatever it inflates to, each is a share by itself.
#[test]
fn who_sends_what_inflates_does_not_hold_up_others() {
    // Enough that the scrape below comes long before the end, however fast the server is.
    const AT_ONCE: usize = 240;
    const POLITE: usize = 20;
    let server = Server::start(&["--workers", "1"]);
    let mut polite: Vec<HttpClient> = (0..POLITE).map(|_| server.client()).collect();
    let mut greedy: Vec<HttpClient> = (0..3).map(|_| server.client()).collect();
    for client in polite.iter_mut().chain(&mut greedy) {
        assert_eq!(client.request(&get("/health")).status, 200);
    }
    server.signal("STOP");
    greedy.iter_mut().for_each(|client| client.send(&inflating().repeat(AT_ONCE)));
    for client in &mut polite {
        client.send(&get("/metrics/none"));
    }
    server.signal("CONT");
    for client in &mut polite {
        assert_eq!(client.receive().status, 404);
    }
    let accepted = Exposition::scrape(server.address).value("corepulse_events_accepted_total");
    // As many turns as that took, and not all that the greedy ones have sent.
    let all = (3 * AT_ONCE * EVENTS) as f64;
    assert!(accepted < all / 4.0, "{accepted} of {all} events came first");
    for client in &mut greedy {
        for number in 0..AT_ONCE {
            assert_eq!(client.receive().status, 202, "answer {number}");
        }
    }
    assert_eq!(Exposition::scrape(server.address).value("corepulse_events_accepted_total"), all);
}

/// After a reset nothing is begun. The end of a stream alone does not show that the client is gone:
/// at most one share is begun, whose answer then finds it gone. (The signal that stops the server
/// may come late, for one share as well.)
#[test]
fn who_sends_and_leaves_is_not_worked_for() {
    const AT_ONCE: usize = 60;
    let server = Server::start(&["--workers", "1"]);
    for reset in [true, false] {
        let mut leaving = server.client();
        assert_eq!(leaving.request(&get("/health")).status, 200);
        let before = Exposition::scrape(server.address).value("corepulse_events_accepted_total");
        server.signal("STOP");
        leaving.send(&inflating().repeat(AT_ONCE));
        if reset {
            socket2::SockRef::from(leaving.stream()).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(leaving);
        server.signal("CONT");
        let accepted = wait_until("it is gone", || {
            let samples = Exposition::scrape(server.address);
            let accepted = samples.value("corepulse_events_accepted_total");
            (samples.sum("corepulse_connections") <= 1.0).then_some(accepted)
        });
        let accepted = accepted - before;
        assert!(accepted <= (2 * EVENTS) as f64, "{accepted} events, reset {reset}");
    }
}

/// The server sleeps while all of them send, so that it finds them ready at once; in which order it
/// serves them is its own choice.
#[test]
fn who_sends_ten_thousand_at_once_does_not_hold_up_others() {
    const AT_ONCE: usize = 10_000;
    const POLITE: usize = 50;
    let server = Server::start(&["--workers", "1"]);
    let request = post(metric("greedy", 1_700_000_000).as_bytes());
    let mut polite: Vec<HttpClient> = (0..POLITE).map(|_| server.client()).collect();
    for client in &mut polite {
        assert_eq!(client.request(&get("/health")).status, 200);
    }
    let mut greedy = server.client();
    assert_eq!(greedy.request(&get("/health")).status, 200);
    let mut writer = HttpClient::from_stream(greedy.stream().try_clone().unwrap());
    let answered = AtomicUsize::new(0);
    server.signal("STOP");
    thread::scope(|scope| {
        // As much as fits into the sockets goes at once, and the rest as the server receives.
        let (sender, begun) = mpsc::channel();
        scope.spawn(move || {
            let series = request.repeat(AT_ONCE);
            let (first, rest) = series.split_at(request.len() * 100);
            writer.send(first);
            sender.send(()).unwrap();
            writer.send(rest);
        });
        begun.recv().unwrap();
        for (number, client) in polite.iter_mut().enumerate() {
            client.send(&post(metric(&format!("polite-{number}"), 1_700_000_000).as_bytes()));
        }
        scope.spawn(|| {
            for number in 0..AT_ONCE {
                assert_eq!(greedy.receive().status, 202, "answer {number}");
                answered.store(number + 1, Ordering::SeqCst);
            }
        });
        server.signal("CONT");
        for (number, client) in polite.iter_mut().enumerate() {
            assert_eq!(client.receive().status, 202, "polite client {number}");
        }
        let before_them = answered.load(Ordering::SeqCst);
        assert!(before_them < AT_ONCE, "all of the greedy one's were answered before");
    });
    assert_eq!(answered.load(Ordering::SeqCst), AT_ONCE);
    let accepted = Exposition::scrape(server.address).value("corepulse_events_accepted_total");
    assert_eq!(accepted, (AT_ONCE + POLITE) as f64);
}
