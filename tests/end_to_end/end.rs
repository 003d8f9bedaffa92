//! Stopping under load: whatever was acknowledged is in the final account, and nothing else.

use super::event::{Event, ndjson};
use super::json::Json;
use super::server::start;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::HttpClient;
use testkit::http_client::post_with;

/// Posts until the server closes the connection; how many requests were answered, by 202 all.
fn post_until_closed(mut client: HttpClient, seed: u64, acknowledged: &AtomicU64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut answered = 0;
    loop {
        let events: Vec<Event> = (0..random.usize(1..60))
            .map(|second| Event::at(second, Some("d"), [random.f64(), 1.0]))
            .collect();
        let request = post_with("", ndjson(&events).as_bytes());
        let Ok(Some(response)) = client.try_send(&request).and_then(|()| client.try_receive(false))
        else {
            return answered;
        };
        assert_eq!(response.status, 202, "{}", response.text());
        let accepted = Json(response.text()).whole("accepted");
        acknowledged.fetch_add(accepted, Ordering::SeqCst);
        answered += 1;
    }
}

#[test]
fn what_was_acknowledged_while_it_stopped_is_in_the_final_account() {
    for round in 0..12 {
        let server = start(2, &[]);
        let acknowledged = AtomicU64::new(0);
        let clients: Vec<HttpClient> = (0..6).map(|_| server.client()).collect();
        let (report, answered) = thread::scope(|scope| {
            let acknowledged = &acknowledged;
            let seeds = round * 100..;
            let threads: Vec<_> = clients
                .into_iter()
                .zip(seeds)
                .map(|(client, seed)| {
                    scope.spawn(move || post_until_closed(client, seed, acknowledged))
                })
                .collect();
            let start = Instant::now();
            while acknowledged.load(Ordering::SeqCst) < 1000 + round * 50 {
                assert!(start.elapsed() < Duration::from_secs(15), "no load");
                thread::yield_now();
            }
            let report = server.stop();
            let answered: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            (report, answered)
        });
        let acknowledged = acknowledged.into_inner();
        assert_eq!(report.store.accepted, acknowledged, "{report:?}");
        assert_eq!(report.requests, answered, "{report:?}");
        assert_eq!(report.store.pending(), 0, "{report:?}");
        assert_eq!((report.walked_pending, report.threads_failed), (0, 0));
    }
}
