//! A server under load whose Redis fails: its counters must balance, and nothing may wait.
//!
//! A test starts a Redis and a [`ServerUnderLoad`], which is the program under a light load of
//! singles and batches. While the fault lasts the test is in [`ServerUnderLoad::observe_for`],
//! which checks that nothing waits. After it, [`ServerUnderLoad::wait_for_recovery`] and
//! [`ServerUnderLoad::reconcile`] compare what was acknowledged with the counters and with Redis.

use std::thread;
use std::time::{Duration, Instant};

use crate::http_client::{HttpClient, get, post};
use crate::metric_load::{MetricLoad, MetricStore, SentMetrics, metric};
use crate::server::Server;
use crate::store_counters::StoreCounters;
use crate::wait::{ANSWER_TIME_MAX, wait_until, wait_until_within};

/// The pause between two looks at a server under load.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// The most metrics that are looked up.
const LOOKUPS_MAX: usize = 300;

/// Connections of each load.
const LOAD_CONNECTIONS: usize = 2;

/// A server and the load on it.
#[derive(Debug)]
pub struct ServerUnderLoad {
    /// The server.
    pub server: Server,
    /// One for each phase of the test; the last is the present one.
    loads: Vec<MetricLoad>,
    marks: u64,
}

/// The result of comparing counters, acknowledgements and Redis, once nothing is pending.
#[derive(Debug)]
pub struct Reconciliation {
    /// The counters at the end.
    pub counters: StoreCounters,
    /// Keys that Redis does not hold with the value last acknowledged.
    pub missing: Vec<String>,
}

impl ServerUnderLoad {
    /// Starts a server that writes to this URL, under load.
    pub fn start(url: &str, arguments: &[&str]) -> Self {
        let fixed = ["--workers", "2", "--redis-url", url];
        Self::of(Server::start(&[&fixed, arguments].concat()))
    }

    /// Puts a server under load.
    pub fn of(server: Server) -> Self {
        let load = MetricLoad::start(server.address, "load", LOAD_CONNECTIONS);
        Self { server, loads: vec![load], marks: 0 }
    }

    /// Takes a server to which only the test itself sends.
    pub fn without_load(server: Server) -> Self {
        let load = MetricLoad::start(server.address, "load", 0);
        Self { server, loads: vec![load], marks: 0 }
    }

    /// Starts a server under load, and waits until the first metrics are in Redis.
    pub fn start_healthy(url: &str, arguments: &[&str]) -> Self {
        let outage = Self::start(url, arguments);
        wait_until("the first metrics are stored", || {
            (outage.counters().stored > 100).then_some(())
        });
        assert!(outage.counters().is_up);
        outage
    }

    /// Starts a further load: every event of its devices is sent after this moment.
    pub fn start_phase(&mut self, name: &str) {
        self.loads.push(MetricLoad::start(self.server.address, name, LOAD_CONNECTIONS));
    }

    fn acknowledged(&self) -> u64 {
        self.loads.iter().map(MetricLoad::acknowledged).sum()
    }

    /// Scrapes the counters; they balance, and contain what has been acknowledged.
    pub fn counters(&self) -> StoreCounters {
        let acknowledged = self.acknowledged();
        let counters = StoreCounters::scrape(self.server.address);
        assert!(counters.accepted >= acknowledged, "{acknowledged} acknowledged: {counters:?}");
        counters
    }

    /// Requests every page that must not wait for Redis.
    fn look(&self) {
        self.counters();
        for target in ["/health", "/ready", "/analyze"] {
            let since = Instant::now();
            let answer = HttpClient::connect(self.server.address).request(&get(target));
            assert_eq!(answer.status, 200, "{target}: {answer:?}");
            assert!(since.elapsed() < ANSWER_TIME_MAX, "{target}: {:?}", since.elapsed());
        }
    }

    /// Lets the fault last so long, while events must be acknowledged and probes answered.
    pub fn observe_for(&self, duration: Duration) {
        let (since, before) = (Instant::now(), self.acknowledged());
        while since.elapsed() < duration {
            self.look();
            thread::park_timeout(PROBE_INTERVAL);
        }
        let acknowledged = self.acknowledged() - before;
        assert!(acknowledged > 100, "only {acknowledged} events in {duration:?}");
    }

    /// Observes it until something has happened that may take so long.
    pub fn observe_until(&self, limit: Duration, what: &str, mut happened: impl FnMut() -> bool) {
        wait_until_within(limit, what, || {
            self.look();
            thread::park_timeout(PROBE_INTERVAL);
            happened().then_some(())
        });
    }

    /// Counts an acknowledged event that the test has sent.
    pub fn record_sent(&self, key: &str, value: &str) {
        let load = self.loads.last().expect("the load lasts until all settles");
        load.add_sent(key.to_owned(), value.to_owned());
    }

    /// Waits until the server itself says whether Redis is there.
    pub fn wait_until_up_is(&self, is_up: bool) {
        wait_until("the server notices", || (self.counters().is_up == is_up).then_some(()));
        let answer = HttpClient::connect(self.server.address).request(&get("/analyze"));
        assert_eq!(answer.json()["store"]["kind"], "redis", "{answer:?}");
    }

    /// Checks that writing goes on by itself once the fault is over. The server promises six
    /// seconds, and `wait_until` gives it four more, as the machine that runs the tests is shared.
    pub fn wait_for_recovery(&mut self, keeper: &mut impl MetricStore) {
        wait_until("an event from after the fault is in Redis", || {
            // A new one each time: one alone might be among what a full queue drops.
            let (key, value) = self.send_marker();
            self.look();
            (keeper.values_of(&[&key]) == [Some(value)]).then_some(())
        });
    }

    /// Sends an event under a key of its own.
    pub fn send_marker(&mut self) -> (String, String) {
        self.marks += 1;
        let (key, value) = metric("mark", self.marks, "1");
        let answer = HttpClient::connect(self.server.address).request(&post(value.as_bytes()));
        assert_eq!(answer.status, 202, "{answer:?}");
        self.record_sent(&key, &value);
        (key, value)
    }

    /// Ends the load, compares the counters with what was acknowledged in all phases, and returns
    /// that phase by phase.
    pub fn stop_load(&mut self) -> (StoreCounters, Vec<SentMetrics>) {
        assert!(!self.loads.is_empty(), "it settles once");
        let phases: Vec<SentMetrics> = self.loads.drain(..).map(MetricLoad::stop).collect();
        let counters = wait_until("nothing is pending", || {
            let counters = StoreCounters::scrape(self.server.address);
            (counters.pending == 0).then_some(counters)
        });
        let events: u64 = phases.iter().map(|sent| sent.events).sum();
        assert_eq!(counters.accepted, events, "{counters:?}");
        assert_eq!(counters.settled(), events, "{counters:?}");
        assert!(counters.is_up, "{counters:?}");
        (counters, phases)
    }

    /// Ends the load and compares: the counters with what was acknowledged, Redis with what was
    /// sent. What is missing was counted as dropped; a key holds what was sent to it last.
    pub fn reconcile(&mut self, keeper: &mut impl MetricStore) -> Reconciliation {
        let (counters, phases) = self.stop_load();
        let missing: Vec<String> =
            phases.iter().flat_map(|sent| sent.missing_from(keeper)).collect();
        let count = missing.len() as u64;
        assert!(count <= counters.dropped, "{count} missing, {missing:.5?}: {counters:?}");
        Reconciliation { counters, missing }
    }

    /// Ends the load and compares, where nothing may be lost.
    pub fn reconcile_without_loss(&mut self, keeper: &mut impl MetricStore) -> Reconciliation {
        let settled = self.reconcile(keeper);
        assert_eq!(settled.counters.dropped, 0, "{settled:?}");
        settled
    }

    /// Looks some hundred of these up.
    pub fn check_lookups(&self, sent: &SentMetrics) {
        let mut client = HttpClient::connect(self.server.address);
        let step = sent.values.len() / LOOKUPS_MAX + 1;
        for (key, value) in sent.values.iter().step_by(step) {
            let target = format!("/metrics/{}", key.strip_prefix("metric:").unwrap());
            // The first may have to find its way to Redis.
            let answer = wait_until("a look-up reaches Redis", || {
                let answer = client.request(&get(&target));
                (answer.status != 503).then_some(answer)
            });
            assert_eq!((answer.status, answer.text().trim_end()), (200, value.as_str()), "{key}");
        }
    }

    /// Checks all that holds once a fault without a loss is over.
    pub fn recover_without_loss(&mut self, keeper: &mut impl MetricStore) -> Reconciliation {
        self.wait_for_recovery(keeper);
        self.reconcile_without_loss(keeper)
    }
}
