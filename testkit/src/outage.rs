//! What the tests with a Redis stand on: a server, the load on it, and accounts that must balance.
//!
//! A test starts a Redis and an [`Outage`], which is the real program under a light load of singles
//! and batches. While the fault lasts the test is in [`Outage::lasts`], which checks that nothing
//! waits; after it, [`Outage::recovers`] and [`Outage::settles`] compare what was acknowledged with
//! the counters and with what Redis holds.

use std::thread;
use std::time::{Duration, Instant};

use crate::accounts::Accounts;
use crate::http_client::{Client, get, post};
use crate::load::{Keeper, Load, Sent, metric};
use crate::server::Process;
use crate::wait::{ANSWER_TIME_MAX, until, until_within};

/// Between two looks at a server under load.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// So many metrics are looked up where there are more.
const LOOK_UPS: usize = 300;

/// Singles and batches come by so many connections.
const LOAD_CONNECTIONS: usize = 2;

/// A server whose Redis is about to suffer.
#[derive(Debug)]
pub struct Outage {
    pub process: Process,
    /// One for each phase of the test; the last is the present one.
    loads: Vec<Load>,
    marks: u64,
}

/// What everything has come to once nothing was pending any more.
#[derive(Debug)]
pub struct Settled {
    pub accounts: Accounts,
    /// Keys that Redis does not hold with the value last acknowledged.
    pub missing: Vec<String>,
}

impl Outage {
    /// A server that writes to this URL, under load.
    pub fn start(url: &str, arguments: &[&str]) -> Self {
        let fixed = ["--workers", "2", "--redis-url", url];
        Self::of(Process::start(&[&fixed, arguments].concat()))
    }

    /// A server under load.
    pub fn of(process: Process) -> Self {
        let load = Load::start(process.address, "load", LOAD_CONNECTIONS);
        Self { process, loads: vec![load], marks: 0 }
    }

    /// A server on which there is only what the test itself sends.
    pub fn without_load(process: Process) -> Self {
        let load = Load::start(process.address, "load", 0);
        Self { process, loads: vec![load], marks: 0 }
    }

    /// A server under load, once the first metrics are in Redis.
    pub fn start_healthy(url: &str, arguments: &[&str]) -> Self {
        let outage = Self::start(url, arguments);
        until("the first metrics are stored", || (outage.accounts().stored > 100).then_some(()));
        assert!(outage.accounts().is_up);
        outage
    }

    /// Has further devices post from now on: theirs are the events of which every one was sent
    /// after this moment.
    pub fn begins_phase(&mut self, name: &str) {
        self.loads.push(Load::start(self.process.address, name, LOAD_CONNECTIONS));
    }

    fn acknowledged(&self) -> u64 {
        self.loads.iter().map(Load::acknowledged).sum()
    }

    /// The accounts as they stand; they balance, and hold what has been acknowledged.
    pub fn accounts(&self) -> Accounts {
        let acknowledged = self.acknowledged();
        let accounts = Accounts::scrape(self.process.address);
        assert!(accounts.accepted >= acknowledged, "{acknowledged} acknowledged: {accounts:?}");
        accounts
    }

    /// Looks at everything that must not wait for Redis.
    fn look(&self) {
        self.accounts();
        for target in ["/health", "/ready", "/analyze"] {
            let since = Instant::now();
            let answer = Client::connect(self.process.address).ask(&get(target));
            assert_eq!(answer.status, 200, "{target}: {answer:?}");
            assert!(since.elapsed() < ANSWER_TIME_MAX, "{target}: {:?}", since.elapsed());
        }
    }

    /// Lets the fault last so long, while events are acknowledged and probes answered.
    pub fn lasts(&self, duration: Duration) {
        let (since, before) = (Instant::now(), self.acknowledged());
        while since.elapsed() < duration {
            self.look();
            thread::park_timeout(LOOK_INTERVAL);
        }
        let acknowledged = self.acknowledged() - before;
        assert!(acknowledged > 100, "only {acknowledged} events in {duration:?}");
    }

    /// The same until something has happened that may take so long.
    pub fn lasts_until(&self, limit: Duration, what: &str, mut happened: impl FnMut() -> bool) {
        until_within(limit, what, || {
            self.look();
            thread::park_timeout(LOOK_INTERVAL);
            happened().then_some(())
        });
    }

    /// Counts an acknowledged event that the test has sent.
    pub fn add_sent(&self, key: &str, value: &str) {
        let load = self.loads.last().expect("the load lasts until all settles");
        load.add_sent(key.to_owned(), value.to_owned());
    }

    /// Waits until the server itself says whether Redis is there.
    pub fn until_up_is(&self, is_up: bool) {
        until("the server notices", || (self.accounts().is_up == is_up).then_some(()));
        let answer = Client::connect(self.process.address).ask(&get("/analyze"));
        assert_eq!(answer.json()["store"]["kind"], "redis", "{answer:?}");
    }

    /// Checks that writing goes on by itself, the fault over. The server promises six seconds, and
    /// `until` gives it four more, as the machine that runs the tests is shared.
    pub fn recovers(&mut self, keeper: &mut impl Keeper) {
        until("an event from after the fault is in Redis", || {
            // A new one each time: one alone might be among what a full queue drops.
            let (key, value) = self.sends_mark();
            self.look();
            (keeper.held(&[&key]) == [Some(value)]).then_some(())
        });
    }

    /// Sends an event under a key of its own.
    pub fn sends_mark(&mut self) -> (String, String) {
        self.marks += 1;
        let (key, value) = metric("mark", self.marks, "1");
        let answer = Client::connect(self.process.address).ask(&post(value.as_bytes()));
        assert_eq!(answer.status, 202, "{answer:?}");
        self.add_sent(&key, &value);
        (key, value)
    }

    /// Ends the load and compares the counters with what was acknowledged in all phases, which is
    /// answered phase by phase.
    pub fn drains(&mut self) -> (Accounts, Vec<Sent>) {
        assert!(!self.loads.is_empty(), "it settles once");
        let phases: Vec<Sent> = self.loads.drain(..).map(Load::stop).collect();
        let accounts = until("nothing is pending", || {
            let accounts = Accounts::scrape(self.process.address);
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
    pub fn settles(&mut self, keeper: &mut impl Keeper) -> Settled {
        let (accounts, phases) = self.drains();
        let missing: Vec<String> =
            phases.iter().flat_map(|sent| sent.missing_from(keeper)).collect();
        let count = missing.len() as u64;
        assert!(count <= accounts.dropped, "{count} missing, {missing:.5?}: {accounts:?}");
        Settled { accounts, missing }
    }

    /// The same where nothing may be lost.
    pub fn settles_without_loss(&mut self, keeper: &mut impl Keeper) -> Settled {
        let settled = self.settles(keeper);
        assert_eq!(settled.accounts.dropped, 0, "{settled:?}");
        settled
    }

    /// Checks that some hundred of these are answered to who looks them up.
    pub fn finds(&self, sent: &Sent) {
        let mut client = Client::connect(self.process.address);
        let step = sent.values.len() / LOOK_UPS + 1;
        for (key, value) in sent.values.iter().step_by(step) {
            let target = format!("/metrics/{}", key.strip_prefix("metric:").unwrap());
            // The first may have to find its way to Redis.
            let answer = until("a look-up reaches Redis", || {
                let answer = client.ask(&get(&target));
                (answer.status != 503).then_some(answer)
            });
            assert_eq!((answer.status, answer.text().trim_end()), (200, value.as_str()), "{key}");
        }
    }

    /// A fault that is over: all that every such test checks.
    pub fn recovers_without_loss(&mut self, keeper: &mut impl Keeper) -> Settled {
        self.recovers(keeper);
        self.settles_without_loss(keeper)
    }
}
