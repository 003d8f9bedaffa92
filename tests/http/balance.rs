//! Connections over cores: equally many everywhere, whatever the kernel's hash says.

use crate::in_process::InProcessServer;
use std::thread;
use testkit::{HttpClient, get, wait_until};

/// Live connections by core, as the server counts them.
fn by_core(running: &InProcessServer) -> Vec<u64> {
    running.state().counters.totals().open_connections
}

fn spread(counts: &[u64]) -> u64 {
    counts.iter().max().unwrap() - counts.iter().min().unwrap()
}

/// Connects and waits for an answer, so that it is counted.
fn settle(running: &InProcessServer) -> HttpClient {
    let mut client = running.client();
    assert_eq!(client.request(&get("/health")).status, 200);
    client
}

#[test]
fn connections_that_come_one_by_one_differ_by_at_most_one() {
    let running = InProcessServer::start(&["--workers", "3"]);
    let mut clients = Vec::new();
    for count in 1..=200 {
        clients.push(settle(&running));
        let counts = by_core(&running);
        assert_eq!(counts.iter().sum::<u64>(), count, "{counts:?}");
        assert!(spread(&counts) <= 1, "{counts:?}");
    }
}

#[test]
fn connections_that_come_all_at_once_differ_by_at_most_one() {
    let running = InProcessServer::start(&["--workers", "4"]);
    let connect = || (0..50).map(|_| settle(&running)).collect::<Vec<_>>();
    let clients: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(connect)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(by_core(&running), [50; 4]);
    drop(clients);
}

#[test]
fn newcomers_fill_the_seats_of_those_that_went() {
    let running = InProcessServer::start(&["--workers", "2"]);
    let mut clients: Vec<_> = (0..40).map(|_| settle(&running)).collect();
    // Half of them go: by chance, more at one core than at the other.
    let mut number = 0_u32;
    clients.retain(|_| {
        number += 1;
        number.wrapping_mul(2_654_435_761) >> 31 == 0
    });
    let left = u64::try_from(clients.len()).unwrap();
    wait_until("those are gone", || {
        let counts = by_core(&running);
        (counts.iter().sum::<u64>() == left).then_some(())
    });
    for _ in 0..40 {
        clients.push(settle(&running));
    }
    assert!(spread(&by_core(&running)) <= 1, "{:?}", by_core(&running));
    // A connection that was handed to another core is served there as anywhere.
    for client in &mut clients {
        assert_eq!(client.request(&get("/health")).status, 200);
    }
}
