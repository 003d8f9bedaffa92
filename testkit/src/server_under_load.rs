//! What the tests with a Redis stand on: a server, the load on it, and accounts that must balance.
//!
//! A test starts a Redis and a [`ServerUnderLoad`], which is the program under a light load of singles
//! and batches. While the fault lasts the test is in [`ServerUnderLoad::observe_for`], which checks that nothing
//! waits; after it, [`ServerUnderLoad::wait_for_recovery`] and [`ServerUnderLoad::reconcile`] compare what was acknowledged with
//! the counters and with what Redis holds.

use std::thread;
use std::time::{Duration, Instant};

use crate::http_client::{HttpClient, get, post};
use crate::metric_load::{MetricLoad, MetricStore, SentMetrics, metric};
use crate::server::Server;
use crate::store_counters::StoreCounters;
use crate::wait::{ANSWER_TIME_MAX, wait_until, wait_until_within};

/// Between two looks at a server under load.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// So many metrics are looked up where there are more.
const LOOK_UPS: usize = 300;

/// Singles and batches come by so many connections.
const LOAD_CONNECTIONS: usize = 2;

/// A server whose Redis is about to suffer.
#[derive(Debug)]
pub struct ServerUnderLoad {
    pub server: Server,
    /// One for each phase of the test; the last is the present one.
    loads: Vec<MetricLoad>,
    marks: u64,
}

/// What everything has come to once nothing was pending any more.
#[derive(Debug)]
pub struct Reconciliation {
    pub accounts: StoreCounters,
    /// Keys that Redis does not hold with the value last acknowledged.
    pub missing: Vec<String>,
}

impl ServerUnderLoad {
    /// A server that writes to this URL, under load.
    pub fn start(url: &str, arguments: &[&str]) -> Self {
        let fixed = ["--workers", "2", "--redis-url", url];
        Self::of(Server::start(&[&fixed, arguments].concat()))
    }

    /// A server under load.
    pub fn of(server: Server) -> Self {
        let load = MetricLoad::start(server.address, "load", LOAD_CONNECTIONS);
        Self { server, loads: vec![load], marks: 0 }
    }

    /// A server on which there is only what the test itself sends.
    pub fn without_load(server: Server) -> Self {
        let load = MetricLoad::start(server.address, "load", 0);
        Self { server, loads: vec![load], marks: 0 }
    }

    /// A server under load, once the first metrics are in Redis.
    pub fn start_healthy(url: &str, arguments: &[&str]) -> Self {
        let outage = Self::start(url, arguments);
        wait_until("the first metrics are stored", || {
            (outage.accounts().stored > 100).then_some(())
        });
        assert!(outage.accounts().is_up);
        outage
    }

    /// Has further devices post from now on: theirs are the events of which every one was sent
    /// after this moment.
    pub fn start_phase(&mut self, name: &str) {
        self.loads.push(MetricLoad::start(self.server.address, name, LOAD_CONNECTIONS));
    }

    fn acknowledged(&self) -> u64 {
        self.loads.iter().map(MetricLoad::acknowledged).sum()
    }

    /// The accounts as they stand; they balance, and hold what has been acknowledged.
    pub fn accounts(&self) -> StoreCounters {
        let acknowledged = self.acknowledged();
        let accounts = StoreCounters::scrape(self.server.address);
        assert!(accounts.accepted >= acknowledged, "{acknowledged} acknowledged: {accounts:?}");
        accounts
    }

    /// Looks at everything that must not wait for Redis.
    fn look(&self) {
        self.accounts();
        for target in ["/health", "/ready", "/analyze"] {
            let since = Instant::now();
            let answer = HttpClient::connect(self.server.address).request(&get(target));
            assert_eq!(answer.status, 200, "{target}: {answer:?}");
            assert!(since.elapsed() < ANSWER_TIME_MAX, "{target}: {:?}", since.elapsed());
        }
    }

    /// Lets the fault last so long, while events are acknowledged and probes answered.
    pub fn observe_for(&self, duration: Duration) {
        let (since, before) = (Instant::now(), self.acknowledged());
        while since.elapsed() < duration {
            self.look();
            thread::park_timeout(LOOK_INTERVAL);
        }
        let acknowledged = self.acknowledged() - before;
        assert!(acknowledged > 100, "only {acknowledged} events in {duration:?}");
    }

    /// The same until something has happened that may take so long.
    pub fn observe_until(&self, limit: Duration, what: &str, mut happened: impl FnMut() -> bool) {
        wait_until_within(limit, what, || {
            self.look();
            thread::park_timeout(LOOK_INTERVAL);
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
        wait_until("the server notices", || (self.accounts().is_up == is_up).then_some(()));
        let answer = HttpClient::connect(self.server.address).request(&get("/analyze"));
        assert_eq!(answer.json()["store"]["kind"], "redis", "{answer:?}");
    }

    /// Checks that writing goes on by itself, the fault over. The server promises six seconds, and
    /// `wait_until` gives it four more, as the machine that runs the tests is shared.
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

    /// Ends the load and compares the counters with what was acknowledged in all phases, which is
    /// answered phase by phase.
    pub fn stop_load(&mut self) -> (StoreCounters, Vec<SentMetrics>) {
        assert!(!self.loads.is_empty(), "it settles once");
        let phases: Vec<SentMetrics> = self.loads.drain(..).map(MetricLoad::stop).collect();
        let accounts = wait_until("nothing is pending", || {
            let accounts = StoreCounters::scrape(self.server.address);
            (accounts.pending == 0).then_some(accounts)
        });
        let events: u64 = phases.iter().map(|sent| sent.events).sum();
        assert_eq!(accounts.accepted, events, "{accounts:?}");
        assert_eq!(accounts.settled(), events, "{accounts:?}");
        assert!(accounts.is_up, "{accounts:?}");
        (accounts, phases)
    }

    /// Ends the load and compares: the counters with what was acknowledged, Redis with what was
    /// sent. What is missing was counted as dropped; a key holds what was sent to it last.
    pub fn reconcile(&mut self, keeper: &mut impl MetricStore) -> Reconciliation {
        let (accounts, phases) = self.stop_load();
        let missing: Vec<String> =
            phases.iter().flat_map(|sent| sent.missing_from(keeper)).collect();
        let count = missing.len() as u64;
        assert!(count <= accounts.dropped, "{count} missing, {missing:.5?}: {accounts:?}");
        Reconciliation { accounts, missing }
    }

    /// The same where nothing may be lost.
    pub fn reconcile_without_loss(&mut self, keeper: &mut impl MetricStore) -> Reconciliation {
        let settled = self.reconcile(keeper);
        assert_eq!(settled.accounts.dropped, 0, "{settled:?}");
        settled
    }

    /// Checks that some hundred of these are answered to who looks them up.
    pub fn check_lookups(&self, sent: &SentMetrics) {
        let mut client = HttpClient::connect(self.server.address);
        let step = sent.values.len() / LOOK_UPS + 1;
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

    /// A fault that is over: all that every such test checks.
    pub fn recover_without_loss(&mut self, keeper: &mut impl MetricStore) -> Reconciliation {
        self.wait_for_recovery(keeper);
        self.reconcile_without_loss(keeper)
    }
}
