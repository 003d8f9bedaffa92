//! Twenty profiles in a row of a server under full load: none may end it, and none may cost a
//! request.
//!
//! Stacks are walked in a signal handler, on a thread that may be anywhere. Doing it is what shows
//! that this is safe: single metrics and batches keep the core busy, while profiles and flamegraphs
//! are asked for over HTTP, one after the other.

use std::time::{Duration, Instant};

use testkit::{LoadLoop, Server, get_as_localhost};

use super::{batch_request, single_request};

const PROFILES: usize = 20;
const CONNECTIONS: usize = 64;

/// Looking up the names of a server with all its symbols takes seconds at first.
const NAMES_TIME_MAX: Duration = Duration::from_secs(60);

/// Forms that a profile is served in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Pprof,
    Flamegraph,
}

impl Form {
    const fn path(self) -> &'static str {
        match self {
            Self::Pprof => "/debug/pprof/profile",
            Self::Flamegraph => "/debug/pprof/flamegraph",
        }
    }

    /// Returns true if a body is a profile of this form, and not an empty one.
    fn matches(self, body: &[u8]) -> bool {
        match self {
            // RFC 1952, section 2.3.1: what gzip begins with.
            Self::Pprof => body.starts_with(&[0x1f, 0x8b]) && body.len() > 1024,
            Self::Flamegraph => {
                let text = String::from_utf8_lossy(body);
                text.contains("<svg") && text.contains("corepulse::api::ingest")
            }
        }
    }
}

#[test]
fn no_profile_under_full_load_costs_a_request() {
    let duration = super::seconds(2);
    // No client has to connect anew, however long it takes.
    let server = Server::start(&["--workers", "1", "--max-connection-age", "0s"]);
    let mebibytes = || server.resident_bytes() / (1024 * 1024);
    println!("{} MiB were resident before", mebibytes());
    println!("| profile | took | bytes | resident MiB |\n|---|---|---|---|");
    // As much time for singles as for batches, nearly.
    let mut requests = vec![single_request(); 200];
    requests.push(batch_request(1000));
    let load = LoadLoop::repeat(server.address, CONNECTIONS, requests, 202);
    for form in [Form::Pprof, Form::Flamegraph].into_iter().cycle().take(PROFILES) {
        let path = format!("{}?seconds={}", form.path(), duration.as_secs());
        let mut client = server.client();
        client.stream().set_read_timeout(Some(duration + NAMES_TIME_MAX)).unwrap();
        let since = Instant::now();
        let response = client.request(&get_as_localhost(&path));
        let took = since.elapsed().as_secs_f64();
        assert_eq!(response.status, 200, "{path}: {response:?}");
        assert!(form.matches(&response.body), "{path}: {response:?}");
        println!("| {form:?} | {took:.2} s | {} | {} |", response.body.len(), mebibytes());
    }
    println!("\n{PROFILES} profiles beside {} requests, and none failed", load.stop());
}

#[test]
fn an_empty_profile_is_none() {
    assert!(!Form::Pprof.matches(&[0; 4096]));
    assert!(!Form::Flamegraph.matches(b"<svg>No CPU time was used meanwhile.</svg>"));
    let good = b"<svg><title>corepulse::api::ingest::take (3 samples)</title></svg>";
    assert!(Form::Flamegraph.matches(good));
}
