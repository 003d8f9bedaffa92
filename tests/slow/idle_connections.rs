//! Thousands of idle connections: each stays open and usable while others are busy.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use percore::descriptors;
use testkit::{HttpClient, LoadLoop, Server};

use super::single_request;

const CONNECTIONS: usize = 15_000;
const ACTIVE_CONNECTIONS: usize = 64;

/// Connections from one source address: the kernel has some 28,000 ports for each.
const CONNECTIONS_PER_SOURCE: usize = 5_000;

/// Between two probes while others are busy.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

#[test]
fn fifteen_thousand_idle_connections_stay_open_beside_busy_ones() {
    let needed = (CONNECTIONS + ACTIVE_CONNECTIONS + 200) as u64;
    // The server inherits it.
    let granted = descriptors::raise_limit();
    assert!(granted >= needed, "needs {needed} open files, and the system grants {granted}");
    let arguments = ["--workers", "1", "--idle-timeout", "1h", "--max-connection-age", "0s"];
    let server = Server::start(&arguments);
    let before = server.resident_bytes();
    let mut idle: Vec<HttpClient> = (0..CONNECTIONS)
        .map(|number| {
            let host = u8::try_from(2 + number / CONNECTIONS_PER_SOURCE).unwrap();
            let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
            let mut client = HttpClient::connect_from(source, server.address);
            assert_eq!(client.request(&single_request()).status, 202, "connection {number}");
            client
        })
        .collect();
    let bytes = (server.resident_bytes() - before) as f64 / CONNECTIONS as f64;
    println!("{bytes:.0} resident bytes for each idle connection");
    let duration = super::seconds(10);
    let load = LoadLoop::repeat(server.address, ACTIVE_CONNECTIONS, vec![single_request()], 202);
    let start = Instant::now();
    while start.elapsed() < duration {
        assert_eq!(server.client().get("/health").status, 200);
        thread::park_timeout(PROBE_INTERVAL);
    }
    let requests = load.stop();
    println!("{:.0} requests/s beside them", requests as f64 / duration.as_secs_f64());
    assert!(requests > 0);
    for (number, client) in idle.iter_mut().enumerate() {
        client.stream().set_nonblocking(true).unwrap();
        let received = client.stream().peek(&mut [0]);
        let is_open = received.as_ref().is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
        assert!(is_open, "connection {number}: {received:?}");
        client.stream().set_nonblocking(false).unwrap();
        assert_eq!(client.get("/health").status, 200, "connection {number}");
    }
}
