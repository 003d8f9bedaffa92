//! The server under test: started in this process, on a port of the kernel's choice.

use clap::Parser;
use corepulse::config::Config;
use corepulse::config::arguments::Arguments;
use corepulse::server::{Report, Server};
use corepulse::store;
use std::time::{Duration, Instant};

use super::client::{Client, Response};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct TestServer(Server);

impl TestServer {
    /// With so many workers and these flags; all others have their defaults.
    pub(crate) fn start(workers: usize, flags: &[&str]) -> Self {
        let workers = format!("--workers={workers}");
        let own = ["corepulse", "--listen=127.0.0.1:0", "--pin=off", &workers];
        let arguments = Arguments::try_parse_from(own.iter().chain(flags)).unwrap();
        let config = Config::check(&arguments).unwrap();
        Self(Server::start(&config).unwrap())
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.0.bound().internet().expect("it has a port"))
    }

    /// One connection to each of the cores. Where the next one comes depends on those that have
    /// gone, so it is tried until every core has one; what came twice is let go.
    pub(crate) fn connect_to_each_core(&self) -> Vec<Client> {
        let state = self.0.state();
        let mut found: Vec<Option<Client>> = Vec::new();
        found.resize_with(state.settings.cores, || None);
        let mut spare = Vec::new();
        let start = Instant::now();
        while found.iter().any(Option::is_none) {
            assert!(start.elapsed() < PATIENCE, "no connection to some core");
            let before = state.counters.totals().live;
            let mut client = self.connect();
            // Once it is answered, it is counted.
            assert_eq!(client.get("/health").status, 200);
            let after = state.counters.totals().live;
            // Not seen if the core lost another one meanwhile: then it is as if it came twice.
            let core = (0..before.len()).find(|&core| after[core] > before[core]);
            match core.map(|core| &mut found[core]) {
                Some(place @ None) => *place = Some(client),
                _ => spare.push(client),
            }
        }
        found.into_iter().flatten().collect()
    }

    pub(crate) fn store(&self) -> &store::Store {
        &self.0.state().store
    }

    pub(crate) fn drain(self) -> Report {
        self.0.drain(|_| {})
    }
}

/// Asks again and again, until `enough` says so of an answer or time is up.
pub(crate) fn poll(client: &mut Client, target: &str, enough: impl Fn(&Response) -> bool) {
    let start = Instant::now();
    loop {
        let response = client.get(target);
        if enough(&response) {
            return;
        }
        let (status, body) = (response.status, response.body);
        assert!(start.elapsed() < PATIENCE, "{target}: {status} {body}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The body of a 200 answer.
pub(crate) fn body_of(client: &mut Client, target: &str) -> String {
    let response = client.get(target);
    assert_eq!(response.status, 200, "{target}: {}", response.body);
    response.body
}

/// `/analyze` of a device.
pub(crate) fn analyze(client: &mut Client, id: &str) -> String {
    body_of(client, &format!("/analyze?device_id={id}"))
}
