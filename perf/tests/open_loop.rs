//! The open loop against servers that do what they should not: what is late is counted from when
//! it was due, and nothing that was due is forgotten.
//!
//! The servers are scripts of one connection; no assertion is about how fast this machine is.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

use corepulse_perf::generator::{Load, drive_traffic};
use corepulse_perf::offer::offer;
use corepulse_perf::scenario::{Extent, Scenario};
use corepulse_perf::tally::Tally;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 29\r\n\r\n\
    {\"accepted\":1,\"anomalies\":0}\n";

/// What the server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Answer,
    /// Answers, says that this was the last, and closes.
    AnswerLast,
    AnswerBusy,
    /// Closes without an answer.
    Close,
    /// Answers after this time, in milliseconds.
    Wait(u64),
    /// Takes no further connection either.
    End,
}

/// A server that does to the request of each number what `script` says, over one connection at a
/// time.
fn server(script: fn(usize) -> Deed) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut number = 0;
        // Ends when nobody connects any more, or with the test.
        while let Ok((mut stream, _)) = listener.accept() {
            while read_request(&mut stream) {
                let deed = script(number);
                number += 1;
                match deed {
                    Deed::End => return,
                    Deed::Close => break,
                    _ => {}
                }
                if stream.write_all(answer(deed).as_bytes()).is_err() || deed == Deed::AnswerLast {
                    break;
                }
            }
        }
    });
    address
}

fn answer(deed: Deed) -> String {
    if let Deed::Wait(ms) = deed {
        // Nobody sends: this is how long the server is stuck.
        let (_stuck, free) = mpsc::channel::<()>();
        let _ = free.recv_timeout(Duration::from_millis(ms));
    }
    match deed {
        Deed::AnswerLast => ACCEPTED.replacen("\r\n", "\r\nConnection: close\r\n", 1),
        Deed::AnswerBusy => "HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
        _ => ACCEPTED.to_owned(),
    }
}

/// Whether there was one more; it has no more than one packet on loopback.
fn read_request(stream: &mut TcpStream) -> bool {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.ends_with(b"}") {
        match stream.read(&mut chunk) {
            Ok(length) if length > 0 => request.extend_from_slice(&chunk[..length]),
            _ => return false,
        }
    }
    true
}

/// A hundred requests a second for so many milliseconds, over one connection.
fn load(ms: u64) -> Load {
    Load {
        scenario: Scenario::Single,
        extent: Extent::default(),
        connections: 1,
        duration: Duration::from_millis(ms),
        rate: Some(100.0),
    }
}

/// Twenty requests in a fifth of a second.
fn drive(address: SocketAddr) -> Tally {
    let tally = offer(address, &load(200), 1, &[], "test").unwrap();
    assert_eq!(tally.planned, 20);
    assert_eq!(tally.balance(), Ok(()));
    tally
}

#[test]
fn what_waits_behind_a_slow_answer_counts_from_when_it_was_due() {
    let stuck = |number| if number == 0 { Deed::Wait(300) } else { Deed::Answer };
    let tally = drive(server(stuck));
    assert_eq!((tally.answered, tally.unsent), (20, 0));
    // The first was due at 10 ms and was answered 310 ms after the start at the earliest. Half of
    // the others were due by 110 ms and waited for it. A generator that had waited with the server
    // would have seen one slow answer in twenty.
    let latency = tally.latencies.summary();
    assert!(latency.max >= Duration::from_millis(299), "{latency:?}");
    assert!(latency.p50 >= Duration::from_millis(199), "{latency:?}");
}

#[test]
fn a_connection_that_ended_in_order_is_no_fault() {
    let tally = drive(server(|_| Deed::AnswerLast));
    assert_eq!((tally.answered, tally.reopened), (20, 19), "{tally:?}");
    assert_eq!(tally.faults.all(), 0);
}

#[test]
fn faults_are_counted_by_kind_and_the_load_goes_on() {
    let script = |number| match number % 4 {
        1 => Deed::AnswerBusy,
        2 => Deed::Close,
        _ => Deed::Answer,
    };
    let tally = drive(server(script));
    assert_eq!(tally.faults.text(), "5 closed, 5 503");
    assert_eq!((tally.answered, tally.accepted), (10, 10));
    assert!(tally.outcome().is_err());
}

#[test]
fn a_server_that_has_gone_is_told_of_in_every_request() {
    let tally = drive(server(|number| if number == 5 { Deed::End } else { Deed::Answer }));
    assert_eq!((tally.answered, tally.faults.all()), (5, 15), "{:?}", tally.faults);
}

#[test]
fn a_drive_goes_on_where_the_one_before_ended() {
    let address = server(|_| Deed::Answer);
    let load = load(50);
    let mut traffic = load.traffic(address);
    for drives in 1..=2 {
        let outcome = drive_traffic(address, &load, &mut traffic).unwrap();
        assert_eq!((outcome.requests, traffic.position()), (5, 5 * drives));
    }
    // As fast as it is answered: as many turns as it was.
    let outcome = drive_traffic(address, &Load { rate: None, ..load }, &mut traffic).unwrap();
    assert_eq!(traffic.position(), 10 + outcome.requests);
}

#[test]
fn threads_share_the_load() {
    let load = load(50);
    let address = server(|_| Deed::Answer);
    assert!(offer(address, &load, 2, &[], "test").unwrap_err().contains("evenly"));
}
