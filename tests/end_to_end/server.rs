//! The server under test, in this process, and requests that every test here makes.

use std::time::Instant;

use super::shape::Shape;
pub(crate) use crate::in_process::InProcessServer;
use testkit::{HttpClient, HttpResponse, TIMEOUT, wait_until};

/// Starts it with so many workers and these flags; all others have their defaults.
pub(crate) fn start(workers: usize, flags: &[&str]) -> InProcessServer {
    let workers = workers.to_string();
    InProcessServer::start(&[&["--workers", &workers], flags].concat())
}

/// Starts it for these fields, as [`start`] does.
pub(crate) fn start_for(shape: &Shape, workers: usize, flags: &[&str]) -> InProcessServer {
    let fields = shape.flags.iter().map(String::as_str);
    start(workers, &fields.chain(flags.iter().copied()).collect::<Vec<_>>())
}

/// Opens one connection to each of the cores. Where the next one comes depends on those that have
/// gone, so it is tried until every core has one; what came twice is let go.
pub(crate) fn connect_to_each_core(server: &InProcessServer) -> Vec<HttpClient> {
    let state = server.state();
    let mut found: Vec<Option<HttpClient>> = Vec::new();
    found.resize_with(state.settings.cores, || None);
    let mut spare = Vec::new();
    let start = Instant::now();
    while found.iter().any(Option::is_none) {
        assert!(start.elapsed() < TIMEOUT, "no connection to some core");
        let before = state.counters.totals().open_connections;
        let mut client = server.client();
        // Once it is answered, it is counted.
        assert_eq!(client.get("/health").status, 200);
        let after = state.counters.totals().open_connections;
        // Not seen if the core lost another one meanwhile: then it is as if it came twice.
        let core = (0..before.len()).find(|&core| after[core] > before[core]);
        match core.map(|core| &mut found[core]) {
            Some(place @ None) => *place = Some(client),
            _ => spare.push(client),
        }
    }
    found.into_iter().flatten().collect()
}

/// Asks again and again, until `is_enough` says so of an answer.
pub(crate) fn poll(
    client: &mut HttpClient,
    target: &str,
    is_enough: impl Fn(&HttpResponse) -> bool,
) {
    wait_until(target, || is_enough(&client.get(target)).then_some(()));
}

/// Returns the body of a 200 answer.
pub(crate) fn body_of(client: &mut HttpClient, target: &str) -> String {
    let response = client.get(target);
    assert_eq!(response.status, 200, "{target}: {response:?}");
    response.text().to_owned()
}

/// Returns `/analyze` of a device.
pub(crate) fn analyze(client: &mut HttpClient, id: &str) -> String {
    body_of(client, &format!("/analyze?device_id={id}"))
}
