//! The end of the real program: nothing acknowledged is lost, nothing under way is cut.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::{HttpClient, HttpResponse, Server, get, post, wait_until};

/// Counts what was acknowledged to any client.
#[derive(Default)]
struct Acknowledged(AtomicU64);

impl Acknowledged {
    /// Counts an answer to a POST.
    fn add(&self, answer: &HttpResponse) {
        assert_eq!(answer.status, 202, "{answer:?}");
        let accepted = answer.json()["accepted"].as_u64().expect("a 202 says how many");
        self.0.fetch_add(accepted, Ordering::SeqCst);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A batch of three events without a time of their own.
fn batch() -> Vec<u8> {
    post(br#"[{"cpu":1,"rps":1},{"cpu":1,"rps":1},{"cpu":1,"rps":1}]"#)
}

/// Posts on one connection until the server ends it, which it says beforehand or does between two
/// requests.
fn post_kept_alive(address: SocketAddr, acknowledged: &Acknowledged) {
    let mut client = HttpClient::connect(address);
    loop {
        if client.try_send(&batch()).is_err() {
            return;
        }
        // An idle connection may be closed while a request is on its way to it.
        let Ok(Some(answer)) = client.try_receive(false) else {
            return;
        };
        acknowledged.add(&answer);
        if answer.closes_connection() {
            client.assert_end();
            return;
        }
    }
}

/// Posts on ever new connections until none is taken any more.
fn post_anew(address: SocketAddr, acknowledged: &Acknowledged) {
    while let Ok(stream) = TcpStream::connect(address) {
        let mut client = HttpClient::from_stream(stream);
        let answered = client.try_send(&batch()).and_then(|()| client.try_receive(false));
        // The listener may close between the handshake and the request.
        if let Ok(Some(answer)) = answered {
            acknowledged.add(&answer);
        }
    }
}

/// Posts sixteen at once, until the server ends the connection.
fn post_pipelined(address: SocketAddr, acknowledged: &Acknowledged) {
    let mut client = HttpClient::connect(address);
    let series = batch().repeat(16);
    while client.try_send(&series).is_ok() {
        for _ in 0..16 {
            let Ok(Some(answer)) = client.try_receive(false) else {
                return;
            };
            acknowledged.add(&answer);
        }
    }
}

fn assert_counters(server: &Server, acknowledged: u64) {
    let last = server.last_line();
    assert_eq!(last["message"], "stopped", "{last}");
    let number = |name: &str| last[name].as_u64().unwrap_or_else(|| panic!("{name}: {last}"));
    assert!(number("accepted") >= acknowledged, "{acknowledged} acknowledged: {last}");
    let outcomes = number("stored") + number("coalesced") + number("dropped") + number("pending");
    assert_eq!(number("accepted"), outcomes, "{last}");
    assert_eq!(number("pending"), 0, "{last}");
}

#[test]
fn every_acknowledged_event_is_in_the_last_line() {
    for delay in ["0s", "300ms"] {
        let mut server = Server::start(&["--workers", "2", "--drain-delay", delay]);
        let (address, acknowledged) = (server.address, Arc::new(Acknowledged::default()));
        let loads = [post_kept_alive, post_kept_alive, post_anew, post_anew, post_pipelined];
        let threads: Vec<_> = loads
            .into_iter()
            .map(|load| {
                let acknowledged = Arc::clone(&acknowledged);
                thread::spawn(move || load(address, &acknowledged))
            })
            .collect();
        wait_until("a load", || (acknowledged.count() > 3_000).then_some(()));
        server.signal("TERM");
        for thread in threads {
            thread.join().unwrap();
        }
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "{status}");
        assert_counters(&server, acknowledged.count());
    }
}

/// Every request that was sent before the signal is answered, even one that the kernel still held.
#[test]
fn what_was_sent_before_the_signal_is_answered() {
    for round in 0..12 {
        let mut server = Server::start(&["--workers", "2"]);
        let acknowledged = Acknowledged::default();
        let mut clients: Vec<HttpClient> = (0..64).map(|_| server.client()).collect();
        for client in &mut clients {
            // Taken in by its worker, and idle.
            assert_eq!(client.request(&get("/health")).status, 200);
        }
        // Held up, the server finds newcomers, requests and the signal all at once.
        let is_held = round % 3 > 0;
        if is_held {
            server.signal("STOP");
        }
        let newcomers: Vec<HttpClient> = (0..32).map(|_| server.client()).collect();
        clients.extend(newcomers);
        for client in &mut clients {
            client.send(&batch());
        }
        server.signal(if round % 2 == 0 { "TERM" } else { "INT" });
        if is_held {
            server.signal("CONT");
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let answer = client.try_receive(false);
            let answer = answer.unwrap_or_else(|error| panic!("client {number}: {error}"));
            acknowledged.add(&answer.unwrap_or_else(|| panic!("client {number}: cut")));
        }
        drop(clients);
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "{status}");
        assert_counters(&server, acknowledged.count());
    }
}

#[test]
fn a_request_under_way_may_be_finished() {
    let mut server = Server::start(&["--workers", "2"]);
    let request = batch();
    let (mut idle, mut half) = (server.client(), server.client());
    assert_eq!(idle.request(&get("/health")).status, 200);
    assert_eq!(half.request(&get("/health")).status, 200);
    half.send(&request[..100]);
    // A second request of the same worker would not tell when the first was taken in; the answer
    // to 100 bytes is none, so the idle connection's end is what tells that the end has begun.
    server.signal("TERM");
    let since = Instant::now();
    idle.assert_end();
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert!(!server.is_ended());
    let answer = half.request(&request[100..]);
    assert_eq!(answer.status, 202);
    assert!(answer.closes_connection(), "{answer:?}");
    half.assert_end();
    drop(half);
    assert_eq!(server.wait().code(), Some(0));
    assert_counters(&server, 3);
}

#[test]
fn nobody_is_waited_for_longer_than_the_drain_timeout() {
    let mut server = Server::start(&["--drain-timeout", "1s"]);
    let mut half = server.client();
    half.send(&batch()[..100]);
    let mut never_reads = HttpClient::connect_with_small_buffer(server.address);
    never_reads.send(&get("/").repeat(20_000));
    let since = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let took = since.elapsed();
    let allowed = Duration::from_millis(950)..=Duration::from_millis(2500);
    assert!(allowed.contains(&took), "{took:?}");
    assert_counters(&server, 0);
}

#[test]
fn during_the_drain_delay_all_is_served_but_readiness() {
    let mut server = Server::start(&["--drain-delay", "1s", "--workers", "2"]);
    let acknowledged = Acknowledged::default();
    let mut kept: Vec<HttpClient> = (0..8).map(|_| server.client()).collect();
    for client in &mut kept {
        let answer = client.request(&batch());
        assert!(!answer.closes_connection(), "{answer:?}");
        acknowledged.add(&answer);
    }
    let since = Instant::now();
    server.signal("TERM");
    wait_until("readiness is gone", || {
        let answer = server.client().request(&get("/ready"));
        (answer.status == 503).then(|| assert!(answer.closes_connection(), "{answer:?}"))
    });
    // Each core follows by itself; all have within a moment.
    wait_until("every answer says so", || {
        let answer = server.client().request(&get("/health"));
        answer.closes_connection().then_some(())
    });
    for client in &mut kept {
        let answer = client.request(&batch());
        assert!(answer.closes_connection(), "{answer:?}");
        acknowledged.add(&answer);
        client.assert_end();
    }
    while since.elapsed() < Duration::from_millis(800) {
        acknowledged.add(&server.client().request(&batch()));
    }
    assert!(!server.is_ended(), "the delay is a second");
    assert_eq!(server.wait().code(), Some(0));
    let took = since.elapsed();
    let allowed = Duration::from_millis(1000)..=Duration::from_millis(3500);
    assert!(allowed.contains(&took), "{took:?}");
    assert_counters(&server, acknowledged.count());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let mut server = Server::start(&["--drain-delay", "15s"]);
        let mut idle = server.client();
        assert_eq!(idle.request(&get("/health")).status, 200);
        server.signal("TERM");
        server.wait_for_log("draining");
        let since = Instant::now();
        server.signal(name);
        let status = server.wait();
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
        let seen = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        assert_eq!(seen, Some(code), "{status}");
    }
}

#[test]
fn idle_connections_are_closed_at_once_and_the_port_is_free() {
    let mut server = Server::start(&["--workers", "2"]);
    let mut idle: Vec<HttpClient> = (0..16).map(|_| server.client()).collect();
    for client in &mut idle {
        assert_eq!(client.request(&get("/health")).status, 200);
    }
    let since = Instant::now();
    server.signal("TERM");
    for client in &mut idle {
        client.assert_end();
    }
    assert_eq!(server.wait().code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert!(TcpStream::connect(server.address).is_err());
}

/// Returns true if all requests are answered that were sent just after the end had begun, on
/// connections that had come just before.
fn are_newcomers_answered() -> bool {
    let mut server = Server::start(&["--workers", "1"]);
    let mut idle = server.client();
    assert_eq!(idle.request(&get("/health")).status, 200);
    // Held up, the server finds the newcomers and the signal at once.
    server.signal("STOP");
    let mut newcomers: Vec<HttpClient> = (0..8).map(|_| server.client()).collect();
    server.signal("TERM");
    server.signal("CONT");
    idle.assert_end();
    wait_until("the core has closed what it closes at once", || {
        server.is_thread_asleep_or_ended("core-0").then_some(())
    });
    let acknowledged = Acknowledged::default();
    for client in &mut newcomers {
        let answered = client.try_send(&batch()).and_then(|()| client.try_receive(false));
        let Ok(Some(answer)) = answered else {
            return false;
        };
        assert!(answer.closes_connection(), "{answer:?}");
        acknowledged.add(&answer);
    }
    drop(newcomers);
    assert_eq!(server.wait().code(), Some(0));
    assert_counters(&server, acknowledged.count());
    true
}

/// A proxy connects and then sends: between the two lies a way through the network.
#[test]
fn who_came_just_before_the_end_may_still_ask() {
    // If this test is held up for longer than the server waits, it has to try again.
    wait_until("newcomers are answered", || are_newcomers_answered().then_some(()));
}

#[test]
fn a_newcomer_that_does_not_ask_is_not_waited_for() {
    let mut server = Server::start(&["--workers", "2"]);
    let mut silent = server.client();
    let since = Instant::now();
    server.signal("TERM");
    silent.assert_end();
    assert_eq!(server.wait().code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

/// Scrapes and look-ups are made on another thread: they too are answered to the last.
#[test]
fn later_answers_are_not_cut_either() {
    let mut server = Server::start(&["--workers", "2"]);
    let mut clients: Vec<HttpClient> = (0..32).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.request(&get("/health")).status, 200);
    }
    for client in &mut clients {
        client.send(&[get("/metrics/prometheus"), get("/metrics/1")].concat());
    }
    server.signal("TERM");
    let cut = AtomicBool::new(false);
    for client in &mut clients {
        match client.try_receive(false) {
            Ok(Some(answer)) => assert_eq!(answer.status, 200),
            _ => cut.store(true, Ordering::SeqCst),
        }
    }
    assert!(!cut.into_inner(), "an answer was cut");
    drop(clients);
    assert_eq!(server.wait().code(), Some(0));
}
