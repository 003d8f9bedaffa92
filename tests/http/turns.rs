//! Slow answers take turns: clients that scrape or analyse without a pause keep no others waiting.

use testkit::http_client::metric;
use testkit::{LoadLoop, Server, get_as_localhost, post};

/// More than are ever served at once, so that one of them always waits.
const CONNECTIONS: usize = 40;

#[test]
fn a_crowd_of_one_kind_keeps_no_other_waiting() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    assert_eq!(client.request(&post(metric("d1", 1_700_000_000).as_bytes())).status, 202);
    let pages =
        ["/metrics/d1:1700000000", "/analyze", "/metrics/prometheus", "/debug/pprof/threads"];
    for busy in ["/metrics/prometheus", "/analyze"] {
        let load = LoadLoop::repeat(server.address, CONNECTIONS, vec![get_as_localhost(busy)], 200);
        for _ in 0..3 {
            for page in pages.iter().filter(|page| **page != busy) {
                assert_eq!(
                    client.request(&get_as_localhost(page)).status,
                    200,
                    "{page} beside {busy}"
                );
            }
        }
        load.stop();
    }
}
