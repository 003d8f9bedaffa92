//! Slow answers take turns: whoever scrapes or analyses without a pause keeps nobody else waiting.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use testkit::http_client::metric;
use testkit::{HttpClient, Server, get_as_localhost, post};

/// More than are ever served at once, so that one of them always waits.
const CONNECTIONS: usize = 40;

/// Asks for one page on many connections, on each again as soon as it is answered.
struct Crowd {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    fn start(address: SocketAddr, page: &str) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, request) = (Arc::clone(&is_over), get_as_localhost(page));
        let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| HttpClient::connect(address)).collect();
        clients.iter_mut().for_each(|client| client.send(&request));
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for client in &mut clients {
                    assert_eq!(client.receive().status, 200);
                    client.send(&request);
                }
            }
        });
        Self { is_over, thread: Some(thread) }
    }

    fn stop(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().expect("every request was answered");
    }
}

#[test]
fn a_crowd_of_one_kind_keeps_no_other_waiting() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    assert_eq!(client.request(&post(metric("d1", 1_700_000_000).as_bytes())).status, 202);
    let pages =
        ["/metrics/d1:1700000000", "/analyze", "/metrics/prometheus", "/debug/pprof/threads"];
    for crowded in ["/metrics/prometheus", "/analyze"] {
        let crowd = Crowd::start(server.address, crowded);
        for _ in 0..3 {
            for page in pages.iter().filter(|page| **page != crowded) {
                assert_eq!(
                    client.request(&get_as_localhost(page)).status,
                    200,
                    "{page} beside {crowded}"
                );
            }
        }
        crowd.stop();
    }
}
